"""What is said beside a state: what goes in comes out, and nothing that others could not take is said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.announcement import decode, encode
from autosync.core.model import DeviceId, RelPath, SnapshotId
from autosync.core.moments import LAST_MS
from autosync.core.remarks import (
    MAX_CAUSES,
    MAX_EDITING,
    MAX_TEXT,
    NOTHING,
    HookReport,
    Remarks,
    check,
    fitting,
    from_object,
    nameable,
    printable,
    to_object,
)
from tests.core.test_announcement import PLAIN, with_header

REPORT = HookReport(
    at_ms=1_790_000_000_000,
    command="make restart",
    problem="failed with exit code 2",
    line="make: *** [Makefile:2: restart] Error 1",
    snapshot=SnapshotId("a" * 40),
    causes=(DeviceId("laptop-0a1b2c3d"),),
)
FULL = Remarks(hook=REPORT, echoes=3, editing=(RelPath(b"a.py"), RelPath(b"caf\xe9/x")))


def test_a_report_reads_as_a_sentence() -> None:
    assert REPORT.text == "make restart failed with exit code 2: make: *** [Makefile:2: restart] Error 1"
    assert replace(REPORT, problem="", line="").text == "make restart succeeded"
    assert REPORT.news("server").splitlines() == ["server: make restart failed with exit code 2", REPORT.line]
    assert replace(REPORT, problem="", line="").news("server") == "server: make restart succeeded"


@pytest.mark.parametrize("remarks", [FULL, NOTHING, Remarks(echoes=1), Remarks(editing=(RelPath(b"b"),))])
def test_an_announcement_carries_them(remarks: Remarks) -> None:
    assert decode(encode(replace(PLAIN, remarks=remarks))) == replace(PLAIN, remarks=remarks)


def test_where_there_is_nothing_to_say_nothing_is_sent() -> None:
    assert b"remarks" not in encode(PLAIN)


def test_what_a_later_release_adds_is_passed_over() -> None:
    value = to_object(FULL)
    hook = value["hook"]
    assert isinstance(hook, dict)
    assert from_object({**value, "mood": "good", "hook": {**hook, "seconds": 3}}) == FULL


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "remarks are not an object"),
        ({"editing": "a"}, "editing is not a list of texts"),
        ({"editing": [1]}, "editing is not a list of texts"),
        ({"editing": ["\ud800"]}, "surrogates not allowed"),
        ({"editing": ["a"] * (MAX_EDITING + 1)}, "more than 16 files are said to be open"),
        *(({"editing": [path]}, "no path") for path in ("", "/etc/passwd", "a\0b", "a/../b")),
        ({"editing": ["a" * 3000, "b" * 3000, "c" * 3000]}, "remarks are too long"),
        ({"echoes": -1}, "echoes is not a number from 0 to 1000"),
        ({"echoes": True}, "echoes is not a number from 0 to 1000"),
        ({"hook": "failed"}, "hook is not an object"),
        ({"hook": {"at": 1}}, "causes are not a list"),
        ({"hook": {"at": None, "causes": []}}, "at is not a number from 0 to"),
        ({"hook": {"at": 1, "causes": [], "command": 1}}, "command is not a text"),
    ],
)
def test_what_is_malformed_is_refused(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        from_object(value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"command": ""}, "command is empty"),
        ({"command": "x" * (MAX_TEXT + 1)}, "command is too long or not printable"),
        ({"problem": "\x1b[31m"}, "problem is too long or not printable"),
        ({"line": "a\nb"}, "line is too long or not printable"),
        ({"snapshot": SnapshotId("../../x")}, "snapshot is not an id"),
        ({"causes": (DeviceId("../x"),)}, "causes are too many or no device ids"),
        ({"causes": (DeviceId("laptop"),) * (MAX_CAUSES + 1)}, "causes are too many or no device ids"),
        ({"at_ms": -1}, "at is not a number from 0 to"),
        ({"at_ms": LAST_MS + 1}, "at is not a number from 0 to 253402300799999"),
    ],
)
def test_a_report_that_cannot_be_is_neither_said_nor_taken(change: dict[str, object], problem: str) -> None:
    wrong = Remarks(hook=replace(REPORT, **change))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=problem):
        check(wrong)
    with pytest.raises(ValueError, match=problem):
        from_object(json.loads(json.dumps(to_object(wrong))))


def test_an_announcement_with_malformed_remarks_is_refused() -> None:
    with pytest.raises(ValueError, match="echoes is not a number"):
        decode(with_header(remarks={"echoes": "many"}))


@given(st.text(max_size=400))
def test_whatever_a_program_prints_can_be_said(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert len(line) <= MAX_TEXT
    assert printable(line) == line or line.endswith("…")
    check(Remarks(hook=replace(REPORT, command="x", problem=line, line=line)))


def test_a_terminal_is_not_steered() -> None:
    raw = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b(B \x07 a\tb\r\n\u202ec\x1b"
    assert printable(raw) == "red link a b c"


def test_a_text_that_is_too_long_says_so() -> None:
    assert printable("a" * 301) == "a" * 299 + "…"
    assert printable("😀" * 300).endswith("😀…")


def test_all_that_is_chosen_to_be_said_fits_together() -> None:
    said = printable("\u00e4" * 1000)
    paths = tuple(RelPath(b"\xff" * 100 + b"%d" % n) for n in range(MAX_EDITING))
    devices = tuple(DeviceId("ä" * 100 + str(n)) for n in range(MAX_CAUSES))
    editing, causes = fitting(paths), nameable(devices)
    assert 0 < len(editing) < len(paths)
    assert editing == paths[: len(editing)]
    assert 0 < len(causes) < len(devices)
    assert causes == devices[: len(causes)]
    report = HookReport(at_ms=1, command=said, problem=said, line=said, snapshot=SnapshotId("a" * 64), causes=causes)
    check(Remarks(hook=report, echoes=1000, editing=editing))
    assert (fitting(paths[:1]), nameable(devices[:1])) == (paths[:1], devices[:1])
