"""Waits for the first sync of a working copy that has just joined, and shows how far it is."""

from __future__ import annotations

import threading
import time
from typing import Any

from autosync.cli.peers import transfer_line
from autosync.cli.progress import Progress
from autosync.cli.table import plain
from autosync.control import NotRunning, call
from autosync.errors import TransientError

ALONE = 60.0
"""Seconds without any other device after which the wait ends."""
_LOOK_EVERY = 0.2
_ROUND = 2.0
"""Seconds that the agent waits for the others in one look."""


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
                    # The agent has looked at everything when it took it up. To look again in each round would never
                    # let one come to rest whose files take longer than a round.
                    answer = call(
                        state_dir, "sync", patience=_ROUND + 10, path=path, wait=True, timeout=_ROUND, look=False
                    )
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
    tell.step(f"First sync: {moving(status) or plain(status['phase']) + waiting} (with {names})")


def moving(status: dict[str, Any]) -> str:
    """Return what is being moved for a working copy, empty if nothing is."""
    return "; ".join(transfer_line(transfer, transfer["peer"]) for transfer in status.get("transfers", ()))
