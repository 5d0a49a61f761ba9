"""Settings of all tests: repeatable cases in CI, and the figures that a run proves."""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator

# Each process that a test starts asserts in which order it takes its locks; read as autosync is loaded.
os.environ["AUTOSYNC_CHECK_LOCKS"] = "yes"

import pytest
from hypothesis import HealthCheck, settings

from tests import figures

# No test depends on how fast the machine is.
settings.register_profile("autosync", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("autosync"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "autosync")


MEASURED = 2
"""One of so many tests has the other processes that it starts measured, which makes them take half as long again."""
LONGEST = ("core", "system", "docs", "packaging", "edges", "fuzz", "backends")
"""Directories in the order in which they begin: what takes long does not begin last, when others have ended."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to count; the processes that share the work (pytest-xdist) add to one count."""
    if not hasattr(session.config, "workerinput"):
        figures.forget()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest."""

    def place(item: pytest.Item) -> int:
        directory = item.path.parent.name
        return LONGEST.index(directory) if directory in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep most tests from measuring other processes than this one; always the same tests."""
    hidden = {}
    if zlib.crc32(item.nodeid.encode()) % MEASURED:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("COVERAGE_PROCESS_")}
    try:
        return (yield)
    finally:
        os.environ.update(hidden)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let what a test has logged of names that are not UTF-8 go to the process that reports it."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was tried."""
    found = list(figures.lines())
    if found:
        terminalreporter.section("what was tried")
        for line in found:
            terminalreporter.write_line(line)
