"""A store is known again, every copy is told from it, and a folder that went away is the cause of what fails."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.apply import WorkingTree
from autosync.backends.git.backend import GitBackend, open_git
from autosync.core import events as ev
from autosync.core.commands import Fetch, ListHub, Push, Source, SourceKind, TakeSnapshot
from autosync.core.model import DeviceId, Snapshot
from autosync.errors import TransientError
from autosync.foothold import Foothold, identify_store, is_same_store
from autosync.perform import Performer
from tests.backends.gitdevice import WORKSPACE, clone, git, new_repository

DESKTOP = DeviceId("desktop-00000001")


def test_a_store_is_known_again_and_a_copy_is_not(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    known = identify_store(os.fsencode(store))
    (store / "more").write_text("content\n")
    assert identify_store(os.fsencode(store)) == known
    store.rename(tmp_path / "moved")
    assert identify_store(os.fsencode(tmp_path / "moved")) == known
    shutil.copytree(tmp_path / "moved", store)
    assert not is_same_store(known, identify_store(os.fsencode(store)))


def test_a_file_system_of_coarse_times_is_not_taken_for_a_copy() -> None:
    assert is_same_store(1_800_000_001_987_654_321, 1_800_000_000_000_000_000)
    assert not is_same_store(1_800_000_001_987_654_321, 1_800_000_002_000_000_000)


def test_a_store_that_cannot_be_marked_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"/gone/store\.mark: No such file or directory"):
        identify_store(os.fsencode(tmp_path / "gone"))


class Agent:
    """One device's working copy, whose folder is taken away in the middle of a step."""

    def __init__(self, root: Path, device: str) -> None:
        self.root, self.away = root, root.with_name(f"{device} away")
        self.backend: GitBackend = open_git(os.fsencode(root), workspace=WORKSPACE, remote="origin")
        backend = self.backend
        self.tree = WorkingTree(
            backend.root, backend.metadata, standing=backend.standing, standings=backend.standings, stage=backend.stage
        )
        self.performer = Performer(
            backend=backend,
            tree=self.tree,
            device=DeviceId(f"{device}-00000001"),
            name=device,
            still_there=Foothold(backend.root, backend.metadata).demand,
            leap=self._step_begins,
        )
        self.leaves = False
        """Whether the folder goes away in the next step that looks at it."""
        self.performer.open()

    def close(self) -> None:
        self.tree.close()
        self.backend.close()

    def _step_begins(self) -> int:
        if self.leaves:
            self.leave()
        return 0

    def leave(self) -> None:
        self.root.rename(self.away)

    def look(self, current: Snapshot | None = None) -> ev.Event:
        return self.performer.local(TakeSnapshot(paths=None, current=current, above=0))


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    """Laptop and desktop, with a hub that is a folder beside them."""
    hub = new_repository(tmp_path / "hub")
    laptop, desktop = (Agent(clone(hub, tmp_path / name), name) for name in ("laptop", "desktop"))
    for agent in (laptop, desktop):
        git(agent.root, "remote", "add", "origin", str(hub))
    yield laptop, desktop
    laptop.close()
    desktop.close()


def told(event: ev.Event) -> str:
    assert isinstance(event, ev.CommandFailed)
    assert event.transient
    return event.title


def test_a_folder_that_goes_away_in_a_step_is_no_bug(
    agents: tuple[Agent, Agent], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    laptop, desktop = agents
    (desktop.root / "a.txt").write_text("of the desktop\n")
    taken = desktop.look()
    assert isinstance(taken, ev.SnapshotTaken)
    assert taken.snapshot is not None
    wanted = taken.snapshot.id
    pack = desktop.backend.pack(wanted, limit=1 << 20)
    assert pack is not None
    gone = f"The folder {laptop.root} is gone"
    # Of what comes from a peer, before it is on the disk.
    fetch = Fetch(wanted=wanted, source=Source(kind=SourceKind.INLINE, device=DESKTOP, pack=pack))
    fetched = laptop.performer.absorb(fetch, lambda _: laptop.leave())
    assert (fetched.snapshot, fetched.reason) == (None, gone)
    # Of what is asked of the hub.
    assert told(laptop.performer.list_hub(ListHub())) == gone
    assert told(laptop.performer.push(Push(snapshot=wanted))) == gone
    laptop.away.rename(laptop.root)
    # Of what is read.
    laptop.leaves = True
    assert told(laptop.look()) == gone
    laptop.leaves = False
    laptop.away.rename(laptop.root)
    assert isinstance(laptop.look(), ev.SnapshotTaken)
    assert laptop.performer.absorb(fetch).snapshot == taken.snapshot
    assert [record.message for record in caplog.records if record.exc_info] == []
