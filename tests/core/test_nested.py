"""Nested repositories travel with commits alone."""

from __future__ import annotations

from autosync.core.model import Change, Entry, Kind, ObjectId, RelPath
from autosync.core.nested import at_commit

FILE = Entry(kind=Kind.FILE, oid=ObjectId("a" * 40))
ONE, TWO = (Entry(kind=Kind.NESTED, oid=ObjectId(digit * 40)) for digit in "12")


def change(path: bytes, old: Entry | None, new: Entry | None) -> Change:
    return Change(path=RelPath(path), old=old, new=new)


def test_what_is_checked_out_staged_or_removed_is_taken_back() -> None:
    changes = [
        change(b"moved on", ONE, TWO),
        change(b"staged", None, ONE),
        change(b"staged over a file", FILE, ONE),
        change(b"removed", ONE, None),
        change(b"file", FILE, None),
        change(b"new", None, FILE),
    ]
    assert at_commit(changes) == {
        b"moved on": ONE,
        b"staged": None,
        b"staged over a file": None,
        b"removed": ONE,
    }


def test_files_may_take_the_place_of_a_nested_repository() -> None:
    assert at_commit([change(b"sub", ONE, FILE)]) == {}
    assert at_commit([change(b"sub", ONE, None), change(b"sub/file", None, FILE)]) == {}
    assert at_commit([change(b"sub", ONE, None), change(b"sub.txt", None, FILE)]) == {b"sub": ONE}
