"""Packs written in Python are what git itself would have written."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from git_repos import git, make_repository

from autosync.backends.git.objects import object_id
from autosync.backends.git.pack import PackWriter, Stored, deflate, index_bytes, write_pack

_CONTENTS = [b"", b"x", b"text\n" * 1000, os.urandom(70_000), bytes(300_000)]


@pytest.mark.parametrize("hash_name", ["sha1", "sha256"])
def test_git_reads_and_verifies_the_pack(tmp_path: Path, hash_name: str) -> None:
    root = make_repository(tmp_path / "repo", hash_name=hash_name)
    packs = os.path.join(root, b".git", b"objects", b"pack")
    objects = [(object_id(hash_name, b"blob", content), b"blob", content) for content in _CONTENTS]
    path = write_pack(packs, hash_name, objects)
    assert sorted(os.listdir(packs)) == [os.path.basename(path).replace(b".pack", b".idx"), os.path.basename(path)]
    assert {os.stat(os.path.join(packs, name)).st_mode & 0o777 for name in os.listdir(packs)} == {0o444}
    git(root, "verify-pack", path)
    git(root, "fsck", "--strict", "--full")
    for oid, _, content in objects:
        assert git(root, "cat-file", "blob", oid.hex()) == content
    by_git = git(root, "index-pack", f"--object-format={hash_name}", "-o", tmp_path / "other.idx", path)
    assert by_git.strip() in os.path.basename(path)
    assert (tmp_path / "other.idx").read_bytes() == Path(os.fsdecode(path.replace(b".pack", b".idx"))).read_bytes()


def test_a_pack_of_many_is_the_same_by_however_many_processors(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo")
    packs = os.path.join(root, b".git", b"objects", b"pack")
    contents = [b"line %d\n" % n * (n % 50) for n in range(1, 1500)]
    objects = {object_id("sha1", b"blob", content): content for content in contents}
    path = write_pack(packs, "sha1", [(oid, b"blob", content) for oid, content in objects.items()])
    with PackWriter(os.fsencode(tmp_path), "sha1", len(objects)) as writer:
        for oid, content in objects.items():
            writer.add(oid, b"blob", len(content), deflate(content))
        alone = writer.finish()
    assert Path(os.fsdecode(path)).read_bytes() == Path(os.fsdecode(alone)).read_bytes()
    git(root, "verify-pack", path)


def test_offsets_beyond_two_gigabytes_go_to_the_second_table(tmp_path: Path) -> None:
    entries = [(bytes([n]) * 20, n, offset) for n, offset in enumerate((12, (1 << 31) - 1, 1 << 31, 5 << 30))]
    shown = subprocess.run(
        ["git", "show-index"], input=index_bytes(entries, b"c" * 20, "sha1"), capture_output=True, check=True
    ).stdout
    assert shown == b"".join(
        b"%d %s (%s)\n" % (o, i.hex().encode(), struct.pack(">I", c).hex().encode()) for i, c, o in entries
    )


@pytest.mark.parametrize("content", [b"", os.urandom(3 << 20), b"line\n" * (1 << 20)], ids=["empty", "random", "text"])
def test_a_stream_is_stored_as_it_is(tmp_path: Path, content: bytes) -> None:
    root = make_repository(tmp_path / "repo")
    oid = object_id("sha1", b"blob", content)
    with PackWriter(os.path.join(root, b".git", b"objects", b"pack"), "sha1", 1) as writer:
        assert writer.add_stream(oid, io.BytesIO(content), len(content)) == oid
        writer.finish()
    assert git(root, "cat-file", "blob", oid.hex()) == content
    assert git(root, "fsck", "--strict", "--full", "--no-dangling") == b""


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (65535,), (65536,), (131070, 1), (1 << 20, 0, 70_000)])
def test_what_does_not_shrink_is_a_stream_that_zlib_reads(sizes: tuple[int, ...]) -> None:
    parts = [os.urandom(size) for size in sizes]
    stored = Stored()
    stream = b"".join([*map(stored.compress, parts), stored.flush()])
    reading = zlib.decompressobj()
    assert reading.decompress(stream) == b"".join(parts)
    assert (reading.eof, reading.unused_data) == (True, b"")


def test_a_stream_that_is_not_what_it_was_leaves_nothing(tmp_path: Path) -> None:
    directory = os.fsencode(tmp_path)
    oid = object_id("sha1", b"blob", b"12345")
    for other in (b"12346", b"1234"):
        with PackWriter(directory, "sha1", 1) as writer:
            assert writer.add_stream(oid, io.BytesIO(other), 5) != oid
    with pytest.raises(OSError, match="unplugged"), PackWriter(directory, "sha1", 1) as writer:
        raise OSError("unplugged")
    assert os.listdir(directory) == []
