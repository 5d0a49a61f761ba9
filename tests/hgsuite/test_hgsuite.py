"""The runner of Mercurial's own suite: what it makes of outcomes and differences, and one test of that suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hgsuite.__main__ import ROOT, choose
from tests.hgsuite.differences import judge
from tests.hgsuite.judging import Judge
from tests.hgsuite.record import Case, Record
from tests.hgsuite.runs import Outcome, Suite, outcomes

PRINTED = """running 3 tests using 1 parallel processes
.s
ERROR: test-status.t#dirstate-v2 output changed
!
Skipped test-convert-baz.t: missing feature: GNU Arch baz client
Failed test-status.t#dirstate-v2: output changed
# Ran 2 tests, 1 skipped, 1 failed.
python hash seed: 4077132067
"""
"""What the run-tests.py of 7.2.4 prints."""
REPORT = """testreport ={
    "test-convert-baz.t": {"cuser": "0.01", "diff": "", "result": "skip", "time": "0.221"},
    "test-rename.t": {"cuser": "0.31", "diff": "", "result": "success", "time": "34.345"},
    "test-status.t#dirstate-v2": {"cuser": "0.31", "diff": "x", "result": "failure", "time": "8.100"}
}"""
TEST = """  $ hg debugrequires
  dotencode
  fncache
  $ for f in a b; do
  >   hg debugindex $f
  > done
     rev linkrev nodeid
       0       0 1406e7411862
  $ hg status
  M a
