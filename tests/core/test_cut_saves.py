"""Saves that are cut into two states, of which others hear one by one, leave copies that say truly who made them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autosync.core.copies import parse_conflict_name
from autosync.core.model import Base, DeviceId, RelPath, Snapshot, SnapshotId, TreeId, Version
from autosync.core.plan import labels_of
from tests.core.copies import Copy, equal_copies

FIRST, SECOND = RelPath(b"first.txt"), RelPath(b"second.txt")
ATTEMPTS = 64
"""Which version gives way is decided by ids, which are never the same: it is tried until each has, and no longer."""

Merges = Callable[[Copy, Copy, Snapshot, Snapshot], None]
"""What d0 and d1 hear of each other: d0 has its one state, d1 has its first state and the second one."""


def here(d0: Copy, d1: Copy, first: Snapshot, second: Snapshot) -> None:
    d0.merge(d1, at=first)
    d0.merge(d1, at=second)


def there(d0: Copy, d1: Copy, first: Snapshot, _second: Snapshot) -> None:
    d0.merge(d1, at=first)
    d1.merge(d0)


def crosswise(d0: Copy, d1: Copy, first: Snapshot, second: Snapshot) -> None:
    """Both merge the same two states, d0 in two steps and d1 in one."""
    alone = d0.current
    d0.merge(d1, at=first)
    d0.merge(d1, at=second)
    d1.merge(d0, at=alone)


@pytest.mark.parametrize("merges", [here, there, crosswise])
def test_a_copy_bears_the_name_of_who_made_it_however_the_saves_were_cut(merges: Merges) -> None:
    makers: set[str] = set()
    for attempt in range(ATTEMPTS):
        if makers == {"d0", "d1"}:
            return
        d0, d1 = equal_copies(2)
        contents = {f"d{number}": b"by d%d, %d\n" % (number, attempt) for number in range(2)}
        for path in (FIRST, SECOND):
            d0.files.user.write(path, contents["d0"])
        d0.look()
        merges(d0, d1, d1.save(FIRST, contents["d1"]), d1.save(SECOND, contents["d1"]))
        d0.merge(d1)
        d1.merge(d0)
        assert d0.current == d1.current
        names = [name for path in d0.files.files if (name := parse_conflict_name(path)) is not None]
        assert sorted(name.original for name in names) == [FIRST, SECOND]
        for name in names:
            assert d0.content(name.copy) == contents[name.device]
            assert {d0.content(name.copy), d0.content(name.original)} == set(contents.values())
        makers |= {name.device for name in names}
    raise AssertionError(f"all copies are by {makers}")


def state(device: str, **counters: int) -> Snapshot:
    """A state that the devices ``counters`` have a part in."""
    version = Version.of({DeviceId(f"{name}-00000001"): count for name, count in counters.items()})
    base = Base(commit=None, branch=None)
    return Snapshot(
        id=SnapshotId(device), tree=TreeId("t"), base=base, version=version, parents=(), device=device, time=7
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        # Neither knows of the other.
        (state("laptop", laptop=1), state("desktop", desktop=1), ("laptop", "desktop")),
        # What the desktop had a part in is known to the desktop.
        (state("desktop+laptop", desktop=1, laptop=1), state("desktop", desktop=2), ("laptop", "desktop")),
        # Each of two may have made it.
        (state("desktop+laptop", desktop=1, laptop=1), state("phone", phone=1), ("desktop+laptop", "phone")),
        # What the phone made before is in the state of the laptop, which alone says that it is its own.
        (state("laptop", laptop=1, phone=1), state("desktop", desktop=1), ("laptop", "desktop")),
        # Of two one was named otherwise when it got its id.
        (state("desktop+laptop", desktop=1, old=1), state("phone", phone=1), ("desktop+laptop", "phone")),
        (
            state("desktop+laptop", desktop=1, laptop=1),
            state("desktop+laptop", desktop=1, laptop=1),
            ("desktop+laptop",) * 2,
        ),
    ],
)
def test_a_merge_of_a_merge_names_who_made_what_is_new(
    ours: Snapshot, theirs: Snapshot, expected: tuple[str, str]
) -> None:
    found = labels_of(ours, theirs)
    assert (found.ours.device, found.theirs.device) == expected
    assert (found.theirs, found.ours) == ((swapped := labels_of(theirs, ours)).ours, swapped.theirs)
    assert (found.ours.id, found.ours.time) == (ours.id, 7)
