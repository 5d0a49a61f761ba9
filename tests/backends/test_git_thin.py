"""Deltas and thin packs: what is written is read again, what is hostile is refused."""

from __future__ import annotations

import contextlib
import hashlib
import random
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from gitdevice import git
from hypothesis import given
from hypothesis import strategies as st

from autosync.backends.git import delta
from autosync.backends.git.objects import object_id
from autosync.backends.git.thin import Bounds, Loose, Outgoing, decode, encode
from autosync.errors import Missing, Unsafe

LINES = [b"line %d of a text that is long enough\n" % i for i in range(400)]


def blob(content: bytes) -> Loose:
    return Loose(kind=b"blob", content=content)


def raw_id(content: bytes, hash_name: str = "sha1") -> bytes:
    return object_id(hash_name, b"blob", content)


def sealed(body: bytes, hash_name: str = "sha1") -> bytes:
    return body + hashlib.new(hash_name, body).digest()


def handmade(*entries: bytes, count: int | None = None, version: int = 2, magic: bytes = b"PACK") -> bytes:
    """Return a pack with a right checksum whatever is in it."""
    header = magic + struct.pack(">II", version, len(entries) if count is None else count)
    return sealed(header + b"".join(entries))


def entry(code: int, size: int, packed: bytes) -> bytes:
    out = bytearray([code << 4 | size & 15])
    size >>= 4
    while size:
        out[-1] |= 0x80
        out.append(size & 0x7F)
        size >>= 7
    return bytes(out) + packed


def nowhere(_: bytes, __: int) -> Loose | None:
    return None


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_delta_makes_the_target(base: bytes, target: bytes) -> None:
    instructions = delta.encode(base, target)
    assert delta.apply(base, instructions) == target
    assert delta.sizes(instructions) == (len(base), len(target))


@given(st.lists(st.integers(0, 399), max_size=80), st.lists(st.integers(0, 399), max_size=80))
def test_a_delta_of_texts_makes_the_target(base: list[int], target: list[int]) -> None:
    one, two = (b"".join(LINES[i] for i in lines) for lines in (base, target))
    assert delta.apply(one, delta.encode(one, two)) == two


def test_a_delta_finds_lines_that_moved() -> None:
    base = b"".join(LINES)
    edited = [*LINES[200:], *LINES[:200]]
    edited[10:11] = [b"something else\n"]
    edited[300:300] = [b"more\n"]
    assert len(delta.encode(base, b"".join(edited))) < 100


def test_long_copies_are_split() -> None:
    base = random.Random(1).randbytes(0x1000000 + 70_000)
    target = b"x" + base
    instructions = delta.encode(base, target)
    assert len(instructions) < 40
    assert delta.apply(base, instructions) == target


@pytest.mark.parametrize(
    ("instructions", "reason"),
    [
        (b"", "the delta states no size"),
        (b"\x80" * 12, "the delta states no size"),
        (b"\x04\x01\x01x", "the delta is for a base of 4 bytes, not 3"),
        (b"\x03", "the delta states no size"),
        (b"\x03\x05\x00", "the delta holds an instruction that does not exist or is cut off"),
        (b"\x03\x05\x05ab", "the delta holds an instruction that does not exist or is cut off"),
        (b"\x03\x04\x91\x02\x02", "the delta copies from beyond the end of its base"),
        (b"\x03\x04\x9f", "the delta holds an instruction that is cut off"),
        (b"\x03\x01\x02xy", "the delta makes more than it says"),
        (b"\x03\x04\x02xy", "the delta makes less than it says"),
    ],
)
def test_a_bad_delta_is_refused(instructions: bytes, reason: str) -> None:
    with pytest.raises(delta.BadDelta) as caught:
        delta.apply(b"abc", instructions)
    assert str(caught.value) == reason


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_a_pack_is_read_again(hash_name: str) -> None:
    old, new, other = b"".join(LINES), b"".join(LINES[:7] + LINES[8:]), random.Random(2).randbytes(999)
    base_id = raw_id(old, hash_name)
    packed = encode(
        [Outgoing(object=blob(new), base=(base_id, old)), Outgoing(object=blob(other), base=(base_id, old))],
        hash_name,
        limit=4096,
    )
    assert packed is not None
    assert len(packed) < 1200
    asked: list[tuple[bytes, int]] = []

    def find(oid: bytes, size: int) -> Loose | None:
        asked.append((oid, size))
        return blob(old)

    read = decode(packed, hash_name, find, Bounds())
    assert read == {raw_id(new, hash_name): blob(new), raw_id(other, hash_name): blob(other)}
    assert asked == [(base_id, len(old))]  # the second is shorter whole


def test_git_reads_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "r")
    old, new = b"".join(LINES), b"".join([*LINES[:100], b"inserted\n", *LINES[150:]])
    (tmp_path / "old").write_bytes(old)
    git(tmp_path / "r", "hash-object", "-w", "../old")
    packed = encode([Outgoing(object=blob(new), base=(raw_id(old), old))], "sha1", limit=1 << 20)
    assert packed is not None
    subprocess.run(
        ["git", "index-pack", "--fix-thin", "--strict", "--stdin"],
        cwd=tmp_path / "r",
        input=packed,
        check=True,
        capture_output=True,
    )
    assert git(tmp_path / "r", "cat-file", "blob", raw_id(new).hex()).encode() == new.strip()