""".splitlines()


def test_what_run_tests_reports_is_read() -> None:
    """The cases, with why they were skipped or failed and what they printed."""
    got = ("  $ hg status", "  ? a")
    assert outcomes(REPORT, PRINTED, {"test-status.t#dirstate-v2": got}) == {
        "test-convert-baz.t": Outcome("skip", 0.221, "missing feature: GNU Arch baz client"),
        "test-rename.t": Outcome("success", 34.345),
        "test-status.t#dirstate-v2": Outcome("failure", 8.1, "output changed", got),
    }


def test_a_listed_requirement_is_explained() -> None:
    """On a line of its own, and within a list."""
    got = [*TEST[:3], "  lwcopy-v1", *TEST[3:]]
    assert judge(TEST, got) == ({"the requirement is listed": 1}, "")
    lists = ["  $ hg debugupgraderepo", "     preserved: dotencode, fncache, store"]
    assert judge(lists, [lists[0], "     preserved: dotencode, fncache, lwcopy-v1, store"])[1] == ""
    bundle = ["  $ hg debugbundle b", "  stream2 -- {requirements: generaldelta%2Crevlogv1} (zstd !)"]
    assert judge(bundle, [bundle[0], "  stream2 -- {requirements: generaldelta%2Clwcopy-v1%2Crevlogv1}"])[1] == ""


def test_optional_lines_of_a_list_are_no_difference() -> None:
    """run-tests.py puts them elsewhere where one line more is printed; a requirement less is none of that."""
    expected = ["  $ hg debugrequires", "  fncache", "  persistent-nodemap (rust !)", "  store", "  tree (tree !)"]
    got = [expected[0], "  fncache", "  lwcopy-v1", expected[2], expected[4], "  store"]
    assert judge(expected, got) == ({"the requirement is listed": 1}, "")
    assert judge(expected, [line for line in got if line != "  fncache"])[1] != ""


def test_a_size_is_explained_where_storage_is_shown_and_nowhere_else() -> None:
    """A number in what debugindex prints may differ; the letters there may not, nor a number of status."""
    assert judge(TEST, [line.replace("  0       0", "  0      12") for line in TEST]) == ({"sizes on disk": 1}, "")
    assert judge(TEST, [line.replace("nodeid", "node") for line in TEST])[1] != ""
    streamed = [
        "  $ hg debugapplystreamclonebundle b",
        "  cloned 7 files / 2.6 KB in * seconds (* */sec) (glob) (zstd !)",
    ]
    assert judge(streamed, [streamed[0], "  cloned 7 files / 2.66 KB in 0.1 seconds (52.8 KB/sec)"])[1] == ""
    counted = ["  $ hg update", "  2 files updated"]
    assert judge(counted, ["  $ hg update", "  3 files updated"]) == (
        {},
        "  $ hg update\n-  2 files updated\n+  3 files updated\n",
    )


def test_an_error_that_names_the_extension_is_not_explained() -> None:
    """What hg help lists is one thing, a message another."""
    assert judge(["  $ hg cat a"], ["  $ hg cat a", "  abort: lwcopy-v1"])[1] != ""
    assert judge(["  $ hg cat a"], ["  $ hg cat a", "  abort: the source of lwcopy"])[1] != ""
    assert judge(["  $ hg help"], ["  $ hg help", "   lwcopy        store copies"])[1] == ""
    listed = ["  $ hg debugextensions", "  ext", "    bundled: no"]
    assert judge(listed, [*listed, "  lwcopy", "    bundled: no"])[1] == ""
    assert judge(listed, [listed[0], "  lwcopy", "    bundled: no"])[1] != ""


def test_the_loading_of_extensions_is_explained_where_it_is_asked_for() -> None:
    asks = "  $ hg foo --debug --config devel.debug.extensions=yes"
    first, last = "  > callbacks completed in * (glob)", "  > loaded 1 extensions, total time * (glob)"
    matched = "  > extension foo take a total of * to load (glob)"  # what fits is handed through as it was expected
    expected = [asks, "  - processing 1 entries", first, last, matched]
    printed = ["  - processing 3 entries", "  > uisetup for lwcopy took 3.1 ms", "  > callbacks completed in 5.3 us"]
    got = [asks, *printed, "  > loaded 3 extensions, total time 33.94 ms", matched]
    assert judge(expected, got)[1] == ""
    assert judge(expected, [*got, "  abort: unknown"])[1] != ""
    assert judge(["  $ hg foo", *expected[1:]], ["  $ hg foo", *got[1:]])[1] != ""


def test_the_list_explains_what_it_has_word_for_word(tmp_path: Path) -> None:
    """A file of the list is its reasons and the difference; another difference is none of it."""
    judge = Judge(Suite(tmp_path, tmp_path), tmp_path, tmp_path, None, tmp_path)
    (tmp_path / "test-a.t.diff").write_text("# because\n  $ hg status\n-  M a\n+  ? a\n")
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test-a.t").write_text("  $ hg status\n  M a\n")
    told = {
        "test-a.t#one": Outcome("failure", 1.0, "output changed", ("  $ hg status", "  ? a")),
        "test-a.t#two": Outcome("failure", 1.0, "output changed", ("  $ hg status", "  ! a")),
        "test-a.t#end": Outcome("failure", 1.0, "timed out"),
    }
    states = {name: judge._case(name, outcome).state for name, outcome in told.items()}
    assert states == {"test-a.t#one": "expected", "test-a.t#two": "unexplained", "test-a.t#end": "unexplained"}


def test_a_record_is_gone_on_with(tmp_path: Path) -> None:
    """What was known is read again; what a case printed is not kept."""
    record = Record.read(tmp_path / "record.json")
    record.tests["test-a.t"] = {"test-a.t": Case("explained", 1.5, "output changed", {"sizes on disk": 2}, "", ("a",))}
    record.light["test-a.t"] = 3
    record.write()
    again = Record.read(tmp_path / "record.json")
    assert again.cases() == {"test-a.t": Case("explained", 1.5, "output changed", {"sizes on disk": 2}, "")}
    assert again.light == {"test-a.t": 3}


def test_groups_hold_those_before_them(tmp_path: Path) -> None:
    """First what copies, then what touches how things are stored, then the rest."""
    for name, text in (("test-b.t", "  $ hg mv a b"), ("test-a.t", "  $ hg strip 1"), ("test-c.t", "  $ hg log")):
        (tmp_path / name).write_text(text)
    assert [choose(tmp_path, group) for group in ("copies", "storage", "all")] == [
        ["test-b.t"],
        ["test-b.t", "test-a.t"],
        ["test-b.t", "test-a.t", "test-c.t"],
    ]


def run(*arguments: str | Path) -> tuple[int, str]:
    """Return the exit code of the program, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hgsuite", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_what_nothing_explains_makes_it_fail(tmp_path: Path) -> None:
    """With the difference, and how often it was so."""
    record = Record(tmp_path / "record-7.2.4.json")
    record.tests["test-a.t"] = {"test-a.t": Case("unexplained", 1.0, "output changed", {}, "  $ hg status\n+  ? a\n")}
    record.write()
    code, printed = run("--directory", tmp_path, "--show")
    assert code == 1
    assert printed.startswith("--- test-a.t: output changed\n  $ hg status\n+  ? a\n\n1 tests, 1 cases run\n")
    assert "     1 FAILED with the extension only\n" in printed


@pytest.mark.timeout(600)  # a source distribution is fetched, once
def test_a_test_of_the_suite_passes_with_light_copies(request: pytest.FixtureRequest) -> None:
    """A short one of those that copy."""
    directory = request.config.cache.mkdir("hgsuite")  # type: ignore[union-attr]  # the plugin is part of pytest
    (directory / "record-7.2.4.json").unlink(missing_ok=True)
    code, printed = run("--directory", directory, "--without-chg", "test-diff-copy-depth.t")
    assert code == 0, printed
    assert "1 tests, 1 cases run\n     1 passed\n" in printed
    assert "     4 light revisions written, by 1 tests\n" in printed
