"""What was looked at ahead is looked at again unless a later write is sure to show in its signature."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from autosync.apply.looks import Looks
from autosync.apply.signature import signature_at
from autosync.core.model import Entry, Kind, ObjectId, RelPath
from autosync.ports import Standing

PATHS = (RelPath(b"a"), RelPath(b"b"))
LONG_AGO = 1_600_000_000 * 10**9


class Place:
    """A directory, and what was looked at there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.descriptor = os.open(directory, os.O_RDONLY)
        self.looked: list[RelPath] = []
        self.looks = Looks(self.standing, self.many)
        self.saves_during_the_look = False

    def save(self, path: RelPath, time_ns: int | None = None) -> None:
        file = os.path.join(os.fsencode(self.directory), path)
        with open(file, "wb") as opened:
            opened.write(path)
        if time_ns is not None:
            os.utime(file, ns=(0, time_ns))

    def standing(self, path: RelPath) -> Standing:
        self.looked.append(path)
        entry = Entry(kind=Kind.FILE, oid=ObjectId(path.hex()))
        return Standing(entry=entry, signature=signature_at(self.descriptor, path))

    def many(self, paths: Sequence[RelPath]) -> Mapping[RelPath, Standing]:
        if self.saves_during_the_look:
            self.save(PATHS[0])
        return {path: self.standing(path) for path in paths}

    def again(self) -> list[RelPath]:
        """Look ahead, take what was seen, and return what was looked at once more."""
        self.looks.ahead(PATHS)
        self.looked.clear()
        for path in PATHS:
            self.looks.settled(path, self.descriptor, path)
        return self.looked


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    it = Place(tmp_path)
    for path in PATHS:
        it.save(path, LONG_AGO)
    yield it
    os.close(it.descriptor)


def test_an_old_file_is_not_looked_at_again(place: Place) -> None:
    assert place.again() == []


def test_a_file_that_was_saved_during_the_look_is(place: Place) -> None:
    place.saves_during_the_look = True
    assert set(place.again()) == {PATHS[0]}


def test_a_file_with_a_time_to_come_is_looked_at_again_and_not_waited_for(place: Place) -> None:
    place.save(PATHS[0], LONG_AGO * 2)
    assert place.again() == [PATHS[0]]
