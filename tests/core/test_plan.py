"""The merge of two sides' changes, and the operations that make a set of changes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.copies import conflict_name, split_extension
from autosync.core.model import Change, Entry, Kind, ObjectId, RelPath
from autosync.core.plan import Clash, Conflict, Labels, Merged, Operation, Side, merge_trees, operations

Tree = Mapping[RelPath, Entry]

LAPTOP = Side(device="laptop", time=1795256102, id="bbb")  # 2026-11-21 10:15:02 UTC
DESKTOP = Side(device="desktop", time=1795256100, id="aaa")
LABELS = Labels(ours=LAPTOP, theirs=DESKTOP)  # the laptop wins


def path(text: str) -> RelPath:
    return RelPath(text.encode())


def entry(text: str) -> Entry:
    """``x`` is a file, ``x*`` an executable, ``x@`` a symlink, ``x#`` a nested repository."""
    kinds = {"*": Kind.EXECUTABLE, "@": Kind.SYMLINK, "#": Kind.NESTED}
    return Entry(kind=kinds.get(text[-1], Kind.FILE), oid=ObjectId(text.rstrip("*@#")))


def tree(**files: str) -> dict[RelPath, Entry]:
    """``tree(a__b="x")`` has the content x at a/b."""
    return {path(name.replace("__", "/")): entry(content) for name, content in files.items()}


def diff(old: Tree, new: Tree) -> list[Change]:
    return [Change(path=p, old=old.get(p), new=new.get(p)) for p in sorted({*old, *new}) if old.get(p) != new.get(p)]


def patched(old: Tree, edits: Mapping[RelPath, Entry | None]) -> dict[RelPath, Entry]:
    new: dict[RelPath, Entry | None] = {**old, **edits}
    return {p: e for p, e in sorted(new.items()) if e is not None}


def merge_text(base: ObjectId, one: ObjectId, other: ObjectId) -> ObjectId | None:
    """Texts in capitals merge, others do not."""
    if all(oid[0].isupper() for oid in (base, one, other)):
        return ObjectId("+".join(sorted((one, other))))
    return None


def merge(base: Tree, ours: Tree, theirs: Tree) -> Merged:
    return merge_trees(diff(base, ours), diff(base, theirs), merge_text=merge_text, labels=LABELS)


def check(base: Tree, ours: Tree, theirs: Tree, expected: Tree, *conflicts: Conflict) -> None:
    merged = merge(base, ours, theirs)
    assert patched(base, merged.edits) == dict(sorted(expected.items()))
    assert merged.conflicts == conflicts


def conflict(at: str, clash: Clash, winner: str = "laptop", copy: str | None = None) -> Conflict:
    return Conflict(path=path(at), clash=clash, winner=winner, copy=None if copy is None else path(copy))


MARK_DESKTOP = " (conflict, desktop, 2026-11-21 10.15.00)"
MARK_LAPTOP = " (conflict, laptop, 2026-11-21 10.15.02)"


def test_changes_of_one_side_and_identical_changes_are_taken() -> None:
    base = tree(a="1", b="1", c="1", d="1", e="1")
    ours = tree(a="2", b="1", c="3", d="1", new="n")
    theirs = tree(a="1", b="2", c="3", d="1*", new="n", more="m")
    check(base, ours, theirs, tree(a="2", b="2", c="3", d="1*", new="n", more="m"))


def test_texts_merge_and_the_executable_bit_is_merged_by_itself() -> None:
    base = tree(a="B", b="B*", c="B")
    ours = tree(a="O", b="O*", c="O")
    theirs = tree(a="T*", b="T", c="B*")
    check(base, ours, theirs, tree(a="O+T*", b="O+T", c="O*"))


def test_two_additions_of_one_content_agree_even_if_one_is_executable() -> None:
    check({}, tree(a="X"), tree(a="X*"), tree(a="X*"))


