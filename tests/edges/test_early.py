"""What came inline and is being applied before it is on the disk is no edit of this device after a kill."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.core import events as ev
from autosync.core.commands import TakeSnapshot
from autosync.core.model import Snapshot
from autosync.early import Early
from tests import figures
from tests.edges.git_agents import Agent, Killed, laptop_and_desktop

FILES = [f"{number}.txt" for number in range(4)]


def save(agent: Agent, content: str) -> Snapshot:
    for name in FILES:
        (agent.root / name).write_text(content)
    return agent.look()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    """Laptop and desktop at one state."""
    with laptop_and_desktop(tmp_path, dict.fromkeys(FILES, b"first\n")) as both:
        yield both


def test_a_kill_while_it_is_applied_leaves_no_edit_of_ours(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    save(laptop, "second\n")
    desktop.tree.dies = True
    with pytest.raises(Killed):
        desktop.hear(laptop, early=True)
    desktop.end()
    assert sorted(desktop.files().values()) == ["first\n", "first\n", "second\n", "second\n"]
    save(laptop, "third\n")
    desktop.start()
    desktop.look()
    desktop.hear(laptop, early=True)
    assert desktop.files() == dict.fromkeys(FILES, "third\n")
    assert desktop.current == laptop.current
    figures.record("kills survived", 1)


def test_what_is_on_the_disk_is_not_noted_any_more(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    save(laptop, "second\n")
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
    first, second = (save(laptop, f"{content}\n") for content in ("second", "third"))
    assert early.note(first.id, b"one")
    assert early.note(second.id, b"other")
    assert sorted(early.left()) == sorted([(first.id, b"one"), (second.id, b"other")])
    early.forget(first.id)
    assert list(early.left()) == [(second.id, b"other")]


def test_where_nothing_can_be_noted_it_is_stored_first(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    wanted = save(laptop, "second\n")
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
