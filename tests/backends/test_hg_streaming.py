"""A large file is never held: not while it is looked at, named, sent, taken in, written and committed."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hg_repos import NOW, copy_of, hg, isolate, make_repository, put

from autosync.backends.hg.backend import HgBackend
from autosync.core.model import DeviceId, Snapshot, TreeId, Version, WorkspaceId
from tests import figures

T = TypeVar("T")

SIZE = 24 << 20
MOST = 6 << 20
"""Bytes beside what was there before: a small content may be held, and what hg is asked."""
FILTERED = b"[encode]\nbig = pipe: cat\n[decode]\nbig = pipe: cat\n"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[HgBackend, HgBackend]]:
    """Return the backends of a working copy and of a clone."""
    one = make_repository(tmp_path / "one", {"a": b"a\n"})
    other = copy_of(one, tmp_path / "two")
    backends = [HgBackend(root, workspace=WorkspaceId("w"), remote=None) for root in (one, other)]
    yield backends[0], backends[1]
    for backend in backends:
        backend.close()


def little(act: Callable[[], T]) -> T:
    """Return what ``act`` returns, which must not take more than :data:`MOST` at any time."""
    tracemalloc.start()
    try:
        done = act()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST
    figures.record("steps with a large file that hold none of it", 1)
    return done


def snapped(one: HgBackend, count: int = 1) -> Snapshot:
    """Look at a working copy and record what is there."""
    reading = little(lambda: one.read(None, None))
    assert (reading.torn, reading.unreadable) == (frozenset(), frozenset())
    version = Version.of({DeviceId("one-00000001"): count})
    return little(
        lambda: one.record(
            tree=reading.tree, base=reading.base, version=version, parents=(), device="one", time=NOW + count
        )
    )


def carried(snapshot: Snapshot, one: HgBackend, other: HgBackend, tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w+b") as stream:
        little(lambda: one.serve(snapshot.id, other.haves(), stream))
        stream.seek(0)
        assert little(lambda: other.receive(snapshot.id, stream)).tree == snapshot.tree


def staged(tree: TreeId, other: HgBackend, directory: Path) -> bytes:
    """Return what the large file of a tree is written as."""
    directory.mkdir()
    entries = [(path, entry) for path, entry in other.store.entries(tree) if path == b"big"]
    little(lambda: other.stage(entries, os.fsencode(directory)))
    return (directory / "0").read_bytes()


@pytest.mark.parametrize("settings", [b"", FILTERED], ids=["plain", "filtered"])
@pytest.mark.parametrize("shrinks", [False, True], ids=["random", "text"])
def test_a_snapshot(two: tuple[HgBackend, HgBackend], tmp_path: Path, settings: bytes, *, shrinks: bool) -> None:
    one, other = two
    content = b"line\n" * (SIZE // 5) if shrinks else os.urandom(SIZE)
    for backend in two:
        put(backend.root, ".hg/hgrc", settings)
    put(one.root, "big", content)
    snapshot = snapped(one)
    assert little(lambda: one.pack(snapshot.id, limit=1 << 20)) is None
    carried(snapshot, one, other, tmp_path)
    assert staged(snapshot.tree, other, tmp_path / "staged") == content


def test_a_changeset(two: tuple[HgBackend, HgBackend], tmp_path: Path) -> None:
    one, other = two
    content = os.urandom(SIZE)
    put(one.root, "big", content)
    snapshot = snapped(one)
    base = little(lambda: one.commit(None, message="big", tree=snapshot.tree))
    assert base.commit is not None
    commit = base.commit
    assert hg(one.root, "status", "-mar") == b""
    little(lambda: one.secure(commit))
    put(one.root, "a", b"b\n")
    on_top = snapped(one, 2)
    assert on_top.base == base
    carried(on_top, one, other, tmp_path)
    assert staged(on_top.tree, other, tmp_path / "received") == content
    # What hg alone has is read from it.
    root = copy_of(one.root, tmp_path / "fresh")
    shutil.rmtree(os.path.join(root, b".hg", b"autosync"))
    fresh = HgBackend(root, workspace=WorkspaceId("w"), remote=None)
    try:
        tree = little(lambda: fresh.tree_of(commit))
        assert staged(tree, fresh, tmp_path / "from hg") == content
    finally:
        fresh.close()
