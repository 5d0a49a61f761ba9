"""What the commits of autosync say."""

from __future__ import annotations

from autosync.core.message import commit_message, described, maker_of, text_of
from autosync.core.model import Change, Entry, Kind, ObjectId, RelPath


def entry(content: str) -> Entry:
    return Entry(kind=Kind.FILE, oid=ObjectId(content))


def change(path: bytes, old: str | None, new: str | None) -> Change:
    return Change(path=RelPath(path), old=entry(old) if old else None, new=entry(new) if new else None)


def test_few_changes_are_named_in_the_subject() -> None:
    message = commit_message(
        [change(b"a", None, "1"), change(b"b", "2", "3"), change(b"c", "4", None)], device="laptop", time=0
    )
    assert message == "Add a; Change b; Remove c\n\nBy autosync on laptop, 1970-01-01 00:00:00 UTC.\n"


def test_what_the_subject_only_counts_is_listed() -> None:
    message = commit_message(
        [change(name, None, name.decode()) for name in (b"a", b"b", b"c", b"d")], device="d", time=0
    )
    assert message == ("Add 4 files\n\nAdd a\nAdd b\nAdd c\nAdd d\n\nBy autosync on d, 1970-01-01 00:00:00 UTC.\n")


def test_a_rename_is_called_one() -> None:
    message = commit_message([change(b"new", None, "1"), change(b"old", "1", None)], device="laptop", time=0)
    assert message.splitlines()[0] == "Rename old to new"


def test_many_changes_are_counted_and_the_list_is_cut() -> None:
    changes = [change(b"f%03d" % n, None, str(n)) for n in range(60)] + [change(b"z", "x", "y")]
    lines = commit_message(changes, device="laptop", time=0).splitlines()
    assert lines[0] == "Add 60 files, Change 1 file"
    assert lines[-3:] == ["and 11 more", "", "By autosync on laptop, 1970-01-01 00:00:00 UTC."]


def test_no_change_is_a_merge() -> None:
    assert commit_message([], device="laptop", time=0) == "Merge\n\nBy autosync on laptop, 1970-01-01 00:00:00 UTC.\n"


def test_a_name_cannot_break_the_message() -> None:
    message = commit_message([change(b"a\nb\xff", None, "1")], device="laptop", time=0)
    assert message.splitlines()[0] == "Add a\\nb\\xff"


def test_a_described_commit_still_says_who_made_it() -> None:
    message = commit_message([], device="lap top", time=0)
    assert maker_of(message) == "lap top"
    assert text_of(message) == "Merge"
    better = described(message, "\n  Why \n\n\n\0more\n\n")
    assert better == "  Why\n\nmore\n\nBy autosync on lap top, 1970-01-01 00:00:00 UTC.\n"
    assert (maker_of(better), text_of(better)) == ("lap top", "  Why\n\nmore")
    assert described(better, text_of(better)) == better


def test_what_people_write_is_not_taken_for_ours() -> None:
    for message in ("", "Fix it\n", "By autosync on me\n", "By autosync on x, 1970-01-01 00:00:00 UTC.\n\nNo.\n"):
        assert maker_of(message) is None
