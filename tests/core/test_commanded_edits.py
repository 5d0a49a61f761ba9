"""What two listings tell of what happened between them."""

from __future__ import annotations

from autosync.core.commanded.commands import Action, Commands
from autosync.core.commanded.edits import Edits, Seen, Telling, as_changes, compare, tellings
from autosync.core.message import commit_message
from autosync.core.model import Kind, RelPath


def file(inode: int, *, size: int = 1, mtime: int = 7, ctime: int = 7, kind: Kind = Kind.FILE) -> Seen:
    return Seen(kind, size, mtime, ctime, inode)


A, B, C, D, E = (RelPath(name) for name in (b"a", b"b", b"c", b"d/e", b"e"))
ALL = Commands(
    steps={
        Action.ADD: (("v", "add", "{path}"),),
        Action.REMOVE: (("v", "rm", "{path}"),),
        Action.MODIFY: (("v", "mod", "{path}"),),
        Action.MOVE: (("v", "mv", "{old}", "{new}"),),
    }
)


def test_equal_listings_have_no_edits() -> None:
    assert not compare({A: file(1)}, {A: file(1)})
    assert list(tellings(Edits(), ALL)) == []


def test_each_kind_of_edit() -> None:
    old = {A: file(1), B: file(2), C: file(3)}
    # c was renamed: a rename changes the ctime; a was written, b is gone, and e is new.
    new = {A: file(1, mtime=8), D: file(3, ctime=9), E: file(5)}
    edits = compare(old, new)
    assert edits == Edits(added=(E,), removed=(B,), modified=(A,), moved=((C, D),))
    assert edits
    assert list(tellings(edits, ALL)) == [
        Telling(Action.MOVE, (C, D), (("v", "mv", "c", "d/e"),)),
        Telling(Action.REMOVE, (B,), (("v", "rm", "b"),)),
        Telling(Action.ADD, (E,), (("v", "add", "e"),)),
        Telling(Action.MODIFY, (A,), (("v", "mod", "a"),)),
    ]
    few = Commands(steps={Action.ADD: ALL.steps[Action.ADD], Action.REMOVE: ALL.steps[Action.REMOVE]})
    assert [telling.paths for telling in tellings(edits, few)] == [(B, C), (D, E)]


def test_what_only_looks_like_a_rename_is_none() -> None:
    assert compare({A: file(1)}, {B: file(1, size=2)}) == Edits(added=(B,), removed=(A,))
    # Of two names of one inode one is gone: which was renamed nobody knows, so each name has one source.
    assert compare({A: file(1), B: file(1)}, {C: file(1)}) == Edits(removed=(B,), moved=((A, C),))


def test_permissions_and_a_time_that_was_set_back_are_changes() -> None:
    old = {A: file(1), B: file(2)}
    new = {A: file(1, kind=Kind.EXECUTABLE), B: file(2, ctime=8)}
    assert compare(old, new) == Edits(modified=(A, B))


def test_the_message_says_what_happened() -> None:
    edits = Edits(added=(E,), removed=(B,), moved=((C, D),))
    assert commit_message(as_changes(edits), device="laptop", time=0) == (
        "Rename c to d/e; Add e; Remove b\n\nBy autosync on laptop, 1970-01-01 00:00:00 UTC.\n"
    )
    assert commit_message(as_changes(Edits(modified=(A,))), device="x", time=0).startswith("Change a\n")