def test_the_limit_is_exact() -> None:
    outgoing = [Outgoing(object=blob(random.Random(3).randbytes(500))) for _ in range(3)]
    packed = encode(outgoing, "sha1", limit=1 << 20)
    assert packed is not None
    assert encode(outgoing, "sha1", limit=len(packed)) == packed
    assert encode(outgoing, "sha1", limit=len(packed) - 1) is None


def test_a_delta_against_nothing_here_is_missing() -> None:
    packed = encode([Outgoing(object=blob(LINES[0] * 9), base=(raw_id(b"gone"), LINES[0] * 8))], "sha1", limit=999)
    assert packed is not None
    with pytest.raises(Missing) as caught:
        decode(packed, "sha1", nowhere, Bounds())
    assert caught.value.title == f"The snapshot builds on {raw_id(b'gone').hex()}, which is not here"


STRANGE = "holds an entry of type {}, which a thin pack of ours never does"
ABC = zlib.compress(b"abc")
DELTA = raw_id(b"abc") + zlib.compress(b"\x03\x80")
BOMB = zlib.compress(bytes(50 << 20), 9)
SMALL = entry(3, 3, zlib.compress(b"abc"))


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        (b"", "is cut off or damaged"),
        (b"PACK", "is cut off or damaged"),
        (b"x" * 4000, "is cut off or damaged"),
        (bytes(2_000_001), "has 2000001 bytes, more than the 2000000 that are accepted"),
        (handmade(SMALL)[:-1], "is cut off or damaged"),
        (handmade(SMALL) + b"x", "is cut off or damaged"),
        (handmade(SMALL, magic=b"PUCK"), "is no pack of version 2"),
        (handmade(SMALL, version=3), "is no pack of version 2"),
        (handmade(SMALL, count=2), "is cut off"),
        (handmade(SMALL, SMALL, count=1), f"holds {len(SMALL)} bytes after its last object"),
        (handmade(SMALL, count=1 << 31), "holds 2147483648 objects, more than the 1000 that are accepted"),
        (handmade(entry(0, 3, ABC)), STRANGE.format(0)),
        (handmade(entry(4, 3, ABC)), STRANGE.format(4)),
        (handmade(entry(6, 3, b"\1" + ABC)), STRANGE.format(6)),
        (handmade(b"\xb0" + b"\x80" * 20), "states an impossible size"),
        (handmade(entry(3, 2, ABC)), "holds an object that is larger than it says"),
        (handmade(entry(3, 4, ABC)), "holds an object that is smaller than it says"),
        (handmade(entry(3, 0, BOMB)), "holds an object that is larger than it says"),
        (handmade(entry(3, 50 << 20, BOMB)), "unpacks to more than is accepted"),
        (handmade(entry(3, 1 << 60, BOMB)), "unpacks to more than is accepted"),
        (handmade(*[entry(3, 400_000, zlib.compress(bytes(400_000)))] * 3), "unpacks to more than is accepted"),
        (handmade(entry(7, 3, DELTA)), "holds an object that is smaller than it says"),
        (handmade(entry(7, 2, DELTA)), "holds a bad delta: the delta states no size"),
        (handmade(entry(7, 2, b"short")), "is cut off"),
    ],
)  # fmt: skip
def test_a_hostile_pack_is_refused(pack: bytes, reason: str) -> None:
    with pytest.raises(Unsafe) as caught:
        decode(pack, "sha1", nowhere, Bounds(packed=2_000_000, unpacked=1_000_000, objects=1000))
    assert caught.value.title == f"A pack that arrived {reason}"


def test_a_damaged_deflate_stream_is_refused() -> None:
    with pytest.raises(Unsafe, match="holds an object that does not decompress: "):
        decode(handmade(entry(3, 3, b"not zlib at all")), "sha1", nowhere, Bounds())


def test_a_delta_bomb_is_refused_before_it_is_made() -> None:
    # 64 KiB copied 16,000 times: 1 GB out of 100 kB of instructions.
    size = 0x10000 * 16_000
    instructions = bytearray(b"\x80\x80\x04")
    while size > 0x7F:
        instructions.append(size & 0x7F | 0x80)
        size >>= 7
    instructions.append(size)
    instructions += b"\x80" * 16_000
    pack = handmade(entry(7, len(instructions), raw_id(b"base") + zlib.compress(instructions)))
    with pytest.raises(Unsafe) as caught:
        decode(pack, "sha1", lambda _, size: blob(bytes(size)), Bounds())
    assert caught.value.title == "A pack that arrived unpacks to more than is accepted"


@given(st.binary(max_size=60))
def test_garbage_never_does_anything_else(body: bytes) -> None:
    with contextlib.suppress(Unsafe, Missing):
        decode(sealed(b"PACK" + struct.pack(">II", 2, 1) + body), "sha1", nowhere, Bounds())
