"""Files change exactly as asked, and only where they still are what was expected."""

from __future__ import annotations

import os

import pytest

from autosync.core.model import Entry, Kind, RelPath
from autosync.core.operations import Operation, operations
from contract.fleet import Fleet, Site, entries, look, operation, pair, rel, send, snap, staged

Standing = dict[RelPath, tuple[Kind, bytes]]

POOL = {"new": b"new\n", "other": b"other\n", "run": b"#!/bin/sh\n", "link": b"a.txt"}


def prepared(fleet: Fleet) -> tuple[Site, dict[RelPath, Entry], dict[str, Entry]]:
    """Return a working copy, its entries, and entries of other content that its store has."""
    one, two = pair(fleet, {"a.txt": b"a\n", "d/b.txt": b"b\n", "d/c.txt": b"c\n", "e": b"e\n"})
    for name, content in POOL.items():
        if name == "link":
            one.symlink(name, content)
        else:
            one.write(name, content)
    one.chmod("run", executable=True)
    snapshot = send(snap(one), one, two)
    pool = entries(two, snapshot.tree)
    return two, entries(two, look(two).tree), {name: pool[rel(name)] for name in POOL}


def apply(site: Site, *wanted: Operation) -> Standing:
    """Perform operations that all must succeed and return what stands there then."""
    applied = site.tree.apply(wanted)
    assert applied.refused == {}
    expected: dict[RelPath, Entry | None] = {each.path: each.new for each in wanted}
    for each in wanted:
        if each.source is not None:
            expected.setdefault(each.source, None)
    assert applied.done == expected
    standing = look(site, list(expected))
    for path, entry in expected.items():
        assert site.backend.standing(path).entry == entry
    assert look(site).tree == standing.tree
    return site.files()


def refuse(site: Site, wanted: Operation) -> str:
    """Try an operation that must leave everything as it is and return the reason."""
    before = site.files()
    applied = site.tree.apply([wanted])
    assert applied.done == {}
    assert set(applied.refused) == {wanted.path, wanted.source or wanted.path}
    assert site.files() == before
    return applied.refused[wanted.path]


