"""What a device does about states in its name that it has not made."""

from __future__ import annotations

from autosync.core import events as ev
from autosync.core.commands import TakeSnapshot
from autosync.core.model import RelPath
from autosync.perform import Performer
from autosync.ports import CURRENT
from tests.core.copies import Copy, equal_copies

SAVED = RelPath(b"saved.txt")


def _look(copy: Copy, *, above: int, may: bool) -> tuple[ev.Event, int]:
    """Save, and look when others say that the numbers up to ``above`` are used; return how often it was asked."""
    asked = []

    def past_lost() -> bool:
        asked.append(1)
        return may

    performer = Performer(
        backend=copy.files, tree=copy.files, device=copy.device, name="d0", past_lost=past_lost, leap=lambda: 5
    )
    current = performer.open()
    copy.files.user.write(SAVED, b"saved\n")
    return performer.local(TakeSnapshot(paths=None, current=current, above=above)), len(asked)


def test_the_memory_of_them_is_given_up() -> None:
    one, _ = equal_copies(2)
    event, asked = _look(one, above=1000, may=True)
    assert isinstance(event, ev.CommandFailed)
    assert "Another machine has gone on under the identity of this one" in event.title
    assert asked == 1
    assert CURRENT not in one.files.pins()


def test_it_counts_on_above_them_when_that_happened_too_often() -> None:
    one, _ = equal_copies(2)
    event, asked = _look(one, above=1000, may=False)
    assert isinstance(event, ev.SnapshotTaken)
    assert event.snapshot is not None
    assert event.snapshot.version.count(one.device) == 1006
    assert asked == 1


def test_its_own_past_is_no_other_one() -> None:
    one, _ = equal_copies(2)
    assert one.current is not None
    event, asked = _look(one, above=one.current.version.count(one.device), may=True)
    assert isinstance(event, ev.SnapshotTaken)
    assert asked == 0
