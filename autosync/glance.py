"""Says in a word and a sentence how an agent's answer to ``status`` looks at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class State(Enum):
    """How all working copies together are; the first that holds counts."""

    STOPPED = "stopped"  # there is no agent
    PROBLEM = "problem"  # somebody has to act: halted, conflicts
    PAUSED = "paused"
    WORKING = "working"  # a change is on its way, or a device that is there has not confirmed yet
    ALONE = "alone"  # nothing is pending, and no other device is there to confirm it
    IN_SYNC = "in sync"  # every device that is there has confirmed the same content


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """``words`` is a sentence without a full stop; ``conflicts`` and ``held`` are counts."""

    state: State
    words: str
    conflicts: int = 0
    held: int = 0


STOPPED = Glance(state=State.STOPPED, words="The agent is not running")
_AWAY = ("away", "paused", "halted")
"""States of peers of which no confirmation can be expected now."""


def look_at(status: Mapping[str, Any]) -> Glance:
    """Return how ``status``, a running agent's answer, looks; only what devices have confirmed counts as synced."""
    workspaces = status["workspaces"]
    conflicts = sum(len(w["conflicts"]) for w in workspaces)
    held = sum(w["held"]["count"] for w in workspaces)
    state, words = _state(workspaces, conflicts)
    besides = [_count(conflicts, "conflict")] if conflicts and state is not State.PROBLEM else []
    besides += [f"{held} held back"] if held else []
    return Glance(state=state, words="; ".join([words, *besides]), conflicts=conflicts, held=held)


def _state(workspaces: list[Mapping[str, Any]], conflicts: int) -> tuple[State, str]:
    if not workspaces:
        return State.ALONE, "Nothing is configured to be kept in sync"
    halted = [w for w in workspaces if w["halt"]]
    if halted:
        more = f", and {len(halted) - 1} more" if len(halted) > 1 else ""
        return State.PROBLEM, f"{halted[0]['name']} is halted: {halted[0]['halt']['title']}{more}"
    if conflicts:
        return State.PROBLEM, f"{_count(conflicts, 'conflict')} to look at"
    paused = [w["name"] for w in workspaces if w["phase"] == "paused"]
    if paused:
        return State.PAUSED, "Paused" if len(paused) == len(workspaces) else f"Paused: {', '.join(paused)}"
    busy = [w for w in workspaces if w["pending"] or w["phase"] != "watching"]
    if busy:
        pending = sum(w["pending"] for w in busy)
        what = f": {_count(pending, 'path')} to look at" if pending else ""
        return State.WORKING, f"{', '.join(w['name'] for w in busy)} at work{what}"
    peers = [p for w in workspaces for p in w["peers"]]
    here = [p for p in peers if p["state"] not in _AWAY]
    behind = sorted({p["device"] for p in here if p["state"] != "equal"})
    if behind:
        return State.WORKING, f"Waiting for {', '.join(behind)}"
    if not here:
        known = (
            f"of {_count(len({p['id'] for p in peers}), 'device')} none is there" if peers else "no other device yet"
        )
        return State.ALONE, f"All is recorded; {known}"
    return State.IN_SYNC, f"In sync with {', '.join(sorted({p['device'] for p in here}))}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
