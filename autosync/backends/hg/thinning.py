"""Leaves out of a bundle that is sent the contents that its reader has already, as those of renamed files.

A commit holds a file that it adds or renames in full, though the reader mostly has its content: in its
base, or from a snapshot.  What is sent in place of the bundle is a sequence of

- ``L``, a size in 4 bytes and so many bytes of the bundle,
- ``N``, the 32 bytes of a content's id and a size in 4 bytes: so many bytes of that content from its start,
- ``M`` and a size in 4 bytes: so many more of the content that was named last.

No content is named twice, none of fewer than :data:`WORTH` bytes: reading one costs far more than naming it.

A content in a bundle is interrupted every few kilobytes, by the sizes of the bundle's own pieces.
"""

from __future__ import annotations

import io
import mmap
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from autosync.backends.hg.content import Content
from autosync.backends.hg.wire import Sink, bad
from autosync.core.model import ObjectId

WORTH = 64 << 10
"""Bytes from which on a content is looked for."""
_SIZE = struct.Struct(">I")
_SIGNED = struct.Struct(">i")
_START = b"HG20"
_ID = 32
_ANCHOR = 512
_LITERAL = 1 << 20
_SEARCHED = 8 << 30
"""Bytes that are looked through for contents, which takes some seconds; what is not found by then is sent."""
Open = Callable[[ObjectId], Content]


class _Search:
    """Looks for contents in a bundle, which has them mostly in the order in which they are asked for."""

    def __init__(self, bundle: mmap.mmap) -> None:
        self.bundle = bundle
        self._at = 0
        self._left = _SEARCHED

    def find(self, anchor: bytes) -> int:
        """Return where the anchor is: after the last one that was found if it can be; -1 for nowhere."""
        for start, end in ((self._at, len(self.bundle)), (0, min(self._at + len(anchor), len(self.bundle)))):
            if self._left <= 0:
                break
            found = self.bundle.find(anchor, start, end)
            self._left -= (end if found < 0 else found) - start
            if found >= 0:
                return found
        return -1

    def go_on_from(self, at: int) -> None:
        """Look on from there first."""
        self._at = at


@dataclass(frozen=True, slots=True)
class _Range:
    """Bytes of the bundle that are the next ones of a content; its id where it begins."""

    start: int
    size: int
    begins: ObjectId | None


