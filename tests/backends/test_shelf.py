"""A backend without a working copy: what it begins with, and that nothing can be made up there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from git_repos import git, isolate, make_repository

from autosync.backends.git.backend import open_git
from autosync.backends.memory import MemoryWorkingCopy
from autosync.backends.shelf import NoFiles, Shelf
from autosync.core.model import Base, DeviceId, Kind, Order, RelPath, Snapshot, Version, WorkspaceId, relate
from autosync.core.operations import operations
from autosync.errors import AutosyncError
from autosync.ports import CURRENT, Backend

LAPTOP = DeviceId("laptop-00000001")
WORKSPACE = WorkspaceId("0123456789abcdef" * 2)
A, B = RelPath(b"a.txt"), RelPath(b"b.txt")


def recorded(backend: Backend, number: int) -> Snapshot:
    """Record what stands in a working copy."""
    reading = backend.read(None, None)
    version = Version.of({LAPTOP: number})
    return backend.record(
        tree=reading.tree, base=reading.base, version=version, parents=(), device="laptop", time=number
    )


def filled() -> tuple[Shelf, list[Snapshot]]:
    """Return a shelf with three states of a working copy, none of which is the current one."""
    laptop = MemoryWorkingCopy("laptop")
    inner = MemoryWorkingCopy("store")
    kept = []
    for number in (1, 2, 3):
        laptop.user.write(A, b"%d\n" % number)
        laptop.user.commit(f"commit {number}")
        snapshot = recorded(laptop, number)
        pack = laptop.pack(snapshot.id, limit=1 << 20)
        assert pack is not None
        assert snapshot.base.commit is not None
        inner.store.copy_history(laptop.store, snapshot.base.commit)
        kept.append(inner.absorb(snapshot.id, pack))
        inner.pin(f"keep/{number}", snapshot.id)
    return Shelf(inner), kept


def test_what_it_begins_with_is_contained_in_every_state() -> None:
    shelf = Shelf(MemoryWorkingCopy("store"))
    shelf.begin()
    first = shelf.load(shelf.pins()[CURRENT])
    assert first is not None
    assert shelf.changes(None, first.tree) == ()
    laptop = MemoryWorkingCopy("laptop")
    for number in (1, 2):
        assert relate(first, recorded(laptop, number)) is Order.BEFORE
        assert relate(recorded(laptop, number), first) is Order.AFTER
    shelf.begin()
    assert shelf.load(shelf.pins()[CURRENT]) == first


def test_a_state_that_is_lost_is_replaced_by_the_latest_that_is_kept() -> None:
    shelf, kept = filled()
    shelf.pin(CURRENT, kept[0].id)
    shelf.begin()
    assert shelf.pins()[CURRENT] == kept[0].id
    shelf.unpin(CURRENT)
    shelf.begin()
    assert shelf.pins()[CURRENT] == kept[2].id


def test_a_look_sees_what_was_there_before() -> None:
    shelf, kept = filled()
    shelf.begin()
    before = kept[0].base, kept[0].tree
    for paths in (None, (A,), (B,)):
        reading = shelf.read(paths, before)
        assert (reading.base, reading.tree, reading.torn) == (*before, frozenset())
    assert shelf.base() == kept[2].base
    assert shelf.busy() is None
    assert shelf.ignored((A, B)) == {A, B}
    standing = shelf.standing(A).entry
    assert standing is not None
    assert standing.kind is Kind.FILE
    assert shelf.standing(B).entry is None


def test_nothing_is_made_up() -> None:
    shelf = Shelf(MemoryWorkingCopy("store"))
    for look in (lambda: shelf.read(None, None), shelf.base, lambda: shelf.standing(A)):
        with pytest.raises(AutosyncError, match="has lost the state that it was at"):
            look()
    with pytest.raises(AutosyncError, match="A store makes no commits"):
        shelf.commit(None, message="", tree=shelf.tree_of(None))
    assert shelf.pins() == {}


def test_every_change_is_made_at_once() -> None:
    laptop = MemoryWorkingCopy("laptop")
    laptop.user.write(A, b"moved\n")
    laptop.user.write(RelPath(b"gone"), b"gone\n")
    before = laptop.read(None, None).tree
    laptop.user.rename(A, B)
    laptop.user.remove(RelPath(b"gone"))
    after = laptop.read(None, None).tree
    changes = laptop.changes(before, after)
    applied = NoFiles().apply(operations(changes))
    assert applied.done == {c.path: c.new for c in changes}
    assert not applied.refused


def test_a_peer_that_let_go_of_its_snapshots_need_not_send_its_history_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    root = make_repository(tmp_path / "laptop", {f"f{n}": b"%d\n" % n * 1000 for n in range(50)})
    git(tmp_path, "init", "-q", "store")
    laptop = open_git(root, workspace=WORKSPACE, remote=None)
    inner = open_git(bytes(tmp_path / "store"), workspace=WORKSPACE, remote=None, sole=True)
    shelf = Shelf(inner)
    try:
        shelf.begin()
        first = recorded(laptop, 1)
        sizes = [transfer(laptop, shelf, first, tmp_path)]
        shelf.pin(CURRENT, first.id)
        shelf.land(Base(commit=None, branch=first.base.branch), first.base, tree=first.tree, message="")
        Path(tmp_path / "laptop/f1").write_bytes(b"changed\n")
        git(root, "commit", "-qam", "second")
        subprocess.run(["rm", "-r", laptop.repo.store_dir], check=True)  # all that it remembers
        laptop.close()
        laptop = open_git(root, workspace=WORKSPACE, remote=None)
        sizes.append(transfer(laptop, shelf, recorded(laptop, 2), tmp_path))
        assert sizes[1] < sizes[0] / 5
        shelf.tidy(thorough=True)
        assert inner.repo.store.run("fsck", "--no-dangling") == b""
        assert shelf.shared() == 0
    finally:
        shelf.close()
        laptop.close()


def transfer(source: Backend, shelf: Shelf, snapshot: Snapshot, place: Path) -> int:
    """Bring a snapshot to the shelf as a peer does; return how many bytes that took."""
    with open(place / "pipe", "w+b") as pipe:
        source.serve(snapshot.id, shelf.haves(), pipe)
        size = pipe.tell()
        pipe.seek(0)
        assert shelf.receive(snapshot.id, pipe) == snapshot
    return size
