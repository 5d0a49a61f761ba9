"""Settings of all tests: repeatable cases in CI, and the figures that a run proves."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests import figures

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to count; the processes that share the work (pytest-xdist) add to one count."""
    if not hasattr(session.config, "workerinput"):
        figures.forget()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what was tried."""
    found = list(figures.lines())
    if found:
        terminalreporter.section("what was tried")
        for line in found:
            terminalreporter.write_line(line)
