"""Which files that are gone the brakes are asked about, and what stands in the snapshot instead."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.core.brakes import Brake
from autosync.core.model import RelPath
from autosync.errors import TransientError
from tests.backends.gitdevice import git
from tests.edges.git_agents import Agent, Killed, laptop_and_desktop

MANY = 60
IN_D = {f"d/{n}": b"%d\n" % n for n in range(MANY)}


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    """Laptop and desktop at one state: many committed files in ``d``, and ``a.txt``."""
    with laptop_and_desktop(tmp_path, {**IN_D, "a.txt": b"a\n"}) as both:
        yield both


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[tuple[Agent, Agent]]:
    """The same with as many files in ``new`` that were never committed, and ``a.txt`` alone committed."""
    with laptop_and_desktop(tmp_path, {"a.txt": b"a\n"}) as both:
        laptop, desktop = both
        write_many(laptop, "new")
        laptop.look()
        desktop.hear(laptop, early=False)
        assert count(desktop, "new") == MANY
        yield both


def write_many(agent: Agent, folder: str) -> None:
    (agent.root / folder).mkdir()
    for n in range(MANY):
        (agent.root / folder / f"{n}").write_text(f"{n}\n")


def count(agent: Agent, folder: str) -> int:
    return sum(1 for _ in (agent.root / folder).glob("*"))


def commit(agent: Agent, *what: str) -> None:
    git(agent.root, "add", *(what or ("-A",)))
    git(agent.root, "commit", "-q", "-m", "a commit", *what)


def held(agent: Agent) -> dict[Brake, int]:
    return dict(Counter(each.brake for each in agent.performer.brakes.held))


def tell(one: Agent, other: Agent) -> None:
    """Bring what ``one`` has recorded to the other device, commits included."""
    git(other.root, "fetch", "-q", str(one.root), "HEAD")
    other.hear(one, early=False)


# -- history ---------------------------------------------------------------------------------
def test_a_folder_that_was_never_committed_is_renamed_and_committed(fresh: tuple[Agent, Agent]) -> None:
    laptop, desktop = fresh
    (laptop.root / "new").rename(laptop.root / "lib")
    for n in range(5):
        (laptop.root / f"lib/{n}").unlink()
    commit(laptop)
    laptop.look()
    assert held(laptop) == {}
    tell(laptop, desktop)
    assert (count(desktop, "lib"), (desktop.root / "new").exists()) == (MANY - 5, False)


def test_what_is_held_stays_as_it_was_synced_last(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    (laptop.root / "d/1").write_text("edited, never committed\n")
    (laptop.root / "d/2").write_text("committed later\n")
    (laptop.root / "a.txt").write_text("b\n")
    laptop.look()
    tell(laptop, desktop)
    shutil.rmtree(laptop.root / "d")
    laptop.look()
    assert held(laptop) == {Brake.DELETION: MANY}
    commit(laptop, "a.txt")
    laptop.look()
    assert held(laptop) == {Brake.DELETION: MANY}
    tell(laptop, desktop)
    assert (desktop.root / "d/1").read_text() == "edited, never committed\n"
    # Another commit in which a held file has changed brings what it has.
    git(laptop.root, "checkout", "-q", "HEAD", "--", "d/2")
    (laptop.root / "d/2").write_text("of a commit\n")
    commit(laptop, "d/2")
    (laptop.root / "d/2").unlink()
    laptop.look()
    assert held(laptop) == {Brake.DELETION: MANY}
    tell(laptop, desktop)
    assert (desktop.root / "d/2").read_text() == "of a commit\n"
    assert count(desktop, "d") == MANY


def test_deletions_that_are_held_stay_so_when_the_commit_below_is_rewritten_and_pruned(
    fresh: tuple[Agent, Agent],
) -> None:
    laptop, _ = fresh
    shutil.rmtree(laptop.root / "new")
    laptop.look()
    laptop.end()
    (laptop.root / "a.txt").write_text("rewritten\n")
    git(laptop.root, "commit", "-q", "-a", "--amend", "-m", "rewritten")
    git(laptop.root, "reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    git(laptop.root, "gc", "-q", "--prune=now")
    laptop.start()
    laptop.look()
    assert held(laptop) == {Brake.DELETION: MANY}


def test_a_committed_deletion_is_not_held_whatever_is_looked_at(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    shutil.rmtree(laptop.root / "d")
    laptop.look()
    assert held(laptop) == {Brake.DELETION: MANY}
    commit(laptop)
    (laptop.root / "a.txt").write_text("b\n")
    laptop.look(RelPath(b"a.txt"))
    assert held(laptop) == {}
    tell(laptop, desktop)
    assert not (desktop.root / "d").exists()


# -- something else in their place -----------------------------------------------------------
@pytest.mark.parametrize("what", ["file", "link"])
def test_what_stands_in_the_place_of_a_folder_waits_with_its_deletion(agents: tuple[Agent, Agent], what: str) -> None:
    laptop, desktop = agents
    (laptop.root / "d").rename(laptop.root.parent / "elsewhere")
    if what == "file":
        (laptop.root / "d").write_text("a file now\n")
    else:
        (laptop.root / "d").symlink_to(laptop.root.parent / "elsewhere")
    laptop.look()
    assert held(laptop) == {Brake.DELETION: MANY, Brake.PLACE: 1}
    tell(laptop, desktop)
    assert count(desktop, "d") == MANY
    laptop.performer.release([RelPath(b"d")])
    laptop.look()
    assert held(laptop) == {}
    tell(laptop, desktop)
    assert (desktop.root / "d").is_symlink() == (what == "link")
    assert (desktop.root / "d").is_file() == (what == "file")


def test_what_stands_in_the_place_of_a_file_waits_with_its_deletion(tmp_path: Path) -> None:
    with laptop_and_desktop(tmp_path, {f"{n}": b"%d\n" % n for n in range(MANY)}) as (laptop, desktop):
        for n in range(MANY):
            (laptop.root / f"{n}").unlink()
        (laptop.root / "7").mkdir()
        (laptop.root / "7/below").write_text("below\n")
        laptop.look()
        assert held(laptop) == {Brake.DELETION: MANY, Brake.PLACE: 1}
        tell(laptop, desktop)
        assert (desktop.root / "7").read_text() == "7\n"
        # Who lets go what is new lets go the deletion that is in its way, and no other.
        laptop.performer.release([RelPath(b"7/below")])
        laptop.look()
        assert held(laptop) == {Brake.DELETION: MANY - 1}
        tell(laptop, desktop)
        assert (desktop.root / "7/below").read_text() == "below\n"
        assert len(list(desktop.root.glob("[0-9]*"))) == MANY


def test_what_was_moved_into_the_place_of_a_held_deletion_stays_where_it_was(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    shutil.rmtree(laptop.root / "d")
    (laptop.root / "a.txt").rename(laptop.root / "d")
    laptop.look()
    assert held(laptop) == {Brake.DELETION: MANY + 1, Brake.PLACE: 1}
    tell(laptop, desktop)
    assert (desktop.root / "a.txt").read_text() == "a\n"
    assert count(desktop, "d") == MANY
    laptop.performer.release([RelPath(b"d")])
    laptop.look()
    assert held(laptop) == {}
    tell(laptop, desktop)
    assert sorted(desktop.files().items()) == [("d", "a\n")]


def test_an_edit_below_what_stands_in_the_place_of_a_folder_lets_nothing_go(agents: tuple[Agent, Agent]) -> None:
    laptop, desktop = agents
    (laptop.root / "d").rename(laptop.root.parent / "elsewhere")
    (laptop.root / "d").symlink_to(laptop.root.parent / "elsewhere")
    laptop.look()
    tell(laptop, desktop)
    (desktop.root / "d/5").write_text("edited\n")
    (desktop.root / "b.txt").write_text("beside\n")
    desktop.look()
    tell(desktop, laptop)
    laptop.look()
    assert (laptop.root / "b.txt").read_text() == "beside\n"
    assert held(laptop)[Brake.DELETION] >= MANY - 1
    tell(laptop, desktop)
    assert count(desktop, "d") == MANY


@pytest.mark.parametrize("committed_before", [True, False])
@pytest.mark.parametrize("staged_only", [True, False])
def test_a_folder_that_becomes_a_nested_repository(
    agents: tuple[Agent, Agent], committed_before: bool, staged_only: bool
) -> None:
    """What is staged is this device's own, and takes nobody's place; what is committed does."""
    laptop, desktop = agents
    folder = "d" if committed_before else "e"
    if not committed_before:
        write_many(laptop, folder)
        laptop.look()
        tell(laptop, desktop)
    git(laptop.root, "init", "-q", folder)
    git(laptop.root / folder, "add", ".")
    git(laptop.root / folder, "commit", "-q", "-m", "nested")
    if committed_before:
        git(laptop.root, "rm", "-q", "-r", "--cached", folder)
    git(laptop.root, "-c", "advice.addEmbeddedRepo=false", "add", folder)
    if not staged_only:
        git(laptop.root, "commit", "-q", "-m", "a nested repository")
    laptop.look()
    assert held(laptop) == ({Brake.DELETION: MANY} if staged_only and committed_before else {})
    tell(laptop, desktop)
    if staged_only:
        assert count(desktop, folder) == MANY
    else:
        assert git(desktop.root, "ls-tree", "HEAD", folder).startswith("160000 commit")


# -- an agent that was killed ----------------------------------------------------------------
@pytest.mark.parametrize("base_moves", [True, False])
def test_a_released_deletion_that_had_arrived_before_a_kill_is_no_deletion_of_ours(
    fresh: tuple[Agent, Agent], base_moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, desktop = fresh
    shutil.rmtree(laptop.root / "new")
    laptop.look()
    laptop.performer.release([RelPath(b"")])
    if base_moves:
        (laptop.root / "a.txt").write_text("changed\n")
        commit(laptop, "a.txt")
    laptop.look()
    git(desktop.root, "fetch", "-q", str(laptop.root), "HEAD")
    land = desktop.backend.land

    def killed_after(*args: object, **kwargs: object) -> None:
        land(*args, **kwargs)  # type: ignore[arg-type]
        raise Killed

    if base_moves:
        monkeypatch.setattr(desktop.backend, "land", killed_after)
    else:
        desktop.tree.dies = True
    with pytest.raises(Killed):
        desktop.hear(laptop, early=False)
    desktop.end()
    desktop.start()
    desktop.look()
    assert held(desktop) == {}
    assert desktop.current == laptop.current
    assert not (desktop.root / "new").exists()


def test_what_the_user_deletes_after_a_kill_is_held(fresh: tuple[Agent, Agent]) -> None:
    laptop, desktop = fresh
    for n in range(4):
        (laptop.root / f"{n}.txt").write_text("more\n")
    laptop.look()
    desktop.tree.dies = True
    with pytest.raises(Killed):
        desktop.hear(laptop, early=False)
    desktop.end()
    shutil.rmtree(desktop.root / "new")
    desktop.start()
    desktop.look()
    assert held(desktop) == {Brake.DELETION: MANY}
    desktop.hear(laptop, early=False)
    laptop.hear(desktop, early=False)
    assert count(laptop, "new") == MANY
    assert all((desktop.root / f"{n}.txt").exists() for n in range(4))


def test_a_failed_attempt_keeps_no_look_from_recording(
    fresh: tuple[Agent, Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, desktop = fresh
    (laptop.root / "new/1").write_text("edited\n")
    (laptop.root / "a.txt").write_text("committed\n")
    commit(laptop, "a.txt")
    laptop.look()
    git(desktop.root, "fetch", "-q", str(laptop.root), "HEAD")

    def fail(*_: object, **__: object) -> None:
        raise TransientError("the disk is full", hint="Make room.")

    monkeypatch.setattr(desktop.backend, "land", fail)
    with pytest.raises(AssertionError, match="the disk is full"):
        desktop.hear(laptop, early=False)
    desktop.look()
    (desktop.root / "mine.txt").write_text("saved meanwhile\n")
    desktop.look()
    laptop.hear(desktop, early=False)
    assert (laptop.root / "mine.txt").read_text() == "saved meanwhile\n"
