"""A merge holds the edits of both sides or is none at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.diff3 import merge

LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n", b"\n"]), max_size=12)
TEXTS = st.builds(lambda lines, last: b"".join(lines) + last, LINES, st.sampled_from([b"", b"", b"a", b"z"]))


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        (b"1\n2\n3\n", b"one\n2\n3\n", b"1\n2\nthree\n", b"one\n2\nthree\n"),
        (b"1\n2\n3\n", b"0\n1\n2\n3\n", b"1\n2\n3\n4\n", b"0\n1\n2\n3\n4\n"),
        (b"1\n2\n3\n", b"2\n3\n", b"1\n2\n", b"2\n"),
        (b"1\n2\n3\n", b"1\nx\n3\n", b"1\nx\n3\n", b"1\nx\n3\n"),
        (b"1\n2\n3\n4\n5\n", b"x\n2\n3\n4\ny\n", b"x\n2\n3\n4\n5\n", b"x\n2\n3\n4\ny\n"),
        (b"1\r\n2\r\n3\r\n", b"x\r\n2\r\n3\r\n", b"1\r\n2\r\ny\r\n", b"x\r\n2\r\ny\r\n"),
        (b"a\x0cb\n2\n3\n", b"a\x0cc\n2\n3\n", b"a\x0cb\n2\n4\n", b"a\x0cc\n2\n4\n"),
        (b"1\n2\n3", b"x\n2\n3", b"1\n2\n3\n4", b"x\n2\n3\n4"),
        (b"", b"", b"x", b"x"),
        (b"x\n", b"", b"x\n", b""),
    ],
)
def test_edits_that_do_not_meet_are_joined(base: bytes, ours: bytes, theirs: bytes, merged: bytes) -> None:
    assert merge(base, ours, theirs) == merged
    assert merge(base, theirs, ours) == merged


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        (b"1\n2\n3\n", b"1\nx\n3\n", b"1\ny\n3\n"),
        (b"1\n2\n3\n", b"x\n2\n3\n", b"1\ny\n3\n"),
        (b"1\n2\n3\n", b"1\n3\n", b"1\nx\n3\n"),
        (b"1\n", b"1\nx\n", b"1\ny\n"),
        (b"", b"x\n", b"y\n"),
        (b"1\n2\n", b"", b"1\nx\n"),
        (b"1\n2", b"1\n2\n", b"1\nx"),
    ],
)
def test_edits_that_meet_have_no_merge(base: bytes, ours: bytes, theirs: bytes) -> None:
    assert merge(base, ours, theirs) is None
    assert merge(base, theirs, ours) is None


@given(TEXTS, TEXTS, TEXTS)
def test_the_sides_may_be_exchanged(base: bytes, ours: bytes, theirs: bytes) -> None:
    assert merge(base, ours, theirs) == merge(base, theirs, ours)


@given(TEXTS, TEXTS)
def test_a_lone_edit_wins_and_an_equal_one_is_taken_once(base: bytes, edited: bytes) -> None:
    assert merge(base, edited, base) == edited
    assert merge(base, edited, edited) == edited


@given(TEXTS, TEXTS, TEXTS)
def test_no_line_is_invented(base: bytes, ours: bytes, theirs: bytes) -> None:
    merged = merge(base, ours, theirs)
    if merged is not None:
        assert set(merged.split(b"\n")) <= set(ours.split(b"\n")) | set(theirs.split(b"\n"))


@given(LINES, LINES, LINES, LINES)
def test_edits_with_an_unchanged_line_between_them_are_joined(
    head: list[bytes], new_head: list[bytes], tail: list[bytes], new_tail: list[bytes]
) -> None:
    def text(first: list[bytes], last: list[bytes]) -> bytes:
        # Three of them, found nowhere else: no diff can align the anchor with anything but itself.
        return b"".join([*first, b"anchor\n", b"anchor's middle\n", b"anchor's end\n", *last])

    merged = merge(text(head, tail), text(new_head, tail), text(head, new_tail))
    assert merged == text(new_head, new_tail)


CRLF = st.builds(lambda lines: [line.replace(b"\n", b"\r\n") for line in lines], LINES)


@given(CRLF, CRLF)
def test_line_ends_stay_as_they_are(head: list[bytes], tail: list[bytes]) -> None:
    def text(first: list[bytes], last: list[bytes]) -> bytes:
        return b"".join([*first, b"anchor\r\n", b"anchor's middle\r\n", b"anchor's end\r\n", *last])

    merged = merge(text([], []), text(head, []), text([], tail))
    assert merged == text(head, tail)
    assert merged.count(b"\n") == merged.count(b"\r\n")


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_have_a_merge_or_none(base: bytes, ours: bytes, theirs: bytes) -> None:
    merged = merge(base, ours, theirs)
    assert merged == merge(base, theirs, ours)
    if merged is not None and merged not in (ours, theirs):
        assert b"\0" not in base + ours + theirs


@pytest.mark.parametrize("where", [0, 1, 2])
def test_what_has_a_nul_anywhere_is_no_text(where: int) -> None:
    texts = [b"1\n2\n3\n", b"x\n2\n3\n", b"1\n2\ny\n"]
    assert merge(*texts) == b"x\n2\ny\n"
    texts[where] = texts[where] + b"4\n" * 10_000 + b"\0\n"
    assert merge(*texts) is None


def test_huge_lines_are_lines() -> None:
    huge = b"x" * (1 << 20) + b"\n"
    assert merge(huge + b"2\n3", b"1\n" + huge + b"2\n3", huge + b"2\n3\n4") == b"1\n" + huge + b"2\n3\n4"
    assert merge(huge, b"a" + huge, huge[:-1]) is None
