"""What holds of every merge of two trees, and of the operations that lead to one, however odd the trees are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from autosync.core.copies import conflict_name
from autosync.core.model import Entry, Kind, ObjectId, RelPath, parent_directories
from autosync.core.plan import Clash, Labels, Merged, MergeText, Side, merge_trees, operations
from tests.core.test_plan import DESKTOP, LABELS, Tree, diff, merge_text, patched
from tests.figures import record

tried: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    yield
    record("plans tried", tried["plans"])


# -- trees ---------------------------------------------------------------------------------------

NAMES = [
    b"a",
    b"A",
    b"b",
    b"c.txt",
    b"\xff\n",
    conflict_name(RelPath(b"a"), device="desktop", time=DESKTOP.time, taken=lambda _: False),
]
"""Few, so that they meet: some that differ in case only, one that is no text, one that a copy would get."""

_names = st.sampled_from(NAMES)
_paths = st.lists(_names, min_size=1, max_size=3).map(lambda parts: RelPath(b"/".join(parts)))
_long = st.sampled_from([RelPath(b"n" * 255), RelPath(b"d/" + b"m" * 251 + b".txt")])


def _entry(kind: Kind, oid: str) -> Entry:
    """Return an entry; what is no regular file has content of its own."""
    return Entry(kind=kind, oid=ObjectId(oid + (kind.value[0] if kind in (Kind.SYMLINK, Kind.NESTED) else "")))


_entries = st.builds(
    _entry,
    kind=st.sampled_from([Kind.FILE] * 5 + [Kind.EXECUTABLE, Kind.SYMLINK, Kind.NESTED]),
    oid=st.sampled_from(["A", "B", "C", "x", "y", "z"]),
)


def valid(files: Mapping[RelPath, Entry]) -> dict[RelPath, Entry]:
    """Return the files without those that lie below another one."""
    return {p: e for p, e in files.items() if not any(d in files for d in parent_directories(p))}


_trees = st.dictionaries(_paths | _long, _entries, max_size=7).map(valid)


def _rename(draw: st.DrawFn, files: dict[RelPath, Entry]) -> None:
    """Rename a file, another one possibly being in the way: a chain if that one is renamed next."""
    old = draw(st.sampled_from(sorted(files)))
    files[draw(_paths | _long)] = files.pop(old)


def _swap(draw: st.DrawFn, files: dict[RelPath, Entry]) -> None:
    one, other = draw(st.sampled_from(sorted(files))), draw(st.sampled_from(sorted(files)))
    files[one], files[other] = files[other], files[one]


def _change_case(draw: st.DrawFn, files: dict[RelPath, Entry]) -> None:
    old = draw(st.sampled_from(sorted(files)))
    files[RelPath(old.swapcase())] = files.pop(old)


def _rename_directory(draw: st.DrawFn, files: dict[RelPath, Entry]) -> None:
    old, new = draw(_names), draw(_paths)
    for path in [p for p in files if p.startswith(old + b"/")]:
        files[RelPath(new + path[len(old) :])] = files.pop(path)


def _change_mode(draw: st.DrawFn, files: dict[RelPath, Entry]) -> None:
    path = draw(st.sampled_from(sorted(files)))
    flipped = {Kind.FILE: Kind.EXECUTABLE, Kind.EXECUTABLE: Kind.FILE}
    files[path] = Entry(kind=flipped.get(files[path].kind, files[path].kind), oid=files[path].oid)


def _delete(draw: st.DrawFn, files: dict[RelPath, Entry]) -> None:
    del files[draw(st.sampled_from(sorted(files)))]


def _write(draw: st.DrawFn, files: dict[RelPath, Entry]) -> None:
    files[draw(_paths)] = draw(_entries)


def _edit(draw: st.DrawFn, files: dict[RelPath, Entry]) -> None:
    files[draw(st.sampled_from(sorted(files)))] = draw(_entries)


DEEDS = (_rename, _rename, _swap, _change_case, _rename_directory, _change_mode, _delete, _write, _edit, _edit)


@st.composite
def _edited(draw: st.DrawFn, base: dict[RelPath, Entry]) -> dict[RelPath, Entry]:
    """Return what a user could make of ``base``."""
    files = dict(base)
    for deed in draw(st.lists(st.sampled_from(DEEDS), max_size=6)):
        if files or deed is _write:
            deed(draw, files)
            files = valid(files)
    return files


@dataclass(frozen=True)
class Three:
    """An ancestor and two sides."""

    base: Tree
    ours: Tree
    theirs: Tree


@st.composite
def _three(draw: st.DrawFn) -> Three:
    """Return two sides that grew from one tree, or, now and then, that have nothing to do with it."""
    base = draw(_trees)
    side = _edited(base) if draw(st.integers(0, 7)) else _trees
    tried["plans"] += 1
    return Three(base, draw(side), draw(side))


many = settings(max_examples=120, deadline=None)


def merge(base: Tree, ours: Tree, theirs: Tree, *, labels: Labels = LABELS, text: MergeText = merge_text) -> Merged:
    """Return the merge as an agent makes it, who knows what else the ancestor has."""
    occupied = {*base, *(d for p in base for d in parent_directories(p))}
    return merge_trees(
        diff(base, ours), diff(base, theirs), merge_text=text, labels=labels, occupied=occupied.__contains__
    )


def swapped(three: Three, labels: Labels = LABELS) -> Merged:
    """Return the merge as the other device makes it."""
    return merge(three.base, three.theirs, three.ours, labels=Labels(ours=labels.theirs, theirs=labels.ours))


# -- merges -----------------------------------------------------------------------------------------


@many
@given(_three())
def test_both_devices_find_the_same_and_find_it_again(three: Three) -> None:
    merged = merge(three.base, three.ours, three.theirs)
    assert swapped(three) == merged
    assert merge(dict(reversed(three.base.items())), three.ours, three.theirs) == merged
    event(f"{len(merged.conflicts)} conflicts")


@given(_three(), st.sampled_from(["laptop", "desktop"]), st.sampled_from(["laptop", "desktop"]))
def test_both_devices_find_the_same_whatever_the_sides_are_called(three: Three, one: str, other: str) -> None:
    labels = Labels(ours=Side(device=one, time=1, id="same"), theirs=Side(device=other, time=1, id="same"))
    assert merge(three.base, three.ours, three.theirs, labels=labels) == swapped(three, labels)


@many
@given(_three())
def test_a_merge_is_a_tree_and_its_edits_are_edits(three: Three) -> None:
    edits = merge(three.base, three.ours, three.theirs).edits
    merged = patched(three.base, edits)
    assert merged == valid(merged)
    assert all(three.base.get(p) != new for p, new in edits.items())
    assert all(len(name) <= 255 for p in edits for name in p.split(b"/"))


@many
@given(_three())
def test_a_merge_with_itself_or_with_nothing_is_the_side_itself(three: Three) -> None:
    for other in (three.ours, three.base):
        merged = merge(three.base, three.ours, other)
        assert patched(three.base, merged.edits) == dict(sorted(three.ours.items()))
        assert merged.conflicts == ()


@many
@given(_three())
def test_no_content_that_a_side_made_is_lost(three: Three) -> None:
    read: set[ObjectId] = set()

    def recording(old: ObjectId, one: ObjectId, other: ObjectId) -> ObjectId | None:
        merged = merge_text(old, one, other)
        if merged is not None:
            read.update((one, other))
        return merged

    sides = (three.ours, three.theirs)
    merged = merge(three.base, three.ours, three.theirs, text=recording)
    kept = {e.oid for e in patched(three.base, merged.edits).values()}
    made = {c.new.oid for s in sides for c in diff(three.base, s) if c.new and c.new.kind is not Kind.NESTED}
    assert made - {e.oid for e in three.base.values()} <= kept | read


@many
@given(_three())
def test_what_one_side_alone_touched_is_as_it_left_it(three: Three) -> None:
    """Unless a rename leads away from there, or a directory needs the name."""
    merged = merge(three.base, three.ours, three.theirs)
    result = patched(three.base, merged.edits)
    spoken_of = {p for c in merged.conflicts for p in (c.path, c.copy) if p is not None}
    for side, other in ((three.ours, three.theirs), (three.theirs, three.ours)):
        for change in diff(three.base, side):
            path = change.path
            plain = change.old is not None and change.new is not None and other.get(path) == change.old
            if plain and not any(p == path or p.startswith(path + b"/") for p in spoken_of):
                assert result[path] == change.new


@many
@given(_three())
def test_an_edit_outlives_the_deletion_of_its_file(three: Three) -> None:
    text_or_not = merge(three.base, three.ours, three.theirs)
    kept = {e.oid for e in patched(three.base, text_or_not.edits).values()}
    for path, old in three.base.items():
        ours, theirs = three.ours.get(path), three.theirs.get(path)
        edited = ours or theirs
        if (ours is None) != (theirs is None) and edited is not None and edited.kind is not Kind.NESTED:
            new_here = edited.oid not in {e.oid for e in three.base.values()}
            if edited != old and new_here:
                assert any(edited.oid in oid.split("+") for oid in kept)


@many
@given(_three())
def test_every_copy_that_is_reported_is_there_and_took_no_name(three: Three) -> None:
    merged = merge(three.base, three.ours, three.theirs)
    after = patched(three.base, merged.edits)
    inhabited = {*after, *(d for p in after for d in parent_directories(p))}
    copies = [c.copy for c in merged.conflicts if c.copy is not None]
    assert len(copies) == len(set(copies))
    for copy in copies:
        assert copy in inhabited
        assert copy not in three.base
        assert all(side.get(copy) in (None, after.get(copy)) for side in (three.ours, three.theirs))


@many
@given(st.data())
def test_edits_go_where_the_other_side_has_renamed_their_files_to(data: st.DataObject) -> None:
    """Renames of files with contents of their own, deep ones and of case only too, against edits and chmod."""
    base = {RelPath(n): _entry(Kind.FILE, f"old{i}") for i, n in enumerate([b"a", b"A", b"d/b", b"d/e/c", b"x.txt"])}
    targets = data.draw(st.permutations([b"n", b"N", b"new/deep/er/n", b"d2/b", b"D/b"]))
    renamed = data.draw(st.sets(st.sampled_from(sorted(base))))
    names = {p: RelPath(t) if p in renamed else p for p, t in zip(sorted(base), targets, strict=True)}
    edited = {
        p: Entry(kind=data.draw(st.sampled_from([Kind.FILE, Kind.EXECUTABLE])), oid=ObjectId(f"new{i}"))
        for i, p in enumerate(sorted(data.draw(st.sets(st.sampled_from(sorted(base))))))
    }
    tried["plans"] += 1
    moved = {names[p]: e for p, e in base.items()}
    wanted = {names[p]: edited.get(p, e) for p, e in base.items()}
    for ours, theirs in ((moved, {**base, **edited}), ({**base, **edited}, moved)):
        merged = merge(base, ours, theirs)
        assert patched(base, merged.edits) == dict(sorted(wanted.items()))
        assert merged.conflicts == ()


@many
@given(st.data())
def test_two_renames_of_one_file_leave_one_file_with_both_sides_edits(data: st.DataObject) -> None:
    base = {RelPath(b"f%d" % i): _entry(Kind.FILE, f"old{i}") for i in range(3)}
    files = sorted(base)
    mine = {p: RelPath(data.draw(st.sampled_from([b"m/", b"one/"])) + p) for p in files}
    yours = {p: RelPath(data.draw(st.sampled_from([b"m/", b"two/"])) + p) for p in files}
    bits = data.draw(st.lists(st.booleans(), min_size=3, max_size=3))
    tried["plans"] += 1
    ours = {
        mine[p]: _entry(Kind.EXECUTABLE if bit else Kind.FILE, base[p].oid) for p, bit in zip(files, bits, strict=True)
    }
    theirs = {yours[p]: e for p, e in base.items()}
    merged = merge(base, ours, theirs)
    assert patched(base, merged.edits) == dict(sorted(ours.items()))
    assert [c.clash for c in merged.conflicts] == [Clash.RENAMED for p in files if mine[p] != yours[p]]


@many
@given(st.data())
def test_permissions_are_merged_by_themselves(data: st.DataObject) -> None:
    kinds = st.sampled_from([Kind.FILE, Kind.EXECUTABLE])
    old, mine, yours = data.draw(kinds), data.draw(kinds), data.draw(kinds)
    path = RelPath(b"a")
    tried["plans"] += 1
    merged = merge({path: _entry(old, "B")}, {path: _entry(mine, "O")}, {path: _entry(yours, "T")})
    assert patched({}, merged.edits) == {path: _entry(yours if mine is old else mine, "O+T")}
    assert merged.conflicts == ()


# -- operations -------------------------------------------------------------------------------------


def perform(old: Tree, new: Tree) -> None:
    """Do the operations on a model of a file system; fail where a real one would refuse."""
    standing = dict(old)
    for operation in operations(diff(old, new)):
        path = operation.path
        assert standing.get(path) == operation.expected
        if operation.source is not None:
            assert operation.source != path
            assert standing.pop(operation.source) == operation.new
        if operation.new is None:
            del standing[path]
            continue
        assert not any(d in standing for d in parent_directories(path)), "a file stands where a directory has to be"
        assert not any(p.startswith(path + b"/") for p in standing), "a directory stands where a file has to be"
        standing[path] = operation.new
    assert standing == dict(new)


@many
@given(_three())
def test_operations_done_in_order_make_the_tree_and_meet_no_obstacle(three: Three) -> None:
    merged = patched(three.base, merge(three.base, three.ours, three.theirs).edits)
    perform(three.ours, merged)
    perform(three.theirs, merged)
    perform(three.base, three.theirs)


@many
@given(_three())
def test_no_path_is_brought_to_two_states_nor_taken_from_twice(three: Three) -> None:
    done = operations(diff(three.ours, three.theirs))
    paths = [o.path for o in done]
    sources = [o.source for o in done if o.source is not None]
    assert len({*paths, *sources}) == len(paths) + len(sources)
    assert {*paths, *sources} == {c.path for c in diff(three.ours, three.theirs)}
