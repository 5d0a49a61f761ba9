"""Gathers what happened into popups: a burst of it is one, that counts on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autosync.desktop.popup import Button, Describe, Kind, Popup, Resolve, Show

QUIET = 10.0
"""Seconds without news that end a burst."""
_NAMED = 5
"""Names that one popup tells."""
_REMEMBERED = 1000
"""Names of one burst that are told apart; a save of one of the others counts again."""


@dataclass(slots=True)
class _Burst:
    number: int = 0
    last: float = float("-inf")
    names: dict[str, None] = field(default_factory=dict)
    unnamed: int = 0
    whose: dict[str, None] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)

    def take(self, activity: Mapping[str, Any], whose: str, now: float) -> None:
        if now - self.last > QUIET:
            self.number += 1
            self.names, self.unnamed, self.whose, self.first = {}, 0, {}, activity
        self.last = now
        self.whose[whose] = None
        paths = activity["paths"]
        self.unnamed += max(activity["count"] - len(paths), 0)
        for path in paths:
            if path in self.names or len(self.names) < _REMEMBERED:
                self.names[path] = None
            else:
                self.unnamed += 1

    @property
    def count(self) -> int:
        return len(self.names) + self.unnamed

    def lines(self) -> tuple[str, ...]:
        named = tuple(self.names)[:_NAMED]
        rest = self.count - len(named)
        return (*named, f"and {rest:,} more") if rest and named else named


class Arrivals:
    """Popups of single happenings, from the agent's activities; times are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._bursts: dict[str, _Burst] = {}

    def take(self, activity: Mapping[str, Any], root: str | None, now: float) -> Popup | None:
        """Return the popup that ``activity`` makes, or changes; ``root`` is its working copy's folder."""
        match activity["kind"]:
            case "applied":
                return self._arrived(activity, root, now)
            case "conflict":
                return self._conflict(activity, root, now)
            case "hook-failed" | "hook-recovered":
                return self._hook(activity, now)
            case "presence":
                key = f"presence {activity['workspace']} {activity.get('made_by', '')}"
                burst = self._burst(key, activity, now)
                return Popup(kind=Kind.PRESENCE, key=key, title=str(activity["text"]), lines=(), burst=burst.number)
            case _:
                return None

    def answered(self, workspace: str, path: str) -> None:
        """Take note that a conflict was finished: it counts no more."""
        burst = self._bursts.get(f"conflict {workspace}")
        if burst is not None:
            burst.names.pop(path, None)

    def _burst(self, key: str, activity: Mapping[str, Any], now: float, whose: str = "") -> _Burst:
        burst = self._bursts.setdefault(key, _Burst())
        burst.take(activity, whose, now)
        return burst

    def _hook(self, activity: Mapping[str, Any], now: float) -> Popup:
        key = f"hook {activity['workspace']} {activity.get('made_by', '')}"
        title, _, rest = str(activity["text"]).partition("\n")
        burst = self._burst(key, activity, now)
        return Popup(
            kind=Kind.HOOK,
            key=key,
            title=title or "A hook failed",
            lines=tuple(rest.splitlines()[:_NAMED]),
            burst=burst.number,
            lasting=activity["kind"] == "hook-failed",
        )

    def _arrived(self, activity: Mapping[str, Any], root: str | None, now: float) -> Popup | None:
        if not activity["count"]:  # only commits moved
            return None
        key = f"arrived {activity['workspace']}"
        burst = self._burst(key, activity, now, str(activity["text"]).replace("+", " and "))
        files = "1 file" if burst.count == 1 else f"{burst.count:,} files"
        buttons: tuple[Button, ...] = ()
        if root is not None and burst.names:
            buttons = (Button("Show", Show(root=root, path=next(iter(burst.names)))),)
        return Popup(
            kind=Kind.ARRIVED,
            key=key,
            title=f"{activity['workspace']}: {files} from {', '.join(burst.whose)}",
            lines=burst.lines(),
            buttons=buttons,
            burst=burst.number,
        )

    def _conflict(self, activity: Mapping[str, Any], root: str | None, now: float) -> Popup:
        name = activity["workspace"]
        key = f"conflict {name}"
        # Those of which the text alone tells have no path: "7 more files in two versions".
        counted = {**activity, "paths": activity["paths"] or (), "count": max(activity["count"], 1)}
        burst = self._burst(key, counted, now)
        if burst.count > 1 or not activity["paths"] or root is None:
            show = (Button("Show", Show(root=root, path=next(iter(burst.names), ""))),) if root is not None else ()
            return Popup(
                kind=Kind.CONFLICT,
                key=key,
                title=f"{name}: conflicts in {burst.count:,} files",
                lines=(*burst.lines(), "Both versions of each were kept; `autosync conflicts` lists them."),
                buttons=show,
                burst=burst.number,
                lasting=True,
            )
        path, copy = activity["paths"][0], activity["copy"]
        buttons = [Button("Show", Show(root=root, path=copy or path))]
        if copy:
            ways = (("Keep mine", "mine"), ("Keep theirs", "theirs"))
            buttons += [Button(label, Resolve(root=root, path=path, copy=copy, keep=keep)) for label, keep in ways]
        return Popup(
            kind=Kind.CONFLICT,
            key=key,
            title=f"{name}: conflict in {path}",
            lines=(activity["text"].removeprefix(f"{path}: "),),
            buttons=tuple(buttons),
            instead="`autosync conflicts` shows both; `autosync resolve FILE --keep mine|theirs|both` ends it."
            if copy
            else "",
            burst=burst.number,
            lasting=True,
        )


def committed(activity: Mapping[str, Any], root: str, subject: str) -> Popup:
    """Return the popup of a commit that autosync has made, whose message begins with ``subject``."""
    return Popup(
        kind=Kind.COMMIT,
        key=f"commit {activity['workspace']}",
        title=f"{activity['workspace']}: committed",
        lines=(subject,),
        buttons=(Button("Describe…", Describe(root=root, commit=activity["text"])),),
        instead="`autosync describe` gives it a better message until it is pushed.",
        burst=int(activity["at_ms"]),
    )
