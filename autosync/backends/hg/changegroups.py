"""Looks at a bundle of changesets that arrived, before hg does: its form, what is in it, what it would cost."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from autosync.backends.git.admission import LONGEST_PATH
from autosync.errors import Unsafe

_START = b"HG20\0\0\0\0"
_DELTA_HEADERS = {b"02": 100, b"03": 102}
"""Bytes before a delta, by version (hg help internals.changegroups): five nodes, then flags."""
_TREES = {b"03"}
"""Versions that have the manifests of directories as well."""
_PHASE = struct.Struct(">i20s")
_HUNK = struct.Struct(">III")
_NODE = 20
_NULL = bytes(_NODE)
_PHASES = frozenset({0, 1, 2})
_SECRET = b"2"
_LARGEST = (1 << 31) - 1
_LONGEST_PART = 1 << 10
_PART = 1 << 16
_HINT = "The sender's autosync may be faulty or hostile; nothing of it was used."


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a bundle may hold.

    ``made`` is the bytes of all texts that its deltas make, as far as that shows without what is here,
    ``work`` is those of all texts.
    """

    changesets: int
    revisions: int
    made: int
    work: int


FEW = Limits(changesets=16, revisions=20_000, made=256 << 20, work=4 << 30)
"""What travels with a snapshot in an announcement."""
MANY = Limits(changesets=2_000_000, revisions=50_000_000, made=1 << 44, work=1 << 46)
"""A whole history: its manifests alone are many times what is sent."""


@dataclass(slots=True)
class History:
    """What a bundle holds: changesets with their parents, oldest first, and the nodes it builds on."""

    parents: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    needs: set[bytes] = field(default_factory=set)

    @property
    def tip(self) -> bytes:
        """The last changeset."""
        return next(reversed(self.parents))

    def strays(self) -> int:
        """Return how many changesets the last one does not descend from."""
        reached, waiting = set(), [self.tip]
        while waiting:
            node = waiting.pop()
            if node in self.parents and node not in reached:
                reached.add(node)
                waiting += self.parents[node]
        return len(self.parents) - len(reached)


def look_through(bundle: BinaryIO, limits: Limits) -> History:
    """Return what the bundle holds.

    Raises :class:`Unsafe` unless it is in the form in which ours are written (``hgext.history``), with
    one revision of each file and of the manifest at most for each changeset, and within ``limits``.
    Whether texts and nodes match is for hg to say.
    """
    if bundle.read(len(_START)) != _START:
        raise _bad("is not of the form that is taken")
    name, params = _part(bundle, number=0)
    version, count = params.pop(b"version", b""), params.pop(b"nbchanges", b"")
    if name != b"CHANGEGROUP" or version not in _DELTA_HEADERS or params != {b"targetphase": _SECRET}:
        raise _bad(f"begins with the part {name[:40]!r} of version {version[:40]!r}")
    payload = _Payload(bundle)
    history = _Changegroup(payload, version, limits).look_through()
    payload.finish()
    if count != b"%d" % len(history.parents):
        raise _bad(f"holds {len(history.parents)} changesets, not {count[:40]!r}")
    name, params = _part(bundle, number=1)
    if name != b"PHASE-HEADS" or params:
        raise _bad(f"goes on with the part {name[:40]!r}")
    _check_phases(_Payload(bundle), history.parents.keys())
    if bundle.read(4) != bytes(4) or bundle.read(1):
        raise _bad("goes on after its end")
    return history


def _part(bundle: BinaryIO, *, number: int) -> tuple[bytes, dict[bytes, bytes]]:
    """Return type and parameters of the part that begins here (hg help internals.bundle2)."""
    (size,) = struct.unpack(">i", _read(bundle, 4))
    if not 0 < size <= _LONGEST_PART:
        raise _bad(f"holds a part whose description has {size} bytes")
    header = _read(bundle, size)
    try:
        name = header[1 : 1 + header[0]]
        at = 1 + len(name) + 4
        count = header[at] + header[at + 1]
        sizes = header[at + 2 : at + 2 + 2 * count]
        at += 2 + 2 * count
        params = {}
        for key, value in zip(sizes[::2], sizes[1::2], strict=True):
            params[header[at : at + key]] = header[at + key : at + key + value]
            at += key + value
    except (IndexError, ValueError):
        raise _bad("holds a part that is described wrongly") from None
    if at != size or header[1 + len(name) : 5 + len(name)] != struct.pack(">I", number):
        raise _bad("holds a part that is described wrongly")
    return name, params


