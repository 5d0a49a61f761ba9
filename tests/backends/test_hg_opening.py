"""A bundle of a peer is opened from memory, and one that is not what its id says is refused."""

from __future__ import annotations

import bz2
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hg_repos import commit_all, copy_of, fingerprint, hg, isolate, make_repository, opened, put, rel, versions, wording

from autosync.backends.hg.repository import NULL, Built, File, Opened, Repository
from autosync.core.model import RelPath
from autosync.errors import Missing, Unsafe
from tests import figures

LINES = b"".join(b"line %d\n" % number for number in range(60))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    files = {"a": LINES, "b": b"b\n", "gone": b"g\n", "moved": LINES * 2}
    return make_repository(tmp_path_factory.mktemp("base") / "r", files)


def changed(root: bytes, repo: Repository) -> Built:
    """Return a changeset of each kind of change."""
    put(root, "a", b"first\n" + LINES)
    put(root, "b", b"b\n", executable=True)
    os.unlink(os.path.join(root, b"gone"))
    os.symlink(b"a", os.path.join(root, b"link"))
    hg(root, "mv", "moved", "there")
    return repo.build(wording(b"said", version=b"\0\xff"), paths=rel("a", "b", "gone", "link", "moved", "there"))


def known(found: Opened) -> dict[bytes, tuple[bytes, bytes, bytes] | None]:
    """Return what is to be at each path: flags, content, source."""
    return {path: file and (file.flags, file.content, file.source) for path, file in found.files.items()}


@pytest.mark.parametrize(("sender", "reader"), [("7.2", "6.3.2"), ("6.3.2", "6.9.5"), ("6.9.5", "7.2")])
def test_versions_read_each_other(
    base: bytes, tmp_path: Path, request: pytest.FixtureRequest, sender: str, reader: str
) -> None:
    commands = versions(request.config.cache.mkdir("hg"))
    one, two = copy_of(base, tmp_path / "one"), copy_of(base, tmp_path / "two")
    with opened(one, commands[sender]) as repo:
        built = changed(one, repo)
    before = fingerprint(two)
    with opened(two, commands[reader]) as repo:
        found = repo.open(built.bundle, built.node)
        bare = repo.open(built.bundle, built.node, contents=False)
    assert known(found) == {
        b"a": (b"", b"first\n" + LINES, b""),
        b"b": (b"x", b"b\n", b""),
        b"gone": None,
        b"link": (b"l", b"a", b""),
        b"moved": None,
        b"there": (b"", LINES * 2, b"moved"),
    }
    assert found.wording == replace(wording(b"said", version=b"\0\xff"), branch=b"default")
    assert (found.p1, found.p2, found.chain) == (built.p1, NULL, (built.node,))
    assert bare.files == {
        path: file and File(flags=file.flags, content=b"", node=file.node, source=file.source)
        for path, file in found.files.items()
    }
    assert fingerprint(two) == before


def test_any_damage_is_found(base: bytes, tmp_path: Path) -> None:
    one, two = copy_of(base, tmp_path / "one"), copy_of(base, tmp_path / "two")
    with opened(one) as repo:
        built = changed(one, repo)
    before = fingerprint(two)
    refused = 0
    with opened(two) as repo:
        whole = repo.open(built.bundle, built.node)
        repo.server.identity()
        pid = repo.server.pid
        for place in range(0, len(built.bundle), 5):
            broken = bytearray(built.bundle)
            broken[place] ^= 1 << place % 8
            try:
                found = repo.open(bytes(broken), built.node)
            except (Unsafe, Missing):
                refused += 1
            else:
                assert found == whole, place  # it was in what says nothing: counts, links, phases
        for end in range(0, len(built.bundle), 41):
            with pytest.raises((Unsafe, Missing)):
                repo.open(built.bundle[:end], built.node)
            refused += 1
        assert repo.server.pid == pid
    assert fingerprint(two) == before
    assert refused > len(built.bundle) // 8
    figures.record("bad inputs refused", refused)


def test_what_is_no_such_bundle(base: bytes, tmp_path: Path) -> None:
    one, two = copy_of(base, tmp_path / "one"), copy_of(base, tmp_path / "two")
    with opened(one) as repo:
        built = changed(one, repo)
    compressed = (
        b"HG20" + len(b"Compression=BZ").to_bytes(4, "big") + b"Compression=BZ" + bz2.compress(built.bundle[8:])
    )
    before = fingerprint(two)
    with opened(two) as repo:
        for bundle in (b"", b"HG10UN", b"HG20", compressed, b"x" * 100):
            with pytest.raises(Unsafe, match="it is not an uncompressed bundle of version 2"):
                repo.open(bundle, built.node)
        with pytest.raises(Unsafe, match="is not in the bundle"):
            repo.open(built.bundle, b"\1" * 20)
    assert fingerprint(two) == before
    figures.record("bad inputs refused", 6)


def test_what_it_builds_on_must_be_here(base: bytes, tmp_path: Path) -> None:
    one, two = copy_of(base, tmp_path / "one"), copy_of(base, tmp_path / "two")
    put(one, "a", b"not there\n")
    commit_all(one)
    put(one, "a", b"nor this\n")
    with opened(one) as repo:
        built = repo.build(wording(), paths=rel("a"))
        assert repo.open(built.bundle, built.node).files.keys() == {b"a"}
    with opened(two) as repo, pytest.raises(Missing, match="the bundle builds on what is not here"):
        repo.open(built.bundle, built.node)


def test_what_a_changeset_claims_to_touch_is_not_believed(base: bytes, tmp_path: Path) -> None:
    root = copy_of(base, tmp_path / "one")
    given = {RelPath(b"a"): File(flags=b"", content=b"changed")}
    with opened(root) as repo:
        built = repo.build(wording(), given=given)
        twice = repo.build(wording(), given={**given, RelPath(b"b"): File(flags=b"", content=b"b\n")})
        assert twice.node == built.node
        assert repo.open(built.bundle, built.node).files.keys() == {b"a"}
