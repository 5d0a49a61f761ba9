"""What is left out of a bundle comes back as it was, and what is no such bundle is refused."""

from __future__ import annotations

import io
import os
import random
import struct
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.backends.hg.content import Content
from autosync.backends.hg.thinning import thicken, thin
from autosync.core.model import ObjectId
from autosync.errors import AutosyncError, Unsafe
from tests.figures import record


def framed(payload: bytes, piece: int) -> bytes:
    """Return a bundle of one part, whose payload is cut in pieces."""
    pieces = [payload[at : at + piece] for at in range(0, len(payload), piece)]
    body = b"".join(struct.pack(">i", len(each)) + each for each in pieces)
    return b"HG20\0\0\0\0" + struct.pack(">i", 5) + b"part!" + body + bytes(8)


@pytest.mark.parametrize("before", [0, 10, 600, 4000, 4096, 5000])
@pytest.mark.parametrize("piece", [4096, 1 << 20])
def test_there_and_back(before: int, piece: int) -> None:
    seeded = random.Random(before)
    content, other = (seeded.randbytes(70_000) for _ in range(2))
    oid = ObjectId("ab" * 32)
    # One that is not in it, and one that only begins as what is in it does.
    offered = [(ObjectId("00" * 32), Content(other[::-1])), (oid, Content(content))]
    bundle = framed(seeded.randbytes(before) + content + other, piece)
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as thinned:
        file.write(bundle)
        assert thin(file, offered, thinned)
        assert thinned.seek(0, os.SEEK_END) < len(bundle) - 65_000
        thinned.seek(0)
        target = io.BytesIO()
        thicken(iter(lambda: thinned.read(777), b""), dict(offered).__getitem__, target, most=1 << 20)
    assert target.getvalue() == bundle


def test_nothing_in_it(tmp_path: str) -> None:
    content = random.Random(1).randbytes(70_000)
    for bundle in (framed(content[:-1] + b"?", 4096), content, b"HG20\0\0\0\0" + bytes(4)):
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as thinned:
            file.write(bundle)
            assert not thin(file, [(ObjectId("ab" * 32), Content(content))], thinned)
            assert thinned.tell() == 0


def test_one_begins_as_another(tmp_path: Path) -> None:
    """A log and its longer later state, renamed in one commit: neither is taken for the other."""
    short = random.Random(2).randbytes(70_000)
    contents = (
        [ObjectId("0a" * 32), short + b"and more"],
        [ObjectId("0b" * 32), short],
        [ObjectId("0c" * 32), b"?" * 70_000],
    )
    offered = [(oid, Content(content)) for oid, content in contents]
    for order in (offered, offered[::-1]):
        payload = b"".join(b"between" + content.whole() for _, content in (*order, offered[2]))
        bundle = framed(payload, 4096)
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as thinned:
            file.write(bundle)
            assert thin(file, offered, thinned)
            target = io.BytesIO()
            thicken(iter(lambda: thinned.read(777), b""), dict(offered).__getitem__, target, most=1 << 20)
        assert target.getvalue() == bundle


def test_one_content_is_open_at_a_time(tmp_path: Path) -> None:
    """A large one is an open file, of which a process has a thousand."""
    seeded = random.Random(3)
    contents = {ObjectId(f"{number:064x}"): seeded.randbytes(70_000) for number in range(5)}
    opened: list[weakref.ref[Content]] = []

    def each() -> Iterator[tuple[ObjectId, Content]]:
        for oid, content in contents.items():
            assert sum(known() is not None for known in opened) <= 1
            made = Content(content)
            opened.append(weakref.ref(made))
            yield oid, made

    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as thinned:
        file.write(framed(b"".join(contents.values()), 4096))
        assert thin(file, each(), thinned)
        assert thinned.seek(0, os.SEEK_END) < 10_000
    assert len(opened) == len(contents)


@pytest.mark.parametrize(("oids", "size"), [("abab", 70_000), ("ab", 1000)])
def test_what_would_be_read_again_and_again_is_refused(oids: str, size: int) -> None:
    """No content is named twice, nor one that is not worth it: else a few bytes would cost the reader hours."""
    opened: list[ObjectId] = []

    def open_one(oid: ObjectId) -> Content:
        opened.append(oid)
        return Content(bytes(size))

    said = b"".join(b"N" + bytes([oid]) * 32 + b"\0\0\0\1" for oid in bytes.fromhex(oids))
    with pytest.raises(Unsafe, match="names a content"):
        thicken([said], open_one, io.BytesIO(), most=1 << 20)
    assert len(opened) == 1
    record("bad inputs refused", 1)


@pytest.mark.parametrize(
    "said",
    [
        b"X",
        b"L",
        b"L\0\0\0\0",
        b"L\0\0\0\2a",
        b"L\0\0\0\7" + bytes(7) + b"L\0\1\x86\xa0",
        b"M\0\0\0\1",
        b"N",
        b"N" + bytes(32),
        b"N" + bytes(32) + b"\0\0\0\0",
        b"N" + bytes(32) + b"\0\0\0\3M\0\1\x5f\x90",
        b"N" + bytes(32) + b"\xff\xff\xff\xff",
    ],
)
def test_refused(said: bytes) -> None:
    def opened(_oid: ObjectId) -> Content:
        return Content(b"abc" * 30_000)

    with pytest.raises(AutosyncError) as caught:
        thicken([said], opened, io.BytesIO(), most=100_000)
    assert isinstance(caught.value, Unsafe)
    assert "a history" in str(caught.value)
    record("bad inputs refused", 1)
