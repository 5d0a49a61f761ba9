"""Differences of texts: applied to the old one they give the new one, whatever the texts."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from autosync.core.linediff import Hunk, hunks, is_text

LINES = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"", b"\r", b"\xff"]), max_size=14)
TEXTS = st.builds(lambda lines, end: b"\n".join(lines) + end, LINES, st.sampled_from([b"", b"\n"]))


def applied(old: bytes, found: tuple[Hunk, ...]) -> bytes:
    """Return what `patch` makes of ``old``; each hunk has to say rightly what it replaces, and where."""
    lines = [part + b"\n" for part in old.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    before = [line for line in lines if line]
    result: list[bytes] = []
    at = 0
    for hunk in found:
        start = hunk.old_start - (1 if hunk.old_lines else 0)
        result += before[at:start]
        assert before[start : start + hunk.old_lines] == [line[1:] for line in hunk.lines if line[:1] in b" -"]
        new = [line[1:] for line in hunk.lines if line[:1] in b" +"]
        assert (len(new), len(result) + (1 if new else 0)) == (hunk.new_lines, hunk.new_start)
        result += new
        at = start + hunk.old_lines
    return b"".join([*result, *before[at:]])


@given(TEXTS, TEXTS, st.integers(0, 4), st.sampled_from([0, 3, 20, 1_000_000]))
@example(b"a\nb\nc\n", b"a\nc\n", 1, 1_000_000)
@example(b"x\na\na\ny\n", b"p\na\na\nq\n", 1, 1_000_000)  # what stays is there more than once
@example(b"b\nb\na\na\n", b"a\na\nb\nb\n", 0, 0)  # nothing is found within no steps: replaced as a whole
def test_what_differs_leads_from_one_text_to_the_other(old: bytes, new: bytes, context: int, steps: int) -> None:
    found = hunks(old, new, context=context, steps=steps)
    assert applied(old, found) == new
    assert bool(found) == (old != new)


def test_a_hunk_is_as_in_a_unified_diff() -> None:
    old = b"".join(b"%d\n" % n for n in range(1, 30))
    new = old.replace(b"\n5\n", b"\nfive\n").replace(b"\n20\n", b"\n") + b"end"
    assert hunks(old, new) == (
        Hunk(
            old_start=2,
            old_lines=7,
            new_start=2,
            new_lines=7,
            lines=(b" 2\n", b" 3\n", b" 4\n", b"-5\n", b"+five\n", b" 6\n", b" 7\n", b" 8\n"),
        ),
        Hunk(
            old_start=17,
            old_lines=7,
            new_start=17,
            new_lines=6,
            lines=(b" 17\n", b" 18\n", b" 19\n", b"-20\n", b" 21\n", b" 22\n", b" 23\n"),
        ),
        Hunk(old_start=27, old_lines=3, new_start=26, new_lines=4, lines=(b" 27\n", b" 28\n", b" 29\n", b"+end")),
    )


def test_nothing_and_something() -> None:
    assert hunks(b"", b"one\n") == (Hunk(old_start=0, old_lines=0, new_start=1, new_lines=1, lines=(b"+one\n",)),)
    assert hunks(b"one", b"") == (Hunk(old_start=1, old_lines=1, new_start=0, new_lines=0, lines=(b"-one",)),)
    assert hunks(b"one", b"one\n")[0].lines == (b"-one", b"+one\n")


def test_a_moved_block_does_not_move_all_around_it() -> None:
    old = b"".join(b"%d\n" % n for n in range(100))
    new = b"".join(b"%d\n" % n for n in [*range(10, 100), *range(10)])
    assert sum(line[:1] != b" " for hunk in hunks(old, new) for line in hunk.lines) == 20


def test_texts_that_have_few_lines_in_common_take_little_memory() -> None:
    """What is kept of each step to trace the way back would be a hundred bytes for each."""
    chance = random.Random(7)
    old, new = (b"".join(chance.choice((b"a\n", b"b\n", b"c\n", b"d\n")) for _ in range(1500)) for _ in range(2))
    tracemalloc.start()
    try:
        found = hunks(old, new, steps=100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert applied(old, found) == new
    assert peak < 3 << 20


def test_what_has_a_nul_is_no_text() -> None:
    assert is_text(b"\xff\r\n")
    assert not is_text(b"a\0b")
