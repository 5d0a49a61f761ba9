"""Looking at a working copy tells exactly what is there."""

from __future__ import annotations

import pytest

from autosync.core.model import Base, Entry, Kind, ObjectId, RelPath
from contract.fleet import Fleet, brief, contents, entries, kinds, look, pair, record, rel, snap

ODD_NAMES = [
    b"caf\xc3\xa9",
    b"latin \xe9",
    b"new\nline",
    b"tab\tquote\"'\\",
    b" lead",
    b"trail ",
    b"-dash",
    b":(top)x",
    b"*",
    b"#hash",
    b"a..b",
    b"\x01\x7f\xff",
    b"with space/in dir/*?[x]",
    b"n" * 255,
]


class TestLooking:
    def test_the_base_is_what_is_checked_out(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        assert site.backend.base() == Base(commit=None, branch=site.names.main)
        site.write("a", b"1")
        first = site.commit("first")
        assert first.branch == site.names.main
        assert first.commit is not None
        assert site.backend.base() == first
        site.branch("topic")
        assert site.backend.base() == first
        site.checkout("topic")
        assert site.backend.base() == Base(commit=first.commit, branch=site.names.topic)
        site.checkout(first.commit)
        assert site.backend.base() == Base(commit=first.commit, branch=site.names.detached)

    def test_an_operation_in_progress_makes_it_busy(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        assert site.backend.busy() is None
        site.begin_operation()
        assert site.backend.busy()
        site.end_operation()
        assert site.backend.busy() is None

    def test_a_clean_working_copy_reads_as_its_commit(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        reading = look(one)
        assert reading.base == one.backend.base()
        assert reading.tree == one.backend.tree_of(reading.base.commit) == look(two).tree

    def test_an_empty_one_reads_as_the_empty_tree(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        assert look(site).tree == site.backend.tree_of(None)

    def test_every_kind_of_file_is_read(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        site.write("plain", b"x\n")
        site.write("empty", b"")
        site.write("binary", bytes(range(256)) * 40)
        site.write("no newline", b"x")
        site.write("crlf", b"x\r\ny\r\n")
        site.write("deep/er/est/file", b"deep")
        site.write("run", b"#!/bin/sh\n")
        site.chmod("run", executable=True)
        site.symlink("link", b"plain")
        site.symlink("dangling", b"../no such \xff thing")
        tree = snap(site).tree
        assert contents(site, tree) == site.files()
        assert kinds(site, tree)[b"run"] is Kind.EXECUTABLE
        assert kinds(site, tree)[b"dangling"] is Kind.SYMLINK
        assert kinds(site, tree)[b"empty"] is Kind.FILE

    def test_names_are_bytes(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        names = [site.names.fit(name) for name in ODD_NAMES]
        for name in names:
            site.write(name, name)
        full = snap(site)
        assert contents(site, full.tree) == {name: (Kind.FILE, name) for name in names}
        start = (full.base, site.backend.tree_of(None))
        assert site.backend.read(names, start).tree == full.tree

    def test_only_what_is_named_is_looked_at(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.write("a.txt", b"changed\n")
        site.write("d/b.txt", b"changed\n")
        site.write("new", b"new\n")
        after = look(site, ["a.txt"], before)
        assert brief(site.backend.changes(before.tree, after.tree)) == [(b"a.txt", Kind.FILE, Kind.FILE)]
        assert look(site, ["a.txt", "d/b.txt", "new", "never was"], before).tree == look(site).tree

    @pytest.mark.parametrize("named", [None, ["a.txt", "new", "d/new", "link"]])
    def test_new_files_that_are_held_are_left_out(self, fleet: Fleet, named: list[str] | None) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.write("a.txt", b"changed\n")
        site.write("new", b"12345")
        site.write("d/new", b"123")
        site.symlink("link", b"new")
        asked: dict[bytes, int] = {}

        def hold(path: RelPath, size: int) -> bool:
            asked[path] = size
            return path == b"new"

        paths = None if named is None else [rel(name) for name in named]
        after = site.backend.read(paths, (before.base, before.tree), hold)
        assert asked == {b"new": 5, b"d/new": 3}  # neither what is tracked nor a link
        assert set(entries(site, after.tree)) == {b"a.txt", b"d/b.txt", b"d/c.txt", b"d/new", b"link"}
        assert site.backend.standing(rel("new")).entry is not None  # and so is not overwritten
        asked.clear()
        again = site.backend.read(None, (after.base, after.tree), hold)
        assert again.tree == after.tree
        assert asked == {b"new": 5}

    def test_a_directory_stands_for_all_below_it(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.write("d/b.txt", b"changed\n")
        site.remove("d/c.txt")
        site.write("d/e/new", b"new\n")
        site.write("d.txt", b"not below d\n")
        after = look(site, ["d"], before)
        assert brief(site.backend.changes(before.tree, after.tree)) == [
            (b"d/b.txt", Kind.FILE, Kind.FILE),
            (b"d/c.txt", Kind.FILE, None),
            (b"d/e/new", None, Kind.FILE),
        ]
        assert look(site, [b""], before).tree == look(site).tree

    @pytest.mark.parametrize("named", [["d"], ["d/b.txt", "d/c.txt"], ["d/b.txt", "d"]])
    def test_what_was_deleted_is_gone(self, fleet: Fleet, named: list[str]) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.remove("d")
        assert set(entries(site, look(site, named, before).tree)) == {b"a.txt"}

    def test_a_rename_is_read_from_both_names(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.rename("a.txt", "d/moved.txt")
        after = look(site, ["a.txt", "d/moved.txt"], before)
        assert after.tree == look(site).tree
        was, now = entries(site, before.tree), entries(site, after.tree)
        assert now[rel("d/moved.txt")] == was[rel("a.txt")]
        assert rel("a.txt") not in now

    def test_a_changed_kind_is_a_change(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.chmod("a.txt", executable=True)
        site.remove("d/b.txt")
        site.symlink("d/b.txt", b"c.txt")
        after = look(site, ["a.txt", "d/b.txt"], before)
        assert brief(site.backend.changes(before.tree, after.tree)) == [
            (b"a.txt", Kind.FILE, Kind.EXECUTABLE),
            (b"d/b.txt", Kind.FILE, Kind.SYMLINK),
        ]
        assert after.tree == look(site).tree

    @pytest.mark.parametrize("named", [["d"], ["d", "d/b.txt", "d/c.txt"]])
    def test_a_directory_becomes_a_file(self, fleet: Fleet, named: list[str]) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.remove("d")
        site.write("d", b"a file now\n")
        after = look(site, named, before)
        assert set(entries(site, after.tree)) == {b"a.txt", b"d"}
        assert after.tree == look(site).tree

    @pytest.mark.parametrize("named", [["a.txt"], ["a.txt", "a.txt/in"]])
    def test_a_file_becomes_a_directory(self, fleet: Fleet, named: list[str]) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.remove("a.txt")
        site.write("a.txt/in", b"below\n")
        after = look(site, named, before)
        assert set(entries(site, after.tree)) == {b"a.txt/in", b"d/b.txt", b"d/c.txt"}
        assert after.tree == look(site).tree

    def test_a_symlink_is_never_followed(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.symlink("to d", b"d")
        after = look(site, ["to d", "to d/b.txt"], before)
        assert brief(site.backend.changes(before.tree, after.tree)) == [(b"to d", None, Kind.SYMLINK)]
        assert set(entries(site, look(site, ["to d/b.txt"], before).tree)) <= {
            b"a.txt",
            b"d/b.txt",
            b"d/c.txt",
            b"to d",
        }

    def test_a_directory_that_became_a_symlink_is_one(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.rename("d", "e")
        site.symlink("d", b"e")
        after = look(site, ["d", "e"], before)
        assert set(entries(site, after.tree)) == {b"a.txt", b"d", b"e/b.txt", b"e/c.txt"}
        assert after.tree == look(site).tree

    def test_ignored_files_are_left_out(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.ignore(b"junk")
        site.write("junk", b"1")
        site.write("d/junk/deep", b"2")
        site.write("d/kept", b"3")
        asked = [rel(p) for p in ("junk", "d/junk/deep", "d/junk", "d/kept", "a.txt", "d", "absent")]
        assert site.backend.ignored(asked) == {b"junk", b"d/junk/deep", b"d/junk"}
        full = look(site)
        assert brief(site.backend.changes(before.tree, full.tree)) == [(b"d/kept", None, Kind.FILE)]
        assert look(site, ["junk", "d", "d/junk/deep", "d/junk"], before).tree == full.tree

    def test_other_patterns_count_from_the_next_look_on(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        site.backend.ignore_by(["junk"])
        site.write("junk", b"1")
        site.write("more", b"1")
        before = look(site)
        assert {b"junk", b"more"} & set(entries(site, before.tree)) == {b"more"}
        site.backend.ignore_by(["more.*"])
        site.write("more.txt", b"1")
        found = set(entries(site, look(site, None, before).tree))
        assert {b"junk", b"more", b"more.txt"} & found == {b"junk", b"more"}

    def test_tracked_files_are_not_ignored(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.ignore(b"d")
        site.write("d/b.txt", b"changed\n")
        site.write("d/untracked", b"x")
        assert site.backend.ignored([rel("d"), rel("d/b.txt"), rel("d/untracked")]) == {b"d/untracked"}
        expected = [(b"d/b.txt", Kind.FILE, Kind.FILE)]
        assert brief(site.backend.changes(before.tree, look(site).tree)) == expected
        assert brief(site.backend.changes(before.tree, look(site, ["d"], before).tree)) == expected
        assert brief(site.backend.changes(before.tree, look(site, ["d/b.txt"], before).tree)) == expected

    def test_what_was_synced_stays_when_it_is_ignored_later(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        site.write("junk", b"1\n")
        site.write("d/new/junk", b"2\n")
        before = look(site)
        site.ignore(b"junk")
        site.ignore(b"new")
        site.write("e/junk", b"never synced\n")
        for named in (None, [""], ["junk", "d", "e"], ["junk", "d/new/junk", "e/junk"]):
            assert look(site, named, before).tree == before.tree, named
        asked = [rel(path) for path in ("junk", "d/new", "d/new/junk", "e/junk")]
        assert site.backend.ignored(asked) == {b"e/junk"}
        site.write("junk", b"edited\n")
        site.remove("d/new")
        for named in (None, ["junk", "d/new"]):
            after = look(site, named, before)
            assert brief(site.backend.changes(before.tree, after.tree)) == [
                (b"d/new/junk", Kind.FILE, None),
                (b"junk", Kind.FILE, Kind.FILE),
            ]

    def test_a_nested_repository_is_never_swallowed(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.nest("d/inner repo")
        for named in (None, ["d/inner repo/inner"], ["d/inner repo"], ["d"]):
            names = set(entries(site, look(site, named, before).tree))
            assert names <= {b"a.txt", b"d/b.txt", b"d/c.txt", b"d/inner repo"}, named

    def test_a_committed_nested_repository_is_its_commit_or_nothing(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        site.nest("sub")
        site.commit("with a nested repository")
        kind, commit = site.files()[rel("sub")]
        assert kind is Kind.NESTED
        reading = look(site)
        entry = Entry(kind=Kind.NESTED, oid=ObjectId(commit.decode()))
        assert entries(site, reading.tree).get(rel("sub")) == (entry if site.names.nested else None)
        assert look(site, ["sub"], reading).tree == look(site, ["sub/inner"], reading).tree == reading.tree

    def test_a_moved_base_is_looked_at_whole(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.write("d/b.txt", b"second\n")
        site.write("untracked", b"x")
        site.commit("second")
        site.write("d/c.txt", b"dirty\n")
        after = look(site, ["a.txt"], before)
        assert after.base == site.backend.base()
        assert after.tree == look(site).tree

    def test_a_standing_file_is_told_with_its_content(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        before = look(site)
        site.write("d/new", b"fresh\n")
        standing = site.backend.standing(rel("d/new"))
        assert standing.entry is not None
        assert standing.signature is not None
        assert standing.entry.kind is Kind.FILE
        tree = site.backend.splice(before.tree, {rel("d/new"): standing.entry})
        snapshot = record(site, tree)
        site.reopen()
        assert contents(site, snapshot.tree)[rel("d/new")] == (Kind.FILE, b"fresh\n")

    def test_many_are_told_as_each_by_itself(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        site.write("d/new", b"fresh\n")
        site.write("a.txt", b"edited\n")
        paths = [rel(path) for path in ("a.txt", "absent/deeper", "d", "d/b.txt", "d/new")]
        together = site.backend.standings(paths)
        assert together == {path: site.backend.standing(path) for path in paths}
        assert [path for path in paths if together[path].entry is None] == [b"absent/deeper", b"d"]

    def test_a_rewritten_file_has_another_signature(self, fleet: Fleet) -> None:
        site, _ = pair(fleet)
        first = site.backend.standing(rel("a.txt"))
        assert site.backend.standing(rel("a.txt")) == first
        site.write("a.txt", b"longer than it was\n")
        assert site.backend.standing(rel("a.txt")).signature != first.signature

    @pytest.mark.parametrize("path", ["absent", "absent/deeper", "d", "a.txt/below", "link/b.txt"])
    def test_where_nothing_versioned_stands_there_is_no_entry(self, fleet: Fleet, path: str) -> None:
        site, _ = pair(fleet)
        site.symlink("link", b"d")
        assert site.backend.standing(rel(path)).entry is None
