"""Reads and writes small packs whose deltas refer to objects that both sides have (gitformat-pack(5))."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from autosync.backends.git import delta
from autosync.backends.git.objects import object_id
from autosync.errors import Missing, Unsafe

_CODES = {b"commit": 1, b"tree": 2, b"blob": 3}
_KINDS = {code: kind for kind, code in _CODES.items()}
_REF_DELTA = 7
_CHUNK = 4096
_HINT = "The sender's autosync may be faulty or hostile; the snapshot will be tried from another source."


@dataclass(frozen=True, slots=True, kw_only=True)
class Loose:
    """One object: its kind (``b"commit"``, ``b"tree"``, ``b"blob"``) and its content."""

    kind: bytes
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An object to send and, where the receiver has one like it, that one's raw id and content."""

    object: Loose
    base: tuple[bytes, bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a pack from outside may cost us; sizes in bytes."""

    packed: int = 4 << 20
    unpacked: int = 24 << 20
    objects: int = 20_000


def encode(objects: Iterable[Outgoing], hash_name: str, *, limit: int) -> bytes | None:
    """Return the pack of ``objects``, each in its shorter form, ``None`` if it gets larger than ``limit`` bytes."""
    parts: list[bytes] = []
    size = 12 + hashlib.new(hash_name).digest_size
    for outgoing in objects:
        part = _encode_one(outgoing)
        parts.append(part)
        size += len(part)
        if size > limit:
            return None
    body = b"".join([b"PACK", struct.pack(">II", 2, len(parts)), *parts])
    return body + hashlib.new(hash_name, body).digest()


def decode(
    pack: bytes, hash_name: str, base: Callable[[bytes, int], Loose | None], bounds: Bounds
) -> Mapping[bytes, Loose]:
    """Return the objects of ``pack`` by raw id.

    ``base`` returns the object that a delta refers to, ``None`` if it is absent or has
    not the given size in bytes.  Deltas within the pack do not exist in a pack
    of ours and are taken for deltas against an object that is not here.

    Raises :class:`Unsafe` for anything but a whole, well-formed pack within ``bounds``,
    :class:`Missing` if the object of a delta is not here.
    """
    width = hashlib.new(hash_name).digest_size
    if len(pack) > bounds.packed:
        raise _bad(f"has {len(pack)} bytes, more than the {bounds.packed} that are accepted")
    body, trailer = memoryview(pack)[:-width], pack[-width:]
    if len(pack) < 12 + width or hashlib.new(hash_name, body).digest() != trailer:
        raise _bad("is cut off or damaged")
    magic, version, count = struct.unpack_from(">4sII", body)
    if magic != b"PACK" or version != 2:
        raise _bad("is no pack of version 2")
    if count > bounds.objects:
        raise _bad(f"holds {count} objects, more than the {bounds.objects} that are accepted")
    reader = _Reader(body, width, bounds.unpacked, base)
    objects: dict[bytes, Loose] = {}
    for _ in range(count):
        found = reader.next()
        objects[object_id(hash_name, found.kind, found.content)] = found
    reader.finish()
    return objects


def _encode_one(outgoing: Outgoing) -> bytes:
    content = outgoing.object.content
    whole = _header(_CODES[outgoing.object.kind], len(content)) + zlib.compress(content, 9)
    if outgoing.base is None:
        return whole
    base_id, base_content = outgoing.base
    instructions = delta.encode(base_content, content)
    short = _header(_REF_DELTA, len(instructions)) + base_id + zlib.compress(instructions, 9)
    return min(short, whole, key=len)


def _header(code: int, size: int) -> bytes:
    out = bytearray([code << 4 | size & 0x0F])
    size >>= 4
    while size:
        out[-1] |= 0x80
        out.append(size & 0x7F)
        size >>= 7
    return bytes(out)


class _Reader:
    """Walks the body of a pack, paying for every byte from one budget."""

    def __init__(self, body: memoryview, width: int, budget: int, base: Callable[[bytes, int], Loose | None]) -> None:
        self._body = body
        self._at = 12
        self._width = width
        self._budget = budget
        self._base = base

    def next(self) -> Loose:
        """Return the next object, its delta resolved."""
        code, size = self._header()
        if code in _KINDS:
            return Loose(kind=_KINDS[code], content=self._inflate(size))
        if code != _REF_DELTA:
            raise _bad(f"holds an entry of type {code}, which a thin pack of ours never does")
        base_id = bytes(self._take(self._width))
        instructions = self._inflate(size)
        try:
            base_size, target_size = delta.sizes(instructions)
            self._spend(target_size)
            self._spend(base_size)
            found = self._base(base_id, base_size)
            if found is None:
                raise Missing(
                    f"The snapshot builds on {base_id.hex()}, which is not here",
                    hint="It will be fetched whole, from the peer or the hub.",
                )
            return Loose(kind=found.kind, content=delta.apply(found.content, instructions))
        except delta.BadDelta as error:
            raise _bad(f"holds a bad delta: {error}") from error

    def finish(self) -> None:
        """Refuse anything after the last object."""
        if self._at != len(self._body):
            raise _bad(f"holds {len(self._body) - self._at} bytes after its last object")

    def _header(self) -> tuple[int, int]:
        byte = self._take(1)[0]
        code, size, shift = byte >> 4 & 7, byte & 0x0F, 4
        while byte & 0x80:
            if shift > 60:
                raise _bad("states an impossible size")
            byte = self._take(1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
        return code, size

    def _take(self, count: int) -> memoryview:
        part = self._body[self._at : self._at + count]
        if len(part) < count:
            raise _bad("is cut off")
        self._at += count
        return part

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise _bad("unpacks to more than is accepted")

    def _inflate(self, size: int) -> bytes:
        """Return exactly ``size`` bytes; small steps, so that neither a bomb nor a copied rest costs memory."""
        self._spend(size)
        inflater = zlib.decompressobj()
        out = bytearray()
        try:
            while not inflater.eof:
                chunk = self._body[self._at : self._at + _CHUNK]
                if not chunk:
                    raise _bad("is cut off")
                out += inflater.decompress(chunk, size - len(out) + 1)
                self._at += len(chunk) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
                if len(out) > size:
                    raise _bad("holds an object that is larger than it says")
        except zlib.error as error:
            raise _bad(f"holds an object that does not decompress: {error}") from error
        if len(out) != size:
            raise _bad("holds an object that is smaller than it says")
        return bytes(out)


def _bad(what: str) -> Unsafe:
    return Unsafe(f"A pack that arrived {what}", hint=_HINT)
