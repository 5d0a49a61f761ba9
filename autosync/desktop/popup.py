"""What is told on the desktop, as values: popups, their buttons, and what a button asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a popup is about; the values are the keys of the configuration's group ``popups:``."""

    ARRIVED = "arrived"
    CONFLICT = "conflict"
    HELD = "held"
    CONNECTION = "connection"
    HALT = "halt"
    HOOK = "hook"
    COMMIT = "commit"
    PRESENCE = "presence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """Open the folder that ``path`` lies in; it is below ``root``."""

    root: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolve:
    """Finish the conflict of ``path`` (as it is shown) below ``root``: keep ``mine`` or ``theirs``."""

    root: str
    path: str
    copy: str
    keep: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Send what is held at ``paths`` (as they are shown; empty: all) below ``root``, or bring it back.

    All is sent only if it is as much as ``count`` says: what was held later was not seen.
    """

    root: str
    paths: tuple[str, ...]
    restore: bool = False
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore:
    """Never sync ``paths`` (as they are shown) below ``root``."""

    root: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Describe:
    """Ask for a better message for the commit ``commit`` in ``root``."""

    root: str
    commit: str


Deed = Show | Resolve | Release | Ignore | Describe


@dataclass(frozen=True, slots=True)
class Button:
    """One thing that can be done about a popup."""

    label: str
    deed: Deed


@dataclass(frozen=True, slots=True, kw_only=True)
class Popup:
    """One popup; a newer one with the same ``key`` takes its place.

    ``title`` and ``lines`` are plain text that anything may be in: whoever shows them escapes them.
    ``instead`` says what to do where there are no buttons.  ``burst`` counts the popups of one key that tell of
    different things: once one was closed, it does not come back with more of the same.
    What is ``lasting`` does, and is still told when the quiet hours are over.
    """

    kind: Kind
    key: str
    title: str
    lines: tuple[str, ...] = ()
    buttons: tuple[Button, ...] = ()
    instead: str = ""
    burst: int = 0
    lasting: bool = False
