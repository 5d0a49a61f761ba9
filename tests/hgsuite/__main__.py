"""Runs Mercurial's own test suite with ``lwcopy`` on every repository: ``python -m tests.hgsuite --help``."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

from tests.hgsuite.judging import SETTLED, Judge, in_chunks, settle
from tests.hgsuite.mercurials import SHA256, chg, environment, lend, source
from tests.hgsuite.record import STATES, Case, Record
from tests.hgsuite.runs import Suite

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "autosync" / "hgext" / "lwcopy"
LISTED = Path(__file__).parent / "expected"
CHUNK = 10
"""Tests between two writings of the record."""
GROUPS = {
    "copies": re.compile(rb"\bhg\b.* (mv|move|rename|cp|copy)\b|addremove|--similarity|copies"),
    "storage": re.compile(
        rb"debugupgrade|debugrevlog|debugindex|debugdata|strip|censor|bundle|largefiles|lfs|hg share|--stream|hg verify"
    ),
    "all": re.compile(rb""),
}
"""What the text of a test has in it; each group contains those before it."""


CONFIG = {
    "extensions.lwcopy": "{place}/lwcopy",
    "format.lwcopy": "yes",
    "extensions.forcing": os.fspath(Path(__file__).parent / "forcing.py"),
}
"""What makes every repository one with light revisions, of whatever size, and counts them."""


def choose(tests: Path, group: str) -> list[str]:
    """Return the tests of a group, those of the groups before it first."""
    places = sorted([*tests.glob("test-*.t"), *tests.glob("test-*.py")])
    chosen: dict[str, None] = {}
    for name, pattern in GROUPS.items():
        chosen |= {place.name: None for place in places if pattern.search(place.name.encode() + place.read_bytes())}
        if name == group:
            break
    return list(chosen)


def count_light(place: Path) -> dict[str, int]:
    """Return how many light revisions each test has written since the last call."""
    if not place.exists():
        return {}
    counts = Counter(place.read_text(encoding="utf-8").split())
    place.unlink()
    return dict(counts)


def show(record: Record) -> None:
    """Print the sums, each case that failed only with the extension, and its difference."""
    cases = record.cases()
    failed = {name: case for name, case in cases.items() if case.state not in SETTLED}
    for name, case in sorted(failed.items()):
        print(f"--- {name}: {case.why}\n{case.different}")
    classes: Counter[str] = Counter()
    for case in cases.values():
        classes.update(case.explained)
    print(f"{len(record.tests)} tests, {len(cases)} cases run")
    for state, words in STATES.items():
        print(f"{sum(case.state == state for case in cases.values()):6} {words}")
    for name, count in classes.most_common():
        print(f"{count:6} differences explained: {name}")
    print(f"{sum(record.light.values()):6} light revisions written, by {len(record.light)} tests")


def accept(judge: Judge, cases: dict[str, Case], why: str) -> None:
    """Write the differences of failed cases into the list of those that are expected."""
    judge.listed.mkdir(parents=True, exist_ok=True)
    for name, case in cases.items():
        if case.state not in SETTLED and case.different:
            text = f"# {why}\n{case.different}"
            (judge.listed / f"{name}.diff").write_bytes(text.encode("utf-8", "surrogateescape"))
            case.state = "expected"


def main() -> int:
    """Return 1 if anything fails with the extension only, and nothing explains it."""
    parser = argparse.ArgumentParser(prog="python -m tests.hgsuite", description=__doc__)
    parser.add_argument("tests", nargs="*", help="run these (test-mv.t …), also if they are known already")
    parser.add_argument("--mercurial", default="7.2.4", choices=list(SHA256), help="version")
    parser.add_argument("--group", default="all", choices=list(GROUPS), help="which tests, if none is named")
    parser.add_argument("--directory", type=Path, default=ROOT / "build" / "hgsuite", help="what is fetched and known")
    parser.add_argument("--extension", type=Path, default=EXTENSION, help="which lwcopy; a copy of it is used")
    parser.add_argument("--python", default=sys.executable, help="Python that runs Mercurial")
    parser.add_argument("--jobs", type=int, default=1, help="tests at a time")
    parser.add_argument("--port", type=int, default=20059, help="first port that tests may use")
    parser.add_argument("--without-chg", action="store_true", help="start each hg anew: slow, and as most people do")
    parser.add_argument("--failed", action="store_true", help="run again what failed")
    parser.add_argument("--show", action="store_true", help="run nothing; print what is known")
    parser.add_argument("--accept", metavar="WHY", help="list the differences of the tests named as expected")
    options = parser.parse_args()
    version, directory = options.mercurial, options.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    record = Record.read(directory / f"record-{version}.json")
    if not options.show:
        run(options, record)
    settle(record.cases(), LISTED / version)
    show(record)
    return int(any(case.state not in SETTLED for case in record.cases().values()))


def run(options: argparse.Namespace, record: Record) -> None:
    """Run what is asked for, and record it test by test."""
    version, directory = options.mercurial, options.directory.absolute()
    unpacked = source(version, directory)
    vanilla = environment(version, directory, options.python)
    suite = Suite(unpacked, directory / f"output-{version}", jobs=options.jobs, port=options.port)
    lent = lend(vanilla, directory / f"lwcopy-{version}", CONFIG)
    shutil.copytree(options.extension, lent / "lwcopy")
    judge = Judge(suite, lent, vanilla, None if options.without_chg else chg(unpacked), LISTED / version)
    tests = options.tests or [
        test
        for test in choose(unpacked / "tests", options.group)
        if test not in record.tests
        or (options.failed and any(case.state not in SETTLED for case in record.tests[test].values()))
    ]
    for chunk in in_chunks(tests, CHUNK):
        cases = judge.cases(chunk)
        if options.accept and options.tests:
            accept(judge, cases, options.accept)
        for test in chunk:
            record.tests[test] = {name: case for name, case in cases.items() if name.partition("#")[0] == test}
            record.light.pop(test, None)
        for name, count in count_light(suite.light).items():
            test = name.partition("#")[0]
            record.light[test] = record.light.get(test, 0) + count
        record.write()
        states = Counter(case.state for case in cases.values())
        print(", ".join(f"{count} {state}" for state, count in states.items()), f"({chunk[0]} …)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