class _Payload:
    """The content of a part: pieces, each with its size before it, and none of size zero but the end."""

    def __init__(self, bundle: BinaryIO) -> None:
        self._bundle = bundle
        self._left = 0
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return so many bytes."""
        parts = []
        while size:
            if not self._left and not self._next():
                raise _bad("is cut off")
            part = _read(self._bundle, min(size, self._left))
            self._left -= len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        while size > 0:
            size -= len(self.read(min(size, _PART)))

    def at_end(self) -> bool:
        """Return whether nothing follows."""
        return not self._left and not self._next()

    def finish(self) -> None:
        """Raise unless nothing follows."""
        if not self.at_end():
            raise _bad("holds more than the changesets")

    def _next(self) -> bool:
        if self._ended:
            return False
        (self._left,) = struct.unpack(">i", _read(self._bundle, 4))
        if self._left < 0:  # another part within this one
            raise _bad("holds a part that is interrupted")
        self._ended = not self._left
        return not self._ended


class _Changegroup:
    """The changesets of a bundle, and what they cost."""

    def __init__(self, payload: _Payload, version: bytes, limits: Limits) -> None:
        self._payload = payload
        self._header = _DELTA_HEADERS[version]
        self._has_trees = version in _TREES
        self._limits = limits
        self._revisions = self._made = 0
        self._history = History()

    def look_through(self) -> History:
        """Return what it holds."""
        for node, parents, link in self._group(self._limits.changesets):
            if link != node:
                raise _bad("holds a changeset that belongs to another one")
            known = self._history.parents
            self._history.needs.update(parent for parent in parents if parent not in known and parent != _NULL)
            known[node] = parents
        if not self._history.parents:
            raise _bad("holds no changeset")
        self._belonging()
        if self._has_trees and self._length():
            raise _bad("holds manifests of directories")
        paths = set()
        while path := self._chunk(LONGEST_PATH):
            if path in paths:
                raise _bad(f"holds {path[:100]!r} twice")
            paths.add(path)
            self._belonging()
        return self._history

    def _belonging(self) -> None:
        """Look at revisions that are no changesets themselves."""
        for _, _, link in self._group(len(self._history.parents)):
            if link not in self._history.parents:
                raise _bad("holds what belongs to none of its changesets")

    def _group(self, most: int) -> Iterator[tuple[bytes, tuple[bytes, bytes], bytes]]:
        """Yield node, parents and changeset of each revision of one file, manifest or changelog."""
        sizes: dict[bytes, int | None] = {_NULL: 0}
        while length := self._length():
            if length < self._header:
                raise _bad("holds a revision that is cut off")
            header = self._payload.read(self._header)
            node, first, second, base, link = (header[at : at + _NODE] for at in range(0, 5 * _NODE, _NODE))
            if node in sizes:
                raise _bad(f"holds {node.hex()} twice")
            self._revisions += 1
            if len(sizes) > most or self._revisions > self._limits.revisions:
                raise _bad(f"holds more than {min(most, self._limits.revisions)} revisions where that many can be")
            size = self._made_size(length - self._header, sizes.get(base))
            sizes[node] = None if sizes.get(base) is None else size
            self._made += size
            if self._made > self._limits.made:
                raise _bad(f"unpacks to more than the {self._limits.made} bytes that are accepted")
            yield node, (first, second), link

    def _made_size(self, left: int, base: int | None) -> int:
        """Pass over a delta of ``left`` bytes; return how many it makes, as far as that shows.

        ``base`` is the size of what it applies to, ``None`` if only the repository knows that.

        A delta is hunks: start, end and size of what replaces it, in order (hg help internals.changegroups).
        """
        size, last = base or 0, 0
        while left:
            if left < _HUNK.size:
                raise _bad("holds a delta that is cut off")
            start, end, length = _HUNK.unpack(self._payload.read(_HUNK.size))
            left -= _HUNK.size + length
            if not last <= start <= end or left < 0 or (base is not None and end > base):
                raise _bad("holds a delta that is out of order")
            self._payload.skip(length)
            last = end
            size += length if base is None else length - (end - start)
        if size > _LARGEST:
            raise _bad(f"holds a file of {size} bytes")
        return size

    def _chunk(self, most: int) -> bytes:
        """Return the next piece, empty at the end of a sequence."""
        return self._payload.read(self._length(most))

    def _length(self, most: int = _LARGEST) -> int:
        """Return the bytes of the next piece, 0 at the end of a sequence."""
        (size,) = struct.unpack(">i", self._payload.read(4))
        if size != 0 and not 4 < size <= most + 4:
            raise _bad(f"holds a piece of {size} bytes")
        return max(0, int(size) - 4)


def _check_phases(payload: _Payload, nodes: Collection[bytes]) -> None:
    """Raise unless phases are told of what the bundle itself holds only: no changeset here shall change its own."""
    while not payload.at_end():
        phase, node = _PHASE.unpack(payload.read(_PHASE.size))
        if phase not in _PHASES or node not in nodes:
            raise _bad(f"tells the phase {phase} of {node.hex()}")


def _read(bundle: BinaryIO, size: int) -> bytes:
    part = bundle.read(size)
    if len(part) != size:
        raise _bad("is cut off")
    return part


def _bad(what: str) -> Unsafe:
    return Unsafe(f"The history that arrived {what}", hint=_HINT)