class TestApplying:
    def test_nothing_to_do(self, fleet: Fleet) -> None:
        site, _, _ = prepared(fleet)
        before = site.files()
        applied = site.tree.apply([])
        assert (applied.done, applied.refused) == ({}, {})
        assert site.files() == before
        assert site.tree.sweep() == frozenset()

    def test_a_file_is_replaced(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        files = apply(site, operation("a.txt", was[rel("a.txt")], pool["new"]))
        assert files[rel("a.txt")] == (Kind.FILE, b"new\n")
        assert site.tree.sweep() == frozenset()
        assert site.files() == files

    @pytest.mark.parametrize("path", [b"fresh", b"x/y/z/fresh", b"d/\xff\n fresh"])
    def test_a_file_is_created(self, fleet: Fleet, path: bytes) -> None:
        site, _, pool = prepared(fleet)
        before = site.files()
        path = site.names.fit(path)
        assert apply(site, operation(path, None, pool["new"])) == {**before, path: (Kind.FILE, b"new\n")}

    def test_files_are_deleted_with_the_directories_they_leave_empty(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        files = apply(site, *[operation(path, was[rel(path)], None) for path in ("a.txt", "d/b.txt", "d/c.txt")])
        assert set(files) == {b"e"}
        assert apply(site, operation("d", None, pool["new"]))[rel("d")] == (Kind.FILE, b"new\n")

    def test_a_kind_is_changed(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        executable = Entry(kind=Kind.EXECUTABLE, oid=was[rel("a.txt")].oid)
        files = apply(
            site,
            operation("a.txt", was[rel("a.txt")], executable),
            operation("d/b.txt", was[rel("d/b.txt")], pool["link"]),
            operation("fresh link", None, pool["link"]),
            operation("d/c.txt", was[rel("d/c.txt")], pool["run"]),
        )
        assert files[rel("a.txt")] == (Kind.EXECUTABLE, b"a\n")
        assert files[rel("d/b.txt")] == files[rel("fresh link")] == (Kind.SYMLINK, b"a.txt")
        assert files[rel("d/c.txt")] == (Kind.EXECUTABLE, b"#!/bin/sh\n")
        files = apply(
            site,
            operation("a.txt", executable, was[rel("a.txt")]),
            operation("d/b.txt", pool["link"], was[rel("d/b.txt")]),
            operation("fresh link", pool["link"], None),
        )
        assert files[rel("a.txt")] == (Kind.FILE, b"a\n")
        assert files[rel("d/b.txt")] == (Kind.FILE, b"b\n")
        assert rel("fresh link") not in files

    def test_a_rename_frees_the_old_name(self, fleet: Fleet) -> None:
        site, was, _ = prepared(fleet)
        files = apply(
            site,
            operation("x/moved", None, was[rel("a.txt")], source="a.txt"),
            operation("b.txt", None, was[rel("d/b.txt")], source="d/b.txt"),
        )
        assert files == {
            rel("x/moved"): (Kind.FILE, b"a\n"),
            rel("b.txt"): (Kind.FILE, b"b\n"),
            rel("d/c.txt"): (Kind.FILE, b"c\n"),
            rel("e"): (Kind.FILE, b"e\n"),
        }

    def test_a_directory_becomes_a_file_and_a_file_a_directory(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        edits: dict[RelPath, Entry | None] = {rel("d"): pool["new"], rel("e"): None, rel("e/in/side"): pool["other"]}
        start = look(site).tree
        target = site.backend.splice(start, edits)
        files = apply(site, *operations(site.backend.changes(start, target)))
        assert files == {
            rel("a.txt"): (Kind.FILE, b"a\n"),
            rel("d"): (Kind.FILE, b"new\n"),
            rel("e/in/side"): (Kind.FILE, b"other\n"),
        }
        apply(site, *operations(site.backend.changes(target, start)))
        assert look(site).tree == start
        assert set(was) == set(site.files())

    def test_a_file_moves_below_its_own_name_and_back(self, fleet: Fleet) -> None:
        site, was, _ = prepared(fleet)
        start = look(site).tree
        target = site.backend.splice(start, {rel("e"): None, rel("e/e"): was[rel("e")]})
        files = apply(site, *operations(site.backend.changes(start, target)))
        assert files[rel("e/e")] == (Kind.FILE, b"e\n")
        apply(site, *operations(site.backend.changes(target, start)))
        assert site.files()[rel("e")] == (Kind.FILE, b"e\n")

    def test_two_files_change_places(self, fleet: Fleet) -> None:
        site, was, _ = prepared(fleet)
        start = look(site).tree
        swapped = {rel("a.txt"): was[rel("e")], rel("e"): was[rel("a.txt")]}
        files = apply(site, *operations(site.backend.changes(start, site.backend.splice(start, swapped))))
        assert (files[rel("a.txt")][1], files[rel("e")][1]) == (b"e\n", b"a\n")

    def test_a_file_that_changed_is_left_alone(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        site.write("a.txt", b"A\n")
        assert refuse(site, operation("a.txt", was[rel("a.txt")], pool["new"]))
        assert refuse(site, operation("a.txt", was[rel("a.txt")], None))
        site.chmod("e", executable=True)
        assert refuse(site, operation("e", was[rel("e")], pool["new"]))
        site.remove("d/b.txt")
        site.symlink("d/b.txt", b"c.txt")
        assert refuse(site, operation("d/b.txt", was[rel("d/b.txt")], pool["new"]))

    def test_a_file_that_appeared_is_left_alone(self, fleet: Fleet) -> None:
        site, _, pool = prepared(fleet)
        site.write("fresh", b"the user's\n")
        site.symlink("fresh link", b"nowhere")
        site.ignore(b"junk")
        site.write("junk", b"ignored, but the user's\n")
        for path in ("fresh", "fresh link", "junk"):
            assert refuse(site, operation(path, None, pool["new"]))

    def test_a_file_that_vanished_is_not_brought_back(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        site.remove("a.txt")
        assert refuse(site, operation("a.txt", was[rel("a.txt")], pool["new"]))

    def test_a_renamed_file_that_changed_is_left_alone(self, fleet: Fleet) -> None:
        site, was, _ = prepared(fleet)
        site.write("a.txt", b"A\n")
        assert refuse(site, operation("moved", None, was[rel("a.txt")], source="a.txt"))
        site.write("fresh", b"the user's\n")
        assert refuse(site, operation("fresh", None, was[rel("e")], source="e"))

    def test_a_directory_with_something_in_it_is_left_alone(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        site.write("d/fresh", b"the user's\n")
        assert refuse(site, operation("d", None, pool["new"]))
        applied = site.tree.apply(
            [
                operation("d/b.txt", was[rel("d/b.txt")], None),
                operation("d/c.txt", was[rel("d/c.txt")], None),
                operation("d", None, pool["new"]),
            ]
        )
        assert applied.done == {rel("d/b.txt"): None, rel("d/c.txt"): None}
        assert set(applied.refused) == {rel("d")}
        assert site.files()[rel("d/fresh")] == (Kind.FILE, b"the user's\n")

    def test_where_a_file_stands_no_directory_is_made(self, fleet: Fleet) -> None:
        site, _, pool = prepared(fleet)
        assert refuse(site, operation("a.txt/below", None, pool["new"]))

    def test_a_symlink_is_never_followed(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        site.symlink("to d", b"d")
        assert refuse(site, operation("to d/fresh", None, pool["new"]))
        assert refuse(site, operation("to d/b.txt", was[rel("d/b.txt")], pool["new"]))
        assert refuse(site, operation("to d/b.txt", was[rel("d/b.txt")], None))
        assert refuse(site, operation("moved", None, was[rel("d/b.txt")], source="to d/b.txt"))
        assert refuse(site, operation("to d/moved", None, was[rel("a.txt")], source="a.txt"))

    @pytest.mark.parametrize(
        "path",
        [b".git/hooks/x", b".GIT/x", b"d/.git", b"git~1", b".hg/hgrc", b"../outside", b"d/../../outside", b"./x"],
    )
    def test_a_name_that_must_not_be_written_is_not(self, fleet: Fleet, path: bytes) -> None:
        site, was, pool = prepared(fleet)
        assert refuse(site, operation(path, None, pool["new"]))
        assert refuse(site, operation(path, None, was[rel("a.txt")], source="a.txt"))

    def test_the_rest_is_done_when_one_is_refused(self, fleet: Fleet) -> None:
        site, was, pool = prepared(fleet)
        site.write("a.txt", b"A\n")
        applied = site.tree.apply(
            [
                operation("d/b.txt", was[rel("d/b.txt")], None),
                operation("a.txt", was[rel("a.txt")], pool["new"]),
                operation("e", was[rel("e")], pool["other"]),
            ]
        )
        assert applied.done == {rel("d/b.txt"): None, rel("e"): pool["other"]}
        assert set(applied.refused) == {rel("a.txt")}
        assert site.files() == {
            rel("a.txt"): (Kind.FILE, b"A\n"),
            rel("d/c.txt"): (Kind.FILE, b"c\n"),
            rel("e"): (Kind.FILE, b"other\n"),
        }

    def test_a_nested_repository_is_not_written_into(self, fleet: Fleet) -> None:
        site, _, pool = prepared(fleet)
        site.nest("sub")
        assert refuse(site, operation("sub", None, pool["new"]))
        assert refuse(site, operation("sub/fresh", None, pool["new"]))


class TestStaging:
    def test_the_content_of_every_kind_is_staged(self, fleet: Fleet, tmp_path: os.PathLike[str]) -> None:
        site, was, pool = prepared(fleet)
        directory = os.fsencode(os.path.join(tmp_path, "stage"))
        os.mkdir(directory)
        wanted = [
            (rel("a.txt"), was[rel("a.txt")]),
            (rel("deep/run"), pool["run"]),
            (site.names.fit(b"\xff\n"), pool["link"]),
            (rel("a.txt"), pool["new"]),
        ]
        site.backend.stage(wanted, directory)
        names = sorted(os.listdir(directory))
        assert names == [b"0", b"1", b"2", b"3"]
        paths = [os.fsdecode(os.path.join(directory, name)) for name in names]
        assert [staged(path) for path in paths] == [b"a\n", b"#!/bin/sh\n", b"a.txt", b"new\n"]
        assert [os.path.islink(path) for path in paths] == [False, False, True, False]
