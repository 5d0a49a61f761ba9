"""Follows the demo's agents: who saved what, and when each device had it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from autosync.cli.demo.fleet import DemoDevice
from autosync.errors import AutosyncError

SAVE_TOLD_WITHIN = 2.0
"""Seconds after which a snapshot that has arrived, but that nobody has told to have saved, is told as a merge."""
_EARLY = 100
"""Snapshots of which it is remembered where they arrived before anybody told to have saved them."""


@dataclass(slots=True)
class Save:
    """One save: which device, which paths, when (ms since the epoch), and who had it when by which lane."""

    device: str
    paths: tuple[str, ...]
    count: int
    at_ms: float
    arrivals: dict[str, tuple[float, str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Early:
    """An arrival of a snapshot that nobody has told to have saved, heard at ``heard_at`` (monotonic)."""

    device: str
    paths: tuple[str, ...]
    count: int
    at_ms: float
    lane: str
    heard_at: float
    shown: bool = False


class LiveLog:
    """Gathers what happens on all devices and prints a line for each thing.

    What is saved may arrive, and that be told, before its maker has found out which paths it tells of.
    """

    def __init__(self, devices: Iterable[DemoDevice], show: Callable[[str], None]) -> None:
        self.saves: dict[str, Save] = {}
        self._early: dict[str, list[_Early]] = {}
        self._devices = list(devices)
        self._show = show
        self._news: queue.Queue[dict[str, Any]] = queue.Queue()
        self._ending = threading.Event()
        self._starts = {d.name: d.ask("activity", since=1 << 60)["next"] for d in self._devices}
        self._threads = [threading.Thread(target=self._follow, args=(d,), daemon=True) for d in self._devices]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop following; what may have been saved or merged is shown as merged."""
        self._ending.set()
        for thread in self._threads:
            thread.join(2)
        self._show_merges(time.monotonic())

    def pump(self, seconds: float) -> bool:
        """Show what happens within ``seconds``; returns after the first thing, and whether there was one."""
        heard = False
        try:
            self._take(self._news.get(timeout=seconds))
            heard = True
            while True:
                self._take(self._news.get_nowait())
        except queue.Empty:
            pass
        self._show_merges(time.monotonic() - SAVE_TOLD_WITHIN)
        return heard

    @property
    def is_undecided(self) -> bool:
        """Whether anything has arrived that may still be told to have been saved, and was not shown yet."""
        return any(not early.shown for arrivals in self._early.values() for early in arrivals)

    def _follow(self, device: DemoDevice) -> None:
        since = self._starts[device.name]
        while not self._ending.is_set():
            try:
                answer = device.ask("activity", since=since, wait=1.0)
            except AutosyncError:
                if self._ending.wait(0.2):
                    return
                continue
            since = answer["next"]
            for activity in answer["activities"]:
                self._news.put(activity)

    def _take(self, activity: dict[str, Any]) -> None:
        device, kind = activity["device"], activity["kind"]
        if kind == "saved":
            save = self._save_of(activity)
            for early in self._early.pop(activity["snapshot"], ()):
                save.arrivals[early.device] = (early.at_ms, early.lane)
            self._show(f"{device:8} saved    {self._listed(save.paths, save.count)}")
            for other, (at_ms, lane) in save.arrivals.items():
                self._show_arrival(save, other, at_ms, lane)
        elif kind == "applied":
            known = self.saves.get(activity["snapshot"])
            if known is None:
                self._keep(activity)
                return
            known.arrivals[device] = (activity["at_ms"], activity["lane"])
            self._show_arrival(known, device, activity["at_ms"], activity["lane"])
        elif kind in ("told", "conflict"):
            self._show(f"{device:8} note     {activity['text']}")

    def _keep(self, activity: dict[str, Any]) -> None:
        early = _Early(
            device=activity["device"],
            paths=tuple(activity["paths"]),
            count=activity["count"],
            at_ms=activity["at_ms"],
            lane=activity["lane"],
            heard_at=time.monotonic(),
        )
        self._early.setdefault(activity["snapshot"], []).append(early)
        while len(self._early) > _EARLY:
            self._show_as_merged(self._early.pop(next(iter(self._early))))

    def _show_merges(self, heard_until: float) -> None:
        """Show what has arrived until then, and nobody has saved; a save that is told later still counts it."""
        for arrivals in self._early.values():
            self._show_as_merged(early for early in arrivals if early.heard_at <= heard_until)

    def _show_as_merged(self, arrivals: Iterable[_Early]) -> None:
        for early in arrivals:
            if not early.shown:
                early.shown = True
                self._show(f"{early.device:8} merged   {self._listed(early.paths, early.count)}")

    def _save_of(self, activity: dict[str, Any]) -> Save:
        save = Save(
            device=activity["device"],
            paths=tuple(activity["paths"]),
            count=activity["count"],
            at_ms=self._saved_at_ms(activity),
        )
        self.saves[activity["snapshot"]] = save
        return save

    def _saved_at_ms(self, activity: dict[str, Any]) -> float:
        """Return when the newest of the named files was written or renamed, else when the agent saw it."""
        root = next(d.path for d in self._devices if d.name == activity["device"])
        times = []
        for path in activity["paths"]:
            try:
                times.append((root / path).lstat().st_ctime * 1000)
            except OSError:
                continue
        seen = float(activity["at_ms"])
        recent = [t for t in times if 0 <= seen - t < 10_000]
        return max(recent, default=seen)

    def _listed(self, paths: tuple[str, ...], count: int) -> str:
        if count == 0:
            return self._devices[0].hosting.no_files
        rest = count - min(count, 3)
        return ", ".join(paths[:3]) + (f" and {rest} more" if rest > 0 else "")

    def _show_arrival(self, save: Save, device: str, at_ms: float, lane: str) -> None:
        self._show(f"  {device:8} has it after {max(0.0, at_ms - save.at_ms):6.0f} ms  ({lane or 'merged'})")