def test_what_cannot_be_merged_stands_twice() -> None:
    merged = merge(tree(d__a="b"), tree(d__a="o"), tree(d__a="t"))
    copy = "d/a" + MARK_DESKTOP
    assert merged.edits == {path("d/a"): entry("o"), path(copy): entry("t")}
    assert merged.conflicts == (conflict("d/a", Clash.CONTENT, copy=copy),)


def test_two_different_additions_are_kept_both_and_never_merged_as_text() -> None:
    copy = "note" + MARK_DESKTOP + ".txt"
    check(
        {},
        {path("note.txt"): entry("O")},
        {path("note.txt"): entry("T")},
        {path("note.txt"): entry("O"), path(copy): entry("T")},
        conflict("note.txt", Clash.CONTENT, copy=copy),
    )


def test_an_edit_outlives_a_deletion() -> None:
    base = tree(a="b", c="b", d="b")
    check(
        base,
        tree(a="o", c="b*"),
        tree(d="t"),
        tree(a="o", c="b*", d="t"),
        conflict("a", Clash.DELETED, "laptop"),
        conflict("c", Clash.DELETED, "laptop"),
        conflict("d", Clash.DELETED, "desktop"),
    )


def test_an_edit_goes_with_the_file_to_its_new_name() -> None:
    check(tree(a="b"), tree(d__new="b"), tree(a="t*"), tree(d__new="t*"))
    check(tree(a="b"), tree(a="o"), tree(new="b*"), tree(new="o*"))


def test_an_edit_does_not_go_where_the_editor_has_another_file() -> None:
    copy = "new" + MARK_DESKTOP
    check(
        tree(a="b"),
        tree(new="b"),
        tree(a="t", new="x"),
        {path("a"): entry("t"), path("new"): entry("b"), path(copy): entry("x")},
        conflict("a", Clash.DELETED, "desktop"),
        conflict("new", Clash.CONTENT, copy=copy),
    )


def test_a_renamed_file_outlives_its_deletion() -> None:
    check(tree(a="b"), tree(), tree(new="b"), tree(new="b"), conflict("new", Clash.DELETED, "desktop"))


def test_two_renames_of_one_file_give_it_the_winners_name() -> None:
    check(tree(a="b"), tree(x="b"), tree(y="b"), tree(x="b"), conflict("x", Clash.RENAMED))
    check(tree(a="b"), tree(x="b"), tree(x="b*"), tree(x="b*"))


def test_two_renames_stay_two_files_where_one_of_the_names_is_needed() -> None:
    copy = "x" + MARK_DESKTOP
    check(
        tree(a="b"),
        tree(x="b"),
        tree(y="b", x="other"),
        {path("x"): entry("b"), path(copy): entry("other"), path("y"): entry("b")},
        conflict("x", Clash.CONTENT, copy=copy),
    )


def test_a_symlink_against_a_file_is_kept_beside_it() -> None:
    copy = "a" + MARK_DESKTOP
    check(
        tree(a="B"),
        tree(a="O"),
        tree(a="target@"),
        {path("a"): entry("O"), path(copy): entry("target@")},
        conflict("a", Clash.KIND, copy=copy),
    )


def test_a_nested_repository_keeps_its_name_and_has_no_copy() -> None:
    copy = "a" + MARK_LAPTOP
    check(
        {},
        tree(a="O"),
        tree(a="c1#"),
        {path("a"): entry("c1#"), path(copy): entry("O")},
        conflict("a", Clash.KIND, "desktop", copy),
    )
    check(tree(a="c0#"), tree(a="c1#"), tree(a="c2#"), tree(a="c1#"), conflict("a", Clash.CONTENT))


@pytest.mark.parametrize("base", [{}, tree(a="b")])
def test_a_file_gives_way_to_a_directory(base: Tree) -> None:
    copy = "a" + MARK_LAPTOP
    deleted = (conflict("a", Clash.DELETED),) if base else ()
    moved = conflict("a", Clash.DIRECTORY, "desktop", copy)
    check(base, tree(a="o"), tree(a__x="t"), {path(copy): entry("o"), path("a/x"): entry("t")}, moved, *deleted)


