"""What the tray icon shows and offers, as values: its icon, its words, its menu."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from autosync.glance import STOPPED, Glance, State, look_at


class Choice(Enum):
    """What can be chosen in the menu."""

    OPEN = "open"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the menu: words, or a separator without any; only one with a ``choice`` can be chosen."""

    number: int
    label: str = ""
    choice: Choice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What is to be seen.  ``title`` and ``words`` are plain text."""

    icon: str
    title: str
    words: str
    needs_attention: bool
    entries: tuple[Entry, ...]


def face_of(status: Mapping[str, Any] | None) -> Face:
    """Return what is to be seen for an agent's answer to ``status``, ``None`` if there is no agent."""
    glance = STOPPED if status is None else look_at(status)
    return Face(
        icon=f"autosync-{glance.state.value.replace(' ', '-')}",
        title=f"autosync: {glance.state.value}",
        words=glance.words,
        needs_attention=glance.state is State.PROBLEM,
        entries=tuple(_entries(glance, status)),
    )


def _entries(glance: Glance, status: Mapping[str, Any] | None) -> list[Entry]:
    found = [Entry(number=1, label=glance.words)]
    if glance.conflicts:
        count = "1 conflict" if glance.conflicts == 1 else f"{glance.conflicts} conflicts"
        found.append(Entry(number=2, label=f"Look at {count}…", choice=Choice.OPEN))
    found.append(Entry(number=3))
    phases = [w["phase"] for w in status["workspaces"]] if status is not None else []
    # Of several working copies some may be paused: then both are offered.
    if any(phase != "paused" for phase in phases):
        found.append(Entry(number=4, label="Pause", choice=Choice.PAUSE))
    if "paused" in phases:
        found.append(Entry(number=5, label="Resume", choice=Choice.RESUME))
    return [*found, Entry(number=6, label="Open the web page", choice=Choice.OPEN)]
