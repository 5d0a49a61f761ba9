"""What of a peer's state could be brought stands aside until the rest can be, and is nobody's edit here."""

from __future__ import annotations

import pytest

from autosync.core.model import RelPath
from autosync.errors import Busy
from autosync.simulation.device import Killed
from tests.core.copies import START, Copy, equal_copies

HELD, OWN, DIRECTORY = RelPath(b"held.txt"), RelPath(b"own.txt"), RelPath(b"directory")
LINES = b"".join(b"line %d\n" % n for n in range(9))


def held() -> tuple[Copy, Copy]:
    """Return two devices; the second has an open file that keeps the first's state from coming whole."""
    one, two = equal_copies(2)
    one.save(HELD, LINES)
    one.files.user.write(OWN, LINES)
    one.files.user.commit("both")
    one.look()
    two.merge(one)
    two.files.user.writing.add(HELD)
    one.files.user.write(HELD, b"new " + LINES)
    one.save(OWN, b"first " + LINES)
    return one, two


def close(copy: Copy) -> None:
    copy.files.user.writing.clear()


def names(copy: Copy) -> set[bytes]:
    return set(copy.files.files)


def test_its_owner_saves_on_without_a_conflict() -> None:
    one, two = held()
    before = two.current
    assert two.merge(one, complete=False) == before
    assert two.content(OWN) == b"first " + LINES
    assert two.look() == before, "what was brought is no edit of this device"
    one.save(OWN, b"second " + LINES)
    two.merge(one, complete=False)
    assert two.content(OWN) == b"second " + LINES
    close(two)
    assert two.merge(one) == one.current
    assert names(two) == {START, HELD, OWN}


def test_what_is_saved_here_meanwhile_leaves_without_it() -> None:
    one, two = held()
    two.merge(one, complete=False)
    mine = two.save(START, b"of two\n")
    assert {c.path for c in two.files.changes(None, mine.tree) if c.new} == {START, HELD, OWN}
    assert one.merge(two) == one.current
    one.save(OWN, b"second " + LINES)
    close(two)
    two.merge(one)
    assert {path: two.content(path) for path in two.files.files} == {
        START: b"of two\n",
        HELD: b"new " + LINES,
        OWN: b"second " + LINES,
    }


def test_a_file_that_was_brought_may_be_edited() -> None:
    one, two = held()
    two.merge(one, complete=False)
    two.save(OWN, b"first " + LINES + b"and last\n")
    close(two)
    one.merge(two)
    two.merge(one)
    assert one.content(OWN) == two.content(OWN) == b"first " + LINES + b"and last\n"
    assert names(two) == {START, HELD, OWN}


def test_what_was_moved_aside_for_a_file_that_is_then_edited_stays_in_sight() -> None:
    """Who saves over what was brought has not taken away what he had there himself."""
    one, two = held()
    clash = RelPath(b"clash.txt")
    one.save(clash, b"of one\n")
    mine, number = two.save(clash, b"of two\n"), 0
    while one.save(OWN, b"%d " % number + LINES).id < mine.id:  # the greater id keeps the name
        number += 1
    two.merge(one, complete=False)
    assert two.content(clash) == b"of one\n"
    (aside,) = [path for path in two.files.files if two.content(path) == b"of two\n"]
    mine = two.save(clash, b"over it\n")
    assert aside in {c.path for c in two.files.changes(None, mine.tree)}
    close(two)
    two.merge(one)
    one.merge(two)
    for device in (one, two):
        assert {b"over it\n", b"of two\n"} <= {content for _, content in device.files.files.values()}


def test_a_file_in_the_place_of_a_directory_that_was_brought_stays() -> None:
    one, two = equal_copies(2)
    inner = RelPath(DIRECTORY + b"/inner")
    one.save(HELD)
    one.save(DIRECTORY)
    two.merge(one)
    two.files.user.writing.add(HELD)
    one.files.user.write(HELD, b"new\n")
    one.files.user.remove(DIRECTORY)
    one.save(inner)
    two.merge(one, complete=False)
    two.save(RelPath(DIRECTORY + b"/mine"))
    two.merge(one, complete=False)
    close(two)
    two.merge(one)
    assert names(two) == {START, HELD, inner, DIRECTORY + b"/mine"}
    two.files.user.writing.add(HELD)
    one.merge(two)
    one.files.user.write(HELD, b"newer\n")
    one.files.user.remove(DIRECTORY)
    one.look()
    two.merge(one, complete=False)
    two.save(DIRECTORY, b"a file now\n")
    close(two)
    two.merge(one)
    assert names(two) == {START, HELD, DIRECTORY}


