"""Follows the demo's agents: who saved what, and when each device had it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from autosync.cli.demo.fleet import DemoDevice
from autosync.errors import AutosyncError


@dataclass(slots=True)
class Save:
    """One save: which device, which paths, when (ms since the epoch), and who had it when by which lane."""

    device: str
    paths: tuple[str, ...]
    count: int
    at_ms: float
    arrivals: dict[str, tuple[float, str]] = field(default_factory=dict)


class LiveLog:
    """Gathers what happens on all devices and prints a line for each thing."""

    def __init__(self, devices: Iterable[DemoDevice], show: Callable[[str], None]) -> None:
        self.saves: dict[str, Save] = {}
        self._devices = list(devices)
        self._show = show
        self._news: queue.Queue[dict[str, Any]] = queue.Queue()
        self._ending = threading.Event()
        self._starts = {d.name: d.ask("activity", since=1 << 60)["next"] for d in self._devices}
        self._threads = [threading.Thread(target=self._follow, args=(d,), daemon=True) for d in self._devices]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._ending.set()
        for thread in self._threads:
            thread.join(2)

    def pump(self, seconds: float) -> None:
        """Show what happens within ``seconds``; returns after the first thing."""
        try:
            self._take(self._news.get(timeout=seconds))
        except queue.Empty:
            return
        while not self._news.empty():
            self._take(self._news.get_nowait())

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
            self._show(f"{device:8} saved    {self._listed(save.paths, save.count)}")
            for other, (at_ms, lane) in save.arrivals.items():
                self._show_arrival(save, other, at_ms, lane)
        elif kind == "applied":
            known = self.saves.get(activity["snapshot"])
            if known is None:
                self._show(f"{device:8} merged   {self._listed(tuple(activity['paths']), activity['count'])}")
                return
            known.arrivals[device] = (activity["at_ms"], activity["lane"])
            self._show_arrival(known, device, activity["at_ms"], activity["lane"])
        elif kind in ("told", "conflict"):
            self._show(f"{device:8} note     {activity['text']}")

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