def test_files_give_way_to_a_nested_repository() -> None:
    copy = "a" + MARK_DESKTOP
    check(
        {},
        tree(a="c1#"),
        tree(a__x="t", a__d__y="u"),
        {path("a"): entry("c1#"), path(copy + "/x"): entry("t"), path(copy + "/d/y"): entry("u")},
        conflict("a", Clash.DIRECTORY, "laptop", copy),
    )


def test_a_copy_never_takes_a_name_that_is_in_use() -> None:
    first = "a" + MARK_DESKTOP
    ours = {path("a"): entry("o"), path(first): entry("mine")}
    merged = merge({}, ours, tree(a="t"))
    assert merged.conflicts == (conflict("a", Clash.CONTENT, copy=first + " 2"),)
    merged = merge_trees(
        diff({}, tree(a="o")),
        diff({}, tree(a="t")),
        merge_text=merge_text,
        labels=LABELS,
        occupied=lambda name: name in (path(first), path(first + " 2")),
    )
    assert merged.conflicts == (conflict("a", Clash.CONTENT, copy=first + " 3"),)


# -- names of copies ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stem", "extension"),
    [
        (b"note.txt", b"note", b".txt"),
        (b"Makefile", b"Makefile", b""),
        (b".bashrc", b".bashrc", b""),
        (b".vimrc.local", b".vimrc", b".local"),
        (b"my.notes.2026.md", b"my.notes.2026", b".md"),
        (b"backup.tar.gz", b"backup", b".tar.gz"),
        (b".tar.gz", b".tar", b".gz"),
        (b"..", b"..", b""),
        (b"ends.", b"ends.", b""),
        (b"Dr. Who and friends", b"Dr. Who and friends", b""),
        (b"a.averyveryverylongend", b"a.averyveryverylongend", b""),
        (b"caf\xe9.t\xff", b"caf\xe9", b".t\xff"),
    ],
)
def test_split_extension(name: bytes, stem: bytes, extension: bytes) -> None:
    assert split_extension(name) == (stem, extension)


def test_conflict_name_shows_device_and_utc_time_and_keeps_bytes() -> None:
    name = conflict_name(RelPath(b"d\xff/caf\xe9.txt"), device="desktop", time=1795256100, taken=lambda _: False)
    assert name == b"d\xff/caf\xe9 (conflict, desktop, 2026-11-21 10.15.00).txt"


@pytest.mark.parametrize("start", [b"", b"x"])
def test_conflict_name_is_never_too_long_nor_cut_inside_a_character(start: bytes) -> None:
    long = RelPath(b"d/" + start + "é".encode() * 124 + b".text")
    name = conflict_name(long, device="desktop" * 30, time=10**30, taken=lambda _: False)
    component = name.rpartition(b"/")[2]
    assert 250 < len(component) <= 255
    assert component.decode().endswith(", 9999-12-31 23.59.59).text")


@given(st.binary(min_size=1, max_size=255), st.text(max_size=300), st.integers())
def test_conflict_name_is_one_component(name: bytes, device: str, time: int) -> None:
    base = RelPath(b"d/" + name.replace(b"/", b"_").replace(b"\0", b"_"))
    result = conflict_name(base, device=device, time=time, taken=lambda _: False)
    directory, _, component = result.rpartition(b"/")
    assert directory == b"d"
    assert len(component) <= 255
    assert b"\0" not in component
    assert b" (conflict, " in component


# -- operations -------------------------------------------------------------------------------


