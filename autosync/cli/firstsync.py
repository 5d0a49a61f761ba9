"""Waits for the first sync of a working copy that has just joined, and shows how far it is."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import click

from autosync.cli.table import plain
from autosync.control import NotRunning, call
from autosync.errors import TransientError

ALONE = 60.0
"""Seconds without any other device after which the wait ends."""
_LOOK_EVERY = 0.2
_ROUND = 2.0
"""Seconds that the agent waits for the others in one look."""


class Progress:
    """Tells the user what happens; on a terminal a passing line is replaced by the next."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shows_passing = sys.stderr.isatty()
        self._passing = ""

    def beside_a_log(self) -> None:
        """From here on there are no passing lines: a log is written to the same terminal, and tells the same."""
        self._shows_passing = False

    def say(self, text: str, *, passing: bool = False) -> None:
        """Print a line on standard error; a ``passing`` one only on a terminal."""
        if self._quiet or (passing and (not self._shows_passing or text == self._passing)):
            return
        self.clear()
        click.echo(text, err=True, nl=not passing)
        self._passing = text if passing else ""

    def clear(self) -> None:
        """Take a passing line away."""
        if self._passing:
            click.echo("\r\x1b[K", err=True, nl=False)
        self._passing = ""


def first_sync(state_dir: str, path: str, tell: Progress, stop: threading.Event) -> dict[str, Any]:
    """Wait until the working copy at ``path`` is equal to those of the others, or until ``stop`` is set.

    Returns ``state``: ``in sync`` (with ``conflicts``, their number), ``halted`` (with ``title`` and
    ``hint``) or ``alone``, if no other device was reached for a minute or until the stop.
    """
    began = time.monotonic()
    while not stop.is_set():
        try:
            status = _status(state_dir, path)
            if status is not None:
                if status["halt"]:
                    return {"state": "halted", "title": status["halt"]["title"], "hint": status["halt"]["hint"]}
                _show(status, tell)
                if any(peer["tree"] for peer in status["peers"]):
                    answer = call(state_dir, "sync", patience=_ROUND + 10, path=path, wait=True, timeout=_ROUND)
                    if answer["synced"]:
                        return {"state": "in sync", "conflicts": _conflicts(state_dir, path)}
                elif time.monotonic() - began > ALONE:
                    return {"state": "alone"}
        except NotRunning:
            if time.monotonic() - began > ALONE:
                return {"state": "alone"}
        except TransientError:
            pass  # busy: asked again
        stop.wait(_LOOK_EVERY)
    return {"state": "alone"}


def _status(state_dir: str, path: str) -> dict[str, Any] | None:
    found = call(state_dir, "status")["workspaces"]
    return next((workspace for workspace in found if workspace["path"] == path), None)


def _conflicts(state_dir: str, path: str) -> int:
    return len(call(state_dir, "conflicts", path=path)["conflicts"])


def _show(status: dict[str, Any], tell: Progress) -> None:
    names = ", ".join(plain(peer["device"]) for peer in status["peers"]) or "nobody yet"
    waiting = f", {plain(status['waiting-for'])}" if status.get("waiting-for") else ""
    tell.say(f"First sync: {plain(status['phase'])}{waiting} (with {names}) …", passing=True)
