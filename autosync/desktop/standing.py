"""Makes popups of how things stand: what is held, halted or cut off, and that it is no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autosync.core.brakes import HELD_HINT, Brake
from autosync.desktop.popup import Button, Ignore, Kind, Popup, Release

_NAMED = 5
_IGNORED_AT_ONCE = 20
"""Paths beyond which a button would ignore more than can be looked through."""


@dataclass(slots=True)
class _Cut:
    since: float
    told: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """The popup ``key`` tells of what is no more."""

    key: str


@dataclass(slots=True)
class Standing:
    """Compares each status of the agent with the one before; times are seconds of any monotonic clock.

    ``lost_after`` is how long a server is away before that is told.
    """

    lost_after: float
    _held: dict[str, frozenset[str]] = field(default_factory=dict)
    _halts: dict[str, tuple[str, str]] = field(default_factory=dict)
    _cuts: dict[str, _Cut] = field(default_factory=dict)
    _count: int = 0

    def compare(self, status: Mapping[str, Any], told: Iterable[Mapping[str, Any]], now: float) -> list[Popup | Gone]:
        """Return what is new in ``status``; ``told`` are the activities ``told`` since the last time."""
        found: list[Popup | Gone] = []
        titles: list[str] = []
        for workspace in status["workspaces"]:
            if workspace["halt"]:
                titles.append(workspace["halt"]["title"])
            found += self._of_held(workspace)
            found += self._of_halt(workspace)
        found += self._of_channels(status["channels"], now)
        found += [self._of_told(t) for t in told if not _is_known(t["text"], titles)]
        return found

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _of_held(self, workspace: Mapping[str, Any]) -> list[Popup | Gone]:
        key, held = f"held {workspace['path']}", workspace["held"]
        listed = frozenset(h["path"] for h in held["paths"])
        before = self._held.get(key, frozenset())
        self._held[key] = listed
        if not listed:
            return [Gone(key)] if before else []
        return [_held(workspace, key, self._next())] if listed - before else []

    def _of_halt(self, workspace: Mapping[str, Any]) -> list[Popup | Gone]:
        key, halt = f"halt {workspace['path']}", workspace["halt"]
        before = self._halts.pop(key, None)
        if halt is None:
            return [Gone(key)] if before else []
        self._halts[key] = (halt["title"], halt["hint"])
        if before == self._halts[key]:
            return []
        return [
            Popup(
                kind=Kind.HALT,
                key=key,
                title=f"{workspace['name']} is not in sync: {halt['title']}",
                lines=(halt["hint"],),
                burst=self._next(),
                lasting=True,
            )
        ]

    def _of_channels(self, channels: Sequence[Mapping[str, Any]], now: float) -> list[Popup | Gone]:
        found: list[Popup | Gone] = []
        for channel in channels:
            name = channel["kind"]
            if name in ("lan", "none"):  # which needs no server
                continue
            if channel["state"] == "online":
                cut = self._cuts.pop(name, None)
                if cut is not None and cut.told:
                    was = f"It was not for {_span(now - cut.since)}."
                    found.append(self._of_server(name, "is connected again", (was,), lasting=False))
                continue
            cut = self._cuts.setdefault(name, _Cut(since=now))
            if not cut.told and now - cut.since >= self.lost_after:
                cut.told = True
                lines = (channel["detail"] or "", "Other ways to the devices go on, and it is tried again by itself.")
                span = _span(now - cut.since)
                found.append(self._of_server(name, f"has not been connected for {span}", lines, lasting=True))
        return found

    def _of_server(self, name: str, what: str, lines: tuple[str, ...], *, lasting: bool) -> Popup:
        return Popup(
            kind=Kind.CONNECTION,
            key=f"connection {name}",
            title=f"{_server(name)} {what}",
            lines=lines,
            burst=self._next(),
            lasting=lasting,
        )

    def _of_told(self, activity: Mapping[str, Any]) -> Popup:
        return Popup(
            kind=Kind.HALT,
            key=f"told {activity['workspace']}",
            title=f"{activity['workspace']} needs you",
            lines=(activity["text"],),
            burst=self._next(),
            lasting=True,
        )


def _held(workspace: Mapping[str, Any], key: str, burst: int) -> Popup:
    held, root, name = workspace["held"], workspace["path"], workspace["name"]
    paths = tuple(h["path"] for h in held["paths"])
    complete = len(paths) == held["count"]
    only_deleted = set(held["reasons"]) <= {brake.name.lower() for brake in (Brake.DELETION, Brake.PLACE)}
    all_of_it = Release(root=root, paths=(), count=held["count"])
    buttons = [Button("Sync", Release(root=root, paths=paths) if complete else all_of_it)]
    if only_deleted:
        buttons.append(Button("Restore", Release(root=root, paths=(), restore=True)))
    elif complete and len(paths) <= _IGNORED_AT_ONCE:
        buttons.append(Button("Ignore", Ignore(root=root, paths=paths)))
    if held["count"] == 1:
        title, lines = f"{name} holds back {paths[0]}", (f"It {held['paths'][0]['text']}.",)
    else:
        title = f"{name} holds back {held['count']:,} paths"
        reasons = [f"{count:,} because each {Brake[reason.upper()].value}" for reason, count in held["reasons"].items()]
        rest = held["count"] - min(len(paths), _NAMED)
        lines = (*reasons, *paths[:_NAMED], *([f"and {rest:,} more"] if rest else []))
    return Popup(
        kind=Kind.HELD,
        key=key,
        title=title,
        lines=lines,
        buttons=tuple(buttons),
        instead="`autosync explain` lists what is held, `autosync release PATH` sends it.",
        burst=burst,
        lasting=True,
    )


def _is_known(text: str, titles: Sequence[str]) -> bool:
    """Return whether the status has a better popup of what was told."""
    return text.endswith(HELD_HINT) or any(text.startswith(title) for title in titles)


def _server(kind: str) -> str:
    return {"xmpp": "The XMPP server", "reflector": "The reflector", "fanout": "The fanout server"}.get(kind, kind)


def _span(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes >= 120:
        return f"{minutes // 60} hours"
    return f"{minutes} minutes" if minutes > 1 else f"{int(seconds)} seconds" if minutes < 1 else "1 minute"