def test_what_the_user_commits_is_his() -> None:
    one, two = held()
    one.files.user.write(START, b"by one\n")
    one.look()
    two.merge(one, complete=False)
    two.files.user.commit("with all of it")
    mine = two.look()
    assert two.files.tree_of(mine.base.commit) == mine.tree
    close(two)
    two.merge(one)
    one.merge(two)
    assert one.files.files == two.files.files
    assert names(one) == {START, HELD, OWN}
    assert one.content(START) == b"by one\n"


def test_a_commit_of_something_else_does_not_make_it_his() -> None:
    one, two = held()
    two.merge(one, complete=False)
    two.files.user.write(START, b"by two\n")
    two.files.user.write(OWN, LINES)
    two.files.user.commit("without what was brought")
    two.files.user.write(OWN, b"first " + LINES)
    two.look()
    one.save(OWN, b"second " + LINES)
    one.merge(two)
    assert one.content(OWN) == b"second " + LINES
    assert names(one) == {START, HELD, OWN}


@pytest.mark.parametrize("step", range(3))
def test_an_agent_that_starts_again_goes_on_with_it(step: int) -> None:
    one, two = held()
    two.merge(one, complete=False)
    if step:
        two.save(START, b"of two\n")  # now the state that was being brought does not contain ours
    if step == 2:
        close(two)
    two.start()
    two.look()
    assert two.content(OWN) == b"first " + LINES
    one.save(OWN, b"second " + LINES)
    one.merge(two)
    close(two)
    two.merge(one)
    assert names(one) == names(two) == {START, HELD, OWN}
    assert two.content(OWN) == b"second " + LINES


def test_a_state_that_was_brought_whole_but_not_noted_is_known_again() -> None:
    one, two = equal_copies(2)
    one.files.user.write(OWN, LINES)
    one.files.user.commit("a commit moves the base too")
    one.look()
    _kill_after_landing(two, one)
    two.start()
    assert two.look() == one.current


def test_what_was_saved_on_it_before_the_start_is_an_edit_of_it() -> None:
    one, two = equal_copies(2)
    one.files.user.write(OWN, LINES)
    one.files.user.commit("a commit")
    one.save(HELD)
    _kill_after_landing(two, one)
    two.files.user.write(OWN, b"two " + LINES)
    two.start()
    two.look()
    assert one.merge(two) == two.current
    assert one.content(OWN) == b"two " + LINES


def test_what_was_saved_over_what_was_brought_before_the_start_is_an_edit_of_it() -> None:
    """Else the commit would count as checked out here, and clash with what its owner makes of it next."""
    one, two = equal_copies(2)
    one.files.user.write(OWN, LINES)
    one.files.user.commit("a commit")
    one.save(HELD)
    _kill_after_landing(two, one)
    two.files.user.write(HELD, b"saved while no agent ran\n")
    two.start()
    two.look()
    assert one.merge(two) == two.current
    assert one.content(HELD) == b"saved while no agent ran\n"


def test_a_base_that_the_user_gets_to_while_it_is_landed_is_no_state_of_others() -> None:
    """He stashes what was brought and pulls: what he stashed is not to be missed in everybody's files."""
    one, two = equal_copies(2)
    one.files.user.write(OWN, LINES)
    one.files.user.commit("a commit")
    one.save(HELD)

    brought = one.content(HELD)

    def pulling(step: str) -> None:
        if step == "land":
            raise Busy("a pull runs", hint="It goes on afterwards.")

    two.files.step = pulling
    two.merge(one, complete=False)
    two.files.step = lambda _: None
    two.files.user.remove(HELD)
    two.files.user.move_head(one.files.base())
    two.start()
    two.look()
    two.merge(one)
    assert one.merge(two) == two.current
    assert one.content(HELD) == two.content(HELD) == brought


def test_a_base_that_the_user_went_to_by_himself_is_no_state_of_others() -> None:
    one, two = equal_copies(2)
    one.files.user.write(OWN, LINES)
    one.files.user.commit("a commit")
    one.save(HELD)
    _kill_after_landing(two, one)
    two.files.user.remove(HELD)
    two.start()
    assert two.look() != one.current
    assert two.performer.device in {d for d, _ in two.look().version.counters}


def _kill_after_landing(copy: Copy, source: Copy) -> None:
    """Kill the agent of ``copy`` when it has brought the state of ``source`` and not noted it yet."""
    steps: list[str] = []

    def die(what: str) -> None:
        if "land" in steps:
            raise Killed
        steps.append(what)

    copy.files.step = die
    with pytest.raises(Killed):
        copy.merge(source)
    copy.files.step = lambda _: None
