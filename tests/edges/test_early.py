"""What came inline and is being applied before it is on the disk is no edit of this device after a kill."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from autosync.apply import WorkingTree
from autosync.backends.git.backend import open_git
from autosync.core import events as ev
from autosync.core.commands import Fetch, Integrate, Source, SourceKind, TakeSnapshot
from autosync.core.model import DeviceId, Snapshot, SnapshotId
from autosync.early import Early
from autosync.perform import Performer
from autosync.ports import Applied, Operation
from tests import figures
from tests.backends.gitdevice import WORKSPACE, clone, new_repository

FILES = [f"{number}.txt" for number in range(4)]


class Killed(BaseException):
    """The agent ends here, and nothing of it goes on."""


class Mortal(WorkingTree):
    """Applies a half of what it is told, if the agent is to be killed."""

    dies = False

    def apply(self, operations: Sequence[Operation]) -> Applied:
        if not self.dies:
            return super().apply(operations)
        super().apply(operations[: len(operations) // 2])
        raise Killed


class Agent:
    """The agent of one device."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start()

    def start(self) -> None:
        """Start it, after a kill too: all that was in memory only is gone."""
        self.backend = open_git(os.fsencode(self.root), workspace=WORKSPACE, remote=None)
        backend = self.backend
        self.tree = Mortal(
            backend.root, backend.metadata, standing=backend.standing, standings=backend.standings, stage=backend.stage
        )
        name = self.root.name
        self.performer = Performer(backend=backend, tree=self.tree, device=DeviceId(f"{name}-00000001"), name=name)
        self.current = self.performer.open()

    def end(self) -> None:
        self.tree.close()
        self.backend.close()

    def stand(self, event: ev.Event) -> Snapshot:
        """Take note of where ``event`` has led; return it."""
        assert isinstance(event, ev.SnapshotTaken | ev.Integrated), event
        found = event.snapshot if isinstance(event, ev.SnapshotTaken) else event.current
        assert found is not None
        self.current = found
        return found

    def look(self) -> Snapshot:
        return self.stand(self.performer.local(TakeSnapshot(paths=None, current=self.current, above=0)))

    def save(self, content: str) -> Snapshot:
        for name in FILES:
            (self.root / name).write_text(content)
        return self.look()

    def integrate(self, event: ev.SnapshotFetched) -> None:
        assert event.snapshot is not None, event
        assert self.current is not None
        self.stand(self.performer.local(Integrate(current=self.current, theirs=event.snapshot, exact=False, above=0)))

    def hear(self, other: Agent, *, early: bool) -> None:
        """Bring in the state of ``other``, which came with its announcement."""
        assert other.current is not None
        known: Collection[SnapshotId] = [self.current.id] if self.current else []
        pack = other.backend.pack(other.current.id, limit=1 << 20, reached=list(known))
        assert pack
        source = Source(kind=SourceKind.INLINE, device=other.performer.device, pack=pack)
        fetched = self.performer.absorb(
            Fetch(wanted=other.current.id, source=source), self.integrate if early else None
        )
        assert fetched.snapshot == other.current, fetched
        if not early:
            self.integrate(fetched)

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.root.iterdir() if path.name != ".git"}


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    """Laptop and desktop at one state."""
    origin = new_repository(tmp_path / "origin", dict.fromkeys(FILES, b"first\n"))
    laptop, desktop = (Agent(clone(origin, tmp_path / name)) for name in ("laptop", "desktop"))
    laptop.look()
    desktop.look()
    laptop.hear(desktop, early=False)
    desktop.hear(laptop, early=False)
    yield laptop, desktop
    laptop.end()
    desktop.end()


def test_a_kill_while_it_is_applied_leaves_no_edit_of_ours(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    laptop.save("second\n")
    desktop.tree.dies = True
    with pytest.raises(Killed):
        desktop.hear(laptop, early=True)
    desktop.end()
    assert sorted(desktop.files().values()) == ["first\n", "first\n", "second\n", "second\n"]
    laptop.save("third\n")
    desktop.start()
    desktop.look()
    desktop.hear(laptop, early=True)
    assert desktop.files() == dict.fromkeys(FILES, "third\n")
    assert desktop.current == laptop.current
    figures.record("kills survived", 1)


def test_what_is_on_the_disk_is_not_noted_any_more(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    laptop.save("second\n")
    desktop.hear(laptop, early=True)
    assert desktop.current == laptop.current
    assert not list(Early(desktop.backend.metadata).left())
    assert not [name for name in os.listdir(desktop.backend.metadata) if b"early" in name]


def start_and_look(desktop: Agent) -> None:
    """Start it again, and look at what has not changed."""
    before = desktop.current
    desktop.end()
    desktop.start()
    event = desktop.performer.local(TakeSnapshot(paths=None, current=desktop.current, above=0))
    assert isinstance(event, ev.SnapshotTaken), event
    assert (event.snapshot, event.changed) == (before, False)


def notes(desktop: Agent) -> list[str]:
    return [path.name for path in Path(os.fsdecode(desktop.backend.metadata)).glob("early*")]


def note_of(desktop: Agent, snapshot: str) -> Path:
    return Path(os.fsdecode(desktop.backend.metadata)) / f"early-{snapshot}"


def test_a_note_that_is_torn_or_of_no_use_is_passed_over(agents: tuple[Agent, Agent]) -> None:
    _, desktop = agents
    for content in (b"", b"PACK", b"PACK\0\0\0\2\0\0\0\1", b"\xff\n", b"../../x\n"):
        note_of(desktop, "5" * 40).write_bytes(content)
        start_and_look(desktop)
        assert notes(desktop) == []  # it will never be of use
    for name in ("5" * 39, "x" * 40, "5" * 40 + "5"):
        note_of(desktop, name).write_bytes(b"PACK")
        start_and_look(desktop)
    figures.record("bad inputs refused", 8)


def test_a_note_that_cannot_be_read_is_passed_over(
    agents: tuple[Agent, Agent], caplog: pytest.LogCaptureFixture
) -> None:
    _, desktop = agents
    note = note_of(desktop, "5" * 40)
    note.symlink_to(note.name)
    start_and_look(desktop)
    assert f"{note} cannot be read: Too many levels of symbolic links" in caplog.text
    note.unlink()
    os.mkfifo(note)
    start_and_look(desktop)
    figures.record("bad inputs refused", 2)


def test_each_that_is_under_way_has_a_note_of_its_own(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    early = Early(desktop.backend.metadata)
    first, second = (laptop.save(f"{content}\n") for content in ("second", "third"))
    assert early.note(first.id, b"one")
    assert early.note(second.id, b"other")
    assert sorted(early.left()) == sorted([(first.id, b"one"), (second.id, b"other")])
    early.forget(first.id)
    assert list(early.left()) == [(second.id, b"other")]


def test_where_nothing_can_be_noted_it_is_stored_first(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    wanted = laptop.save("second\n")
    note_of(desktop, wanted.id).mkdir()
    stored: list[bool] = []
    integrate = desktop.integrate

    def look(event: ev.SnapshotFetched) -> None:
        stored.append(wanted.id in desktop.backend.pins().values())
        integrate(event)

    desktop.integrate = look  # type: ignore[method-assign]
    desktop.hear(laptop, early=True)
    assert stored == [True]
    assert desktop.current == laptop.current