def test_operations_make_renames_of_equal_entries_by_last_component_first() -> None:
    old = tree(d__one="x", d__two="x", d__gone="y", d__mode="z")
    new = tree(e__two="x", e__other="x", e__mode="z*")
    assert operations(diff(old, new)) == (
        Operation(path=path("d/gone"), expected=entry("y"), new=None),
        Operation(path=path("d/mode"), expected=entry("z"), new=None),
        Operation(path=path("e/other"), expected=None, new=entry("x"), source=path("d/one")),
        Operation(path=path("e/two"), expected=None, new=entry("x"), source=path("d/two")),
        Operation(path=path("e/mode"), expected=None, new=entry("z*")),
    )


def test_operations_do_not_rename_a_file_into_or_out_of_its_own_name() -> None:
    assert operations(diff(tree(a="x"), tree(a__b="x"))) == (
        Operation(path=path("a"), expected=entry("x"), new=None),
        Operation(path=path("a/b"), expected=None, new=entry("x")),
    )
    assert operations(diff(tree(a__b="x"), tree(a="x"))) == (
        Operation(path=path("a/b"), expected=entry("x"), new=None),
        Operation(path=path("a"), expected=None, new=entry("x")),
    )


def test_operations_swap_names_by_content() -> None:
    assert operations(diff(tree(a="x", b="y"), tree(a="y", b="x"))) == (
        Operation(path=path("a"), expected=entry("x"), new=entry("y")),
        Operation(path=path("b"), expected=entry("y"), new=entry("x")),
    )


# -- copies that are there already ------------------------------------------------------------------


def test_an_edit_of_the_losing_version_goes_to_its_copy() -> None:
    """As when the editor that holds it keeps the winner's version from arriving, and saves again."""
    copy = "note" + MARK_DESKTOP + ".txt"
    base = {path("note.txt"): entry("d1")}
    settled = {path("note.txt"): entry("l1"), path(copy): entry("d1")}
    again = {path("note.txt"): entry("d2*")}
    wanted = {path("note.txt"): entry("l1"), path(copy): entry("d2*")}
    check(base, settled, again, wanted)
    check(base, again, settled, wanted)


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        (tree(), tree(a="l1")),
        (tree(a="l1"), tree(a="l1")),
        (
            tree(a="target@"),
            {path("a"): entry("l1"), path("a (conflict, desktop, 2026-11-21 10.15.00) 2"): entry("target@")},
        ),
    ],
    ids=["deleted", "the same", "another kind"],
)
def test_what_is_no_edit_of_the_losing_version_does_not_go_to_its_copy(again: Tree, expected: Tree) -> None:
    base = tree(a="d1")
    copy = path("a" + MARK_DESKTOP)
    merged = merge(base, {path("a"): entry("l1"), copy: entry("d1")}, again)
    assert patched(base, merged.edits) == {**dict(sorted(expected.items())), copy: entry("d1")}


def test_two_sides_that_both_set_a_version_aside_keep_what_they_have() -> None:
    copy = path("a" + MARK_DESKTOP)
    merged = merge(
        tree(a="d1"), {path("a"): entry("l1"), copy: entry("d1")}, {path("a"): entry("d2"), copy: entry("d1")}
    )
    assert merged.conflicts == (conflict("a", Clash.CONTENT, copy=str(copy, "ascii") + " 2"),)


@pytest.mark.parametrize(("mine", "yours"), [("l", "d"), ("d", "l")])
def test_a_version_that_has_a_copy_gets_no_second_one_and_gives_way(mine: str, yours: str) -> None:
    """Where each side waits for one of two files, they merge the same conflict again and again."""
    copy = "a" + MARK_DESKTOP
    ours = {path("a"): entry(mine), path(copy): entry("d")}
    for one, other in ((ours, tree(a=yours)), (ours, {path("a"): entry(yours), path(copy): entry("d")})):
        winner = "laptop" if mine == "l" else "desktop"
        expected = {path("a"): entry("l"), path(copy): entry("d")}
        check({}, one, other, expected, conflict("a", Clash.CONTENT, winner, copy))
