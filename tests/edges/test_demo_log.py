"""The demo's log: a save and its arrivals belong together in whatever order the agents tell of them."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autosync.cli.demo import livelog
from autosync.cli.demo.fleet import DemoDevice
from autosync.cli.demo.hosting import GitHosting
from autosync.cli.demo.livelog import LiveLog
from tests.waiting import PATIENCE, until

NOW = 1e12


@dataclass(slots=True)
class Teller(DemoDevice):
    """A device whose agent tells what it is given, when it is given it."""

    news: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        assert command == "activity"
        if "wait" not in arguments:
            return {"next": 0}
        try:
            return {"next": 0, "activities": [self.news.get(timeout=0.05)]}
        except queue.Empty:
            return {"next": 0, "activities": []}


@dataclass(frozen=True, slots=True)
class Scene:
    """A log of a laptop and a desktop, and the lines that it has shown."""

    devices: dict[str, Teller]
    log: LiveLog
    shown: list[str]

    def tells(self, device: str, kind: str, snapshot: str, after_ms: float = 0.0) -> None:
        """Let an agent tell of a snapshot; return when the log has taken note of it."""
        self.devices[device].news.put(
            {"device": device, "kind": kind, "snapshot": snapshot, "paths": ["a.txt"], "count": 1}
            | {"at_ms": NOW + after_ms, "lane": "inline over lan"}
        )
        assert self.log.pump(PATIENCE)

    def arrivals(self, snapshot: str) -> dict[str, tuple[float, str]]:
        return self.log.saves[snapshot].arrivals


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    devices = {name: Teller(name, tmp_path / name, tmp_path, GitHosting()) for name in ("laptop", "desktop", "server")}
    shown: list[str] = []
    log = LiveLog(devices.values(), shown.append)
    yield Scene(devices, log, shown)
    log.stop()


def test_what_has_arrived_before_its_maker_tells_of_it_was_saved(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livelog, "SAVE_TOLD_WITHIN", 10 * PATIENCE)
    scene.tells("desktop", "applied", "s", 5)
    assert (scene.shown, scene.log.is_undecided) == ([], True)
    scene.tells("laptop", "saved", "s")
    scene.tells("server", "applied", "s", 7)
    assert scene.shown == [
        "laptop   saved    a.txt",
        "  desktop  has it after      5 ms  (inline over lan)",
        "  server   has it after      7 ms  (inline over lan)",
    ]
    assert scene.arrivals("s") == {name: (NOW + ms, "inline over lan") for name, ms in (("desktop", 5), ("server", 7))}
    assert not scene.log.is_undecided


def test_what_nobody_tells_to_have_saved_was_merged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livelog, "SAVE_TOLD_WITHIN", 0.1)
    scene.tells("desktop", "applied", "s")
    until(lambda: not scene.log.pump(0.01) and scene.shown)
    assert (scene.shown, scene.log.is_undecided) == (["desktop  merged   a.txt"], False)
    scene.tells("laptop", "saved", "s", 1)  # so slow a maker has saved it all the same
    assert scene.arrivals("s").keys() == {"desktop"}


def test_what_is_undecided_at_the_end_was_merged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livelog, "SAVE_TOLD_WITHIN", 10 * PATIENCE)
    scene.tells("desktop", "applied", "s")
    scene.log.stop()
    assert scene.shown == ["desktop  merged   a.txt"]


def test_not_everything_that_was_merged_is_remembered(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livelog, "SAVE_TOLD_WITHIN", 10 * PATIENCE)
    monkeypatch.setattr(livelog, "_EARLY", 2)
    for snapshot in "stu":
        scene.tells("desktop", "applied", snapshot)
    assert scene.shown == ["desktop  merged   a.txt"]
    for snapshot in "stu":
        scene.tells("laptop", "saved", snapshot)
    assert [sorted(scene.arrivals(snapshot)) for snapshot in "stu"] == [[], ["desktop"], ["desktop"]]
