"""Codes one object as copy and insert instructions over another (git's pack delta, gitformat-pack(5))."""

from __future__ import annotations

import re

_COPY_LIMIT = 0xFFFFFF
_INSERT_LIMIT = 127
_WORTH_A_COPY = 12
"""Bytes; a copy instruction takes up to 8, and a short token matches by chance."""

# Text breaks at line ends, a tree object after each name: one pattern serves both.
_TOKEN = re.compile(rb"[^\n\0]*[\n\0]?")


MOST_INSTRUCTIONS = 250_000
"""In one delta: as many copies of two bytes take seconds, and next to nothing when compressed."""


class BadDelta(ValueError):
    """The instructions do not describe an object."""


def encode(base: bytes, target: bytes, *, lines: bool = True) -> bytes:
    """Return instructions that make ``target`` from ``base``.

    What is equal at both ends is copied; between, with ``lines``, whole lines (of a tree:
    entries) that stand anywhere in ``base`` are.
    """
    head = _common_prefix(base, target)
    tail = _common_suffix(base, target, min(len(base), len(target)) - head)
    out = bytearray(_varint(len(base)) + _varint(len(target)))
    between = _match(base, target, head, len(target) - tail) if lines else [target[head : len(target) - tail]]
    runs = [(0, head), *between, (len(base) - tail, tail)]
    copied_from = copied = 0
    for run in runs:
        if isinstance(run, bytes):
            _copy(out, copied_from, copied)
            copied = 0
            _insert(out, run)
        elif copied and copied_from + copied == run[0]:
            copied += run[1]
        else:
            _copy(out, copied_from, copied)
            copied_from, copied = run
    _copy(out, copied_from, copied)
    return bytes(out)


def sizes(delta: bytes) -> tuple[int, int]:
    """Return the sizes in bytes of the base and of the target that ``delta`` states.  Raises :class:`BadDelta`."""
    base, at = _read_varint(delta, 0)
    return base, _read_varint(delta, at)[0]


def apply(base: bytes, delta: bytes) -> bytes:
    """Return what ``delta`` makes of ``base``, never more bytes than it states.  Raises :class:`BadDelta`."""
    size, at = _read_varint(delta, 0)
    if size != len(base):
        raise BadDelta(f"the delta is for a base of {size} bytes, not {len(base)}")
    wanted, at = _read_varint(delta, at)
    out = bytearray()
    left = MOST_INSTRUCTIONS
    while at < len(delta):
        op = delta[at]
        at += 1
        left -= 1
        if left < 0:
            raise BadDelta(f"the delta holds more than {MOST_INSTRUCTIONS} instructions")
        if op & 0x80:
            offset, at = _read_bits(delta, at, op, 4)
            length, at = _read_bits(delta, at, op >> 4, 3)
            length = length or 0x10000
            if offset + length > len(base):
                raise BadDelta("the delta copies from beyond the end of its base")
            out += base[offset : offset + length]
        elif op == 0 or at + op > len(delta):
            raise BadDelta("the delta holds an instruction that does not exist or is cut off")
        else:
            out += delta[at : at + op]
            at += op
        if len(out) > wanted:
            raise BadDelta("the delta makes more than it says")
    if len(out) != wanted:
        raise BadDelta("the delta makes less than it says")
    return bytes(out)


def _match(base: bytes, target: bytes, start: int, end: int) -> list[tuple[int, int] | bytes]:
    """Return ``target[start:end]`` as runs of ``base`` (offset, length) and bytes to insert."""
    runs: list[tuple[int, int] | bytes] = []
    if start == end:
        return runs
    places: dict[bytes, int] = {}
    for token in _TOKEN.finditer(base):
        places.setdefault(token[0], token.start())
    literal = bytearray()
    expected = start
    for found in _TOKEN.finditer(target, start, end):
        token_bytes = found[0]
        # The line that follows the last one copied comes first: runs grow longest so.
        if token_bytes and base.startswith(token_bytes, expected) and not literal:
            place: int | None = expected
        else:
            place = places.get(token_bytes) if len(token_bytes) >= _WORTH_A_COPY else None
        if place is None:
            literal += token_bytes
            continue
        if literal:
            runs.append(bytes(literal))
            literal.clear()
        runs.append((place, len(token_bytes)))
        expected = place + len(token_bytes)
    if literal:
        runs.append(bytes(literal))
    return runs


def _common_prefix(one: bytes, two: bytes) -> int:
    """Return how many bytes are equal at the start; halving keeps the comparing in C."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_suffix(one: bytes, two: bytes, most: int) -> int:
    """Return how many bytes, at most ``most``, are equal at the end."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == two[len(two) - middle : len(two) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _copy(out: bytearray, offset: int, length: int) -> None:
    while length > 0:
        now = min(length, _COPY_LIMIT)
        at = len(out)
        out.append(0x80)
        for bit in range(4):
            if byte := offset >> 8 * bit & 0xFF:
                out[at] |= 1 << bit
                out.append(byte)
        for bit in range(3):
            if byte := now >> 8 * bit & 0xFF:
                out[at] |= 0x10 << bit
                out.append(byte)
        offset += now
        length -= now


def _insert(out: bytearray, literal: bytes) -> None:
    for at in range(0, len(literal), _INSERT_LIMIT):
        part = literal[at : at + _INSERT_LIMIT]
        out.append(len(part))
        out += part


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(delta: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(delta) and shift < 64:
        byte = delta[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number, at
    raise BadDelta("the delta states no size")


def _read_bits(delta: bytes, at: int, mask: int, count: int) -> tuple[int, int]:
    """Return the little-endian number whose present bytes ``mask`` names."""
    number = 0
    for bit in range(count):
        if mask >> bit & 1:
            if at >= len(delta):
                raise BadDelta("the delta holds an instruction that is cut off")
            number |= delta[at] << 8 * bit
            at += 1
    return number, at
