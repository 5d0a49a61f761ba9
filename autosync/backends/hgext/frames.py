"""The form of questions and answers: bencode with a word for nothing.

Integers ``i42;``, byte strings ``3:abc``, lists ``l...e``, tables ``d...e`` (keys are byte
strings, in order), nothing ``n``.  A frame is :data:`MAGIC`, the length of the rest in
8 bytes, big endian, and one value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Union

Value = Union[int, bytes, None, Sequence["Value"], Mapping[bytes, "Value"]]  # noqa: UP007 - names itself

MAGIC = b"autosync"
CHANNEL = b"a"
"""Of the command server; a lower-case one, which others may ignore."""
_HEADER = struct.Struct(">8sQ")
HEADER_SIZE = _HEADER.size


class Garbled(ValueError):
    """What was read is not a frame, or not of the expected form."""


def frame(value: Value) -> bytes:
    """Return ``value`` as a frame."""
    parts = [b""]
    _encode(value, parts)
    parts[0] = _HEADER.pack(MAGIC, sum(map(len, parts)))
    return b"".join(parts)


def body_size(header: bytes) -> int:
    """Return how many bytes follow the first :data:`HEADER_SIZE` of a frame; raises :class:`Garbled`."""
    if len(header) != HEADER_SIZE:
        raise Garbled("the frame is cut off")
    magic, size = _HEADER.unpack(header)
    if magic != MAGIC:
        raise Garbled(f"{header!r} is not the start of a frame")
    return int(size)


def unframe(content: bytes) -> Fields:
    """Return the table that a whole frame holds; raises :class:`Garbled`."""
    if body_size(content[:HEADER_SIZE]) != len(content) - HEADER_SIZE:
        raise Garbled("the frame has another length than it says")
    try:
        value, end = _decode(content, HEADER_SIZE)
    except (IndexError, ValueError) as error:
        raise Garbled(f"the frame cannot be read: {error}") from None
    if end != len(content):
        raise Garbled("the frame holds more than one value")
    return Fields.of(value)


def _encode(value: Value, parts: list[bytes]) -> None:
    if value is None:
        parts.append(b"n")
    elif isinstance(value, bytes):
        parts += (b"%d:" % len(value), value)
    elif isinstance(value, int):
        parts.append(b"i%d;" % value)
    elif isinstance(value, Mapping):
        parts.append(b"d")
        for key in sorted(value):
            parts += (b"%d:" % len(key), key)
            _encode(value[key], parts)
        parts.append(b"e")
    else:
        parts.append(b"l")
        for item in value:
            _encode(item, parts)
        parts.append(b"e")


def _decode(content: bytes, at: int) -> tuple[Value, int]:
    kind = content[at : at + 1]
    if kind.isdigit():
        return _bytes(content, at)
    at += 1
    if kind == b"n":
        return None, at
    if kind == b"i":
        end = content.index(b";", at)
        return int(content[at:end]), end + 1
    if kind == b"l":
        items: list[Value] = []
        while content[at : at + 1] != b"e":
            item, at = _decode(content, at)
            items.append(item)
        return items, at + 1
    if kind == b"d":
        table: dict[bytes, Value] = {}
        while content[at : at + 1] != b"e":
            key, at = _bytes(content, at)
            table[key], at = _decode(content, at)
        return table, at + 1
    raise Garbled(f"{kind!r} at {at - 1} starts no value")


def _bytes(content: bytes, at: int) -> tuple[bytes, int]:
    colon = content.index(b":", at)
    start, size = colon + 1, int(content[at:colon])
    found = content[start : start + size]
    if size < 0 or len(found) != size:
        raise Garbled(f"the text at {at} is cut off")
    return found, start + size


class Fields:
    """A table whose values are asked for by name and type; raises :class:`Garbled` for another one."""

    def __init__(self, table: Mapping[bytes, Value]) -> None:
        self._table = table

    @classmethod
    def of(cls, value: Value) -> Fields:
        """Return a table as fields."""
        if not isinstance(value, Mapping):
            raise Garbled("a table was expected")
        return cls(value)

    def __contains__(self, name: bytes) -> bool:
        return self._table.get(name) is not None

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._table)

    def value(self, name: bytes) -> Value:
        """Return what stands there, ``None`` if nothing does."""
        return self._table.get(name)

    def text(self, name: bytes) -> bytes:
        """Return the byte string of this name."""
        return as_bytes(self._table.get(name), name)

    def number(self, name: bytes) -> int:
        """Return the integer of this name."""
        value = self._table.get(name)
        if not isinstance(value, int):
            raise Garbled(f"{name!r} is not a number")
        return value

    def items(self, name: bytes) -> Sequence[Value]:
        """Return the list of this name, empty if there is none."""
        return as_list(self._table.get(name, ()), name)

    def texts(self, name: bytes) -> list[bytes]:
        """Return the list of byte strings of this name, empty if there is none."""
        return [as_bytes(item, name) for item in self.items(name)]

    def table(self, name: bytes) -> Fields:
        """Return the table of this name, empty if there is none."""
        return Fields.of(self._table.get(name, {}))


def as_bytes(value: Value, name: bytes) -> bytes:
    """Return ``value`` if it is a byte string; raises :class:`Garbled`."""
    if not isinstance(value, bytes):
        raise Garbled(f"{name!r} is not a byte string")
    return value


def as_list(value: Value, name: bytes) -> Sequence[Value]:
    """Return ``value`` if it is a list; raises :class:`Garbled`."""
    if value is None or isinstance(value, (bytes, int, Mapping)):
        raise Garbled(f"{name!r} is not a list")
    return value
