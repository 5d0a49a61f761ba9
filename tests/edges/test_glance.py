"""How an agent's status looks at a glance."""

from __future__ import annotations

from typing import Any

import pytest

from autosync.glance import State, look_at


def workspace(name: str = "notes", **changes: Any) -> dict[str, Any]:
    usual = {"phase": "watching", "pending": 0, "halt": None, "held": {"count": 0}, "conflicts": [], "peers": []}
    return {"name": name, **usual, **changes}


def peer(name: str, state: str) -> dict[str, Any]:
    return {"device": name, "id": f"{name}-1", "state": state}


HALT = {"title": "The folder is gone", "hint": "Mount it."}


@pytest.mark.parametrize(
    ("workspaces", "state", "words"),
    [
        ([], State.ALONE, "Nothing is configured to be kept in sync"),
        ([workspace()], State.ALONE, "All is recorded; no other device yet"),
        (
            [workspace(peers=[peer("a", "away"), peer("b", "halted")])],
            State.ALONE,
            "All is recorded; of 2 devices none is there",
        ),
        ([workspace(peers=[peer("b", "equal"), peer("a", "equal")])], State.IN_SYNC, "In sync with a, b"),
        ([workspace(peers=[peer("b", "equal"), peer("a", "away")])], State.IN_SYNC, "In sync with b"),
        ([workspace(peers=[peer("b", "equal"), peer("a", "behind")])], State.WORKING, "Waiting for a"),
        ([workspace(peers=[peer("a", "unknown")])], State.WORKING, "Waiting for a"),
        ([workspace(phase="applying"), workspace("w")], State.WORKING, "notes at work"),
        ([workspace(pending=1)], State.WORKING, "notes at work: 1 path to look at"),
        ([workspace(phase="paused")], State.PAUSED, "Paused"),
        ([workspace(phase="paused"), workspace("w")], State.PAUSED, "Paused: notes"),
        ([workspace(conflicts=[{}, {}], phase="paused")], State.PROBLEM, "2 conflicts to look at"),
        ([workspace(held={"count": 3})], State.ALONE, "All is recorded; no other device yet; 3 held back"),
        (
            [workspace(halt=HALT, conflicts=[{}]), workspace("w", halt=HALT)],
            State.PROBLEM,
            "notes is halted: The folder is gone, and 1 more",
        ),
    ],
)
def test_what_counts_most_is_said(workspaces: list[dict[str, Any]], state: State, words: str) -> None:
    glance = look_at({"workspaces": workspaces})
    assert (glance.state, glance.words) == (state, words)