def thin(bundle: BinaryIO, contents: Iterable[tuple[ObjectId, Content]], into: BinaryIO) -> bool:
    """Write ``bundle`` without these contents; return whether any was found in it (else nothing is written)."""
    bundle.flush()
    with mmap.mmap(bundle.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        pieces = _pieces(mapped)
        search = _Search(mapped)
        found = [ranges for oid, content in contents if (ranges := _find(search, pieces, oid, content))]
        at = 0
        for ranges in sorted(found, key=lambda found: found[0].start):
            if ranges[0].start < at:  # within another one, which begins as it does
                continue
            for each in ranges:
                _write_literal(mapped, at, each.start, into)
                named = b"M" if each.begins is None else b"N" + bytes.fromhex(each.begins)
                into.write(named + _SIZE.pack(each.size))
                at = each.start + each.size
        if not found:
            return False
        _write_literal(mapped, at, len(mapped), into)
    into.seek(0)
    return True


def thicken(parts: Iterable[bytes], open: Open, target: Sink, *, most: int) -> None:
    """Write the bundle that :func:`thin` left something out of to ``target``.

    Raises :class:`Missing` if a content is not here, :class:`Unsafe` if it makes more than ``most`` bytes or is
    anything else.
    """
    source = _Parts(parts)
    rest: _Parts | None = None
    named: set[ObjectId] = set()
    while kind := source.some(1):
        if kind == b"N":
            oid = ObjectId(source.all(_ID).hex())
            if oid in named:
                raise bad(f"holds a history that names a content twice: {oid}")
            named.add(oid)
            content = open(oid)
            if content.size < WORTH:
                raise bad(f"holds a history that names a content of {content.size} bytes: {oid}")
            rest = _Parts(content.parts())
        elif kind not in (b"L", b"M") or (kind == b"M" and rest is None):
            raise bad(f"holds a history with {kind!r} in it")
        (size,) = _SIZE.unpack(source.all(_SIZE.size))
        most -= size
        if not size or most < 0:
            raise bad("holds a history that is larger than is accepted")
        giver = source if kind == b"L" or rest is None else rest
        while size:
            part = giver.some(size)
            if not part:
                raise bad("holds a history that is cut off")
            target.write(part)
            size -= len(part)


class _Parts:
    """Reads from parts as from a file."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self._left = memoryview(b"")

    def some(self, most: int) -> bytes:
        """Return at least one byte and at most so many; none at the end."""
        while not self._left:
            part = next(self._parts, None)
            if part is None:
                return b""
            self._left = memoryview(part)
        taken, self._left = self._left[:most], self._left[most:]
        return bytes(taken)

    def all(self, size: int) -> bytes:
        """Return so many bytes; raise :class:`Unsafe` if there are fewer."""
        taken = io.BytesIO()
        while taken.tell() < size:
            part = self.some(size - taken.tell())
            if not part:
                raise bad("holds a history that is cut off")
            taken.write(part)
        return taken.getvalue()


def _pieces(bundle: mmap.mmap) -> list[tuple[int, int]]:
    """Return start and end of each piece of the payloads (hg help internals.bundle2); none for another form."""
    pieces: list[tuple[int, int]] = []
    if bundle[: len(_START)] != _START:
        return pieces
    at = len(_START)
    at += _SIZE.size + _SIZE.unpack_from(bundle, at)[0]
    while at + _SIGNED.size <= len(bundle) and (header := _SIGNED.unpack_from(bundle, at)[0]) > 0:
        at += _SIGNED.size + header
        while (size := _SIGNED.unpack_from(bundle, at)[0]) > 0:
            pieces.append((at + _SIGNED.size, at + _SIGNED.size + size))
            at += _SIGNED.size + size
        at += _SIGNED.size
    return pieces


def _find(search: _Search, pieces: list[tuple[int, int]], oid: ObjectId, content: Content) -> list[_Range]:
    """Return where a content is in the bundle, nothing if it is not there as it is, or not worth it."""
    first = next(content.parts(), b"") if content.size >= WORTH else b""
    for skipped in (0, _ANCHOR) if first else ():  # the first one may be interrupted
        at = search.find(first[skipped : skipped + _ANCHOR])
        number = bisect_right(pieces, (at, len(search.bundle))) - 1
        if at < 0 or number < 0 or at >= pieces[number][1]:
            continue
        before = skipped - (at - pieces[number][0])
        if before > 0 and number:
            number -= 1
            at = pieces[number][1] - before
        else:
            at -= skipped
        found = _follow(search.bundle, islice(pieces, number, None), at, oid, content)
        if found:
            search.go_on_from(found[-1].start + found[-1].size)
        return found
    return []


def _follow(
    mapped: mmap.mmap, pieces: Iterator[tuple[int, int]], at: int, oid: ObjectId, content: Content
) -> list[_Range]:
    """Return the ranges of a content that begins at ``at``, in the first of the pieces; nothing if it differs."""
    _, end = next(pieces)
    found: list[_Range] = []
    for part in content.parts():
        left = memoryview(part)
        while left:
            if at == end:
                at, end = next(pieces, (0, 0))
            size = min(end - at, len(left))
            if not size or mapped[at : at + size] != left[:size]:
                return []
            found.append(_Range(at, size, None if found else oid))
            left = left[size:]
            at += size
    return found


def _write_literal(mapped: mmap.mmap, start: int, end: int, into: BinaryIO) -> None:
    for at in range(start, end, _LITERAL):
        some = mapped[at : min(end, at + _LITERAL)]
        into.write(b"L" + _SIZE.pack(len(some)) + some)
