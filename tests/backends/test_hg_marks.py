"""What the user told hg about paths: one form, one merge, nothing forged, nothing that a base makes void."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.backends.hg.marks import (
    Marks,
    encode_marks,
    join_marks,
    meaningful,
    parse_marks,
    source_of,
    unsafe_path,
    writable,
)
from autosync.core.model import RelPath
from autosync.errors import Unsafe
from tests.figures import record

_PATHS = st.lists(st.sampled_from([b"a", b"b", b"c.d", b"\xff"]), min_size=1, max_size=2).map(b"/".join).map(RelPath)


@st.composite
def _marks(draw: st.DrawFn) -> dict[RelPath, bytes]:
    marks = {}
    for path in draw(st.sets(_PATHS, max_size=6)):
        source = draw(_PATHS)
        if source == path:
            source = RelPath(b"another")
        marks[path] = draw(st.sampled_from([b"a", b"a\0" + source, b"r", b"m\0" + source]))
    return marks


@given(_marks())
def test_what_is_written_is_read_again(marks: dict[RelPath, bytes]) -> None:
    assert parse_marks(encode_marks(marks)) == marks


@given(_marks(), st.integers(0, 200), st.integers(0, 255))
def test_one_set_of_marks_has_one_form(marks: dict[RelPath, bytes], at: int, byte: int) -> None:
    raw = bytearray(encode_marks(marks))
    if at < len(raw):
        raw[at] = byte
    else:
        raw.append(byte)
    try:
        found = parse_marks(bytes(raw))
    except Unsafe:
        return
    assert encode_marks(found) == raw


_FORGED = [
    (b"a\0a\0", "marks are malformed: they are cut off"),
    (b"a\0a\0\0b", "marks are malformed: they are cut off"),
    (b"x", "marks are malformed: they are cut off"),
    (b"b\0a\0\0a\0a\0\0", "marks are malformed: their paths are out of order"),
    (b"a\0a\0\0a\0r\0\0", "marks are malformed: their paths are out of order"),
    (b"a\0x\0\0", "the mark of a is none that hg makes"),
    (b"a\0\0\0", "the mark of a is none that hg makes"),
    (b"a\0aa\0\0", "the mark of a is none that hg makes"),
    (b"a\0m\0\0", "the mark of a is none that hg makes"),
    (b"a\0r\0b\0", "the mark of a is none that hg makes"),
    (b"a\0a\0a\0", "the mark of a is none that hg makes"),
    (b"\0a\0\0", "the mark of  holds an empty name, or one that leads to another directory"),
    (b"/etc\0a\0\0", "the mark of /etc holds an empty name, or one that leads to another directory"),
    (b"a/../b\0r\0\0", "the mark of a/../b holds an empty name, or one that leads to another directory"),
    (b"a\0m\0../b\0", "the mark of a holds an empty name, or one that leads to another directory"),
    (b"a\nb\0r\0\0", "the mark of a\nb holds a name with a line end in it"),
    (b"a\0a\0b\r\0", "the mark of a holds a name with a line end in it"),
    (b".hg/hgrc\0a\0\0", "the mark of .hg/hgrc holds a name that some file systems take for Mercurial's metadata"),
    (b"a/GIT~1\0a\0\0", "the mark of a/GIT~1 holds a name that some file systems take for git's metadata"),
]


@pytest.mark.parametrize(("raw", "says"), _FORGED)
def test_forged_marks_are_refused(raw: bytes, says: str) -> None:
    with pytest.raises(Unsafe) as caught:
        parse_marks(raw)
    assert caught.value.title == says
    assert caught.value.hint == "The sender's autosync may be faulty or hostile; nothing of it was used."
    record("bad inputs refused", 1)


def test_what_a_base_holds_already_is_not_judged() -> None:
    marks: Marks = {RelPath(b"GIT~1"): b"r", RelPath(b"b"): b"m\0GIT~1"}
    assert parse_marks(encode_marks(marks)) == marks


def test_what_no_device_may_write_is_not_added() -> None:
    marks: Marks = {RelPath(b".git/x"): b"a", RelPath(b"GIT~1"): b"r", RelPath(b"b"): b"a"}
    assert writable(marks) == {b"GIT~1": b"r", b"b": b"a"}
    assert unsafe_path(RelPath(b"a/.hg/b")) == "a name that some file systems take for Mercurial's metadata"
    assert unsafe_path(RelPath(b"a/hg/b")) is None


def test_a_copy_has_a_source() -> None:
    assert [source_of(mark) for mark in (b"a", b"r", b"a\0x/y", b"m\0z")] == [None, None, b"x/y", b"z"]


@pytest.mark.parametrize(
    ("origin", "ours", "theirs", "joined"),
    [
        (None, b"a", None, b"a"),  # one side changed it
        (b"a", None, b"a", None),
        (b"a", b"a\0s", b"a", b"a\0s"),
        (None, b"a", b"a", b"a"),  # both alike
        (b"r", None, None, None),
        (None, b"a", b"a\0s", b"a\0s"),  # both, otherwise: what tells more
        (None, b"a\0s", b"a\0t", b"a\0s"),
        (b"a", None, b"a\0s", b"a\0s"),
        (None, b"r", b"m\0s", b"m\0s"),
        (b"m\0s", b"r", None, b"r"),
        (b"r", b"m\0s", None, b"m\0s"),
    ],
)
def test_marks_are_joined(origin: bytes | None, ours: bytes | None, theirs: bytes | None, joined: bytes | None) -> None:
    def marks(mark: bytes | None) -> dict[RelPath, bytes]:
        return {} if mark is None else {RelPath(b"p"): mark}

    assert join_marks(marks(origin), marks(ours), marks(theirs)) == marks(joined)
    assert join_marks(marks(origin), marks(theirs), marks(ours)) == marks(joined)


@given(_marks(), _marks(), _marks())
def test_a_join_is_symmetric_and_keeps_what_one_side_changed(
    origin: dict[RelPath, bytes], ours: dict[RelPath, bytes], theirs: dict[RelPath, bytes]
) -> None:
    joined = join_marks(origin, ours, theirs)
    assert joined == join_marks(origin, theirs, ours)
    assert join_marks(origin, ours, origin) == ours
    assert join_marks(origin, ours, ours) == ours
    for path in origin.keys() | ours.keys() | theirs.keys():
        assert joined.get(path) in (ours.get(path), theirs.get(path))
        if ours.get(path) == origin.get(path):
            assert joined.get(path) == theirs.get(path)
    assert parse_marks(encode_marks(joined)) == joined


@pytest.mark.parametrize(
    ("mark", "base", "left"),
    [
        (b"a", {}, b"a"),
        (b"a", {b"p"}, None),  # it was committed
        (b"a\0s", {b"s"}, b"a\0s"),
        (b"a\0s", {b"s", b"p"}, None),
        (b"a\0s", {}, b"a"),  # added, but of what it is a copy hg cannot say
        (b"r", {b"p"}, b"r"),
        (b"r", {}, None),  # the removal was committed
        (b"m\0s", {b"p", b"s"}, b"m\0s"),
        (b"m\0s", {b"p"}, None),
        (b"m\0s", {b"s"}, None),
    ],
)
def test_a_base_leaves_what_still_says_something(mark: bytes, base: set[bytes], left: bytes | None) -> None:
    found = meaningful({RelPath(b"p"): mark}, lambda path: path in base)
    assert found == ({} if left is None else {b"p": left})


@given(_marks(), st.sets(_PATHS))
def test_what_a_base_leaves_it_leaves_again(marks: dict[RelPath, bytes], base: set[RelPath]) -> None:
    left = meaningful(marks, base.__contains__)
    assert meaningful(left, base.__contains__) == left
    assert parse_marks(encode_marks(left)) == left
