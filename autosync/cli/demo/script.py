"""The edits that the demo makes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autosync.cli.demo.fleet import DemoDevice, Fleet
from autosync.cli.demo.livelog import LiveLog

STEP_WITHIN = 20.0
"""Seconds that the devices may take to become equal after a step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a user does."""

    title: str
    act: Callable[[dict[str, DemoDevice]], None]


def _save(device: DemoDevice, name: str, text: str) -> None:
    """Write a file as most editors do: a new one, renamed over the old."""
    path = device.path / name
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(path.name + ".new~")
    new.write_text(text)
    new.replace(path)


def _write_results(devices: dict[str, DemoDevice]) -> None:
    for number in range(50):
        _save(devices["server"], f"results/{number:02}.txt", f"run {number}\n")


def _rename(devices: dict[str, DemoDevice]) -> None:
    folder = devices["laptop"].path
    (folder / "notes.txt").rename(folder / "shopping.txt")


def _edit_apart(devices: dict[str, DemoDevice]) -> None:
    text = (devices["laptop"].path / "README.md").read_text()
    _save(devices["laptop"], "README.md", text.replace("\n1\n", "\n1, from the laptop\n"))
    _save(devices["desktop"], "README.md", text.replace("\n9\n", "\n9, from the desktop\n"))


def _commit(devices: dict[str, DemoDevice]) -> None:
    laptop = devices["laptop"]
    laptop.hosting.commit(laptop.path, "What the demo did")


STEPS = (
    Step("the laptop saves a note", lambda d: _save(d["laptop"], "notes.txt", "Buy milk.\n")),
    Step("the desktop adds a line", lambda d: _save(d["desktop"], "notes.txt", "Buy milk.\nAnd bread.\n")),
    Step(
        "the server writes 50 files",
        _write_results,
    ),
    Step(
        "the laptop renames the note",
        _rename,
    ),
    Step("laptop and desktop edit different lines of one file at the same time", _edit_apart),
    Step("the laptop commits: the commit arrives as a commit", _commit),
)


def play(fleet: Fleet, log: LiveLog, show: Callable[[str], None]) -> list[dict[str, Any]]:
    """Do all steps; return for each what happened as plain values."""
    devices = {d.name: d for d in fleet.devices}
    results = []
    for step in STEPS:
        show("")
        show(f"-- {step.title}")
        known = set(log.saves)
        step.act(devices)
        equal = _await_equal(fleet, log)
        saves = [save for snapshot, save in log.saves.items() if snapshot not in known]
        results.append(
            {
                "step": step.title,
                "equal": equal,
                "saves": [
                    {
                        "device": s.device,
                        "paths": list(s.paths),
                        "count": s.count,
                        "arrivals": {
                            name: {"ms": round(max(0.0, at - s.at_ms), 1), "lane": lane}
                            for name, (at, lane) in s.arrivals.items()
                        },
                    }
                    for s in saves
                ],
            }
        )
        if not equal:
            show("   the devices did not become equal in time")
            break
    return results


def _await_equal(fleet: Fleet, log: LiveLog) -> bool:
    """Return whether all devices have the same files, base and tree in time."""
    deadline = time.monotonic() + STEP_WITHIN
    while time.monotonic() < deadline:
        log.pump(0.05)
        if is_equal(fleet):
            while (log.pump(0.3) or log.is_undecided) and time.monotonic() < deadline:
                pass  # what the agents tell of it
            return True
    return False


def is_equal(fleet: Fleet) -> bool:
    """Return whether folders, bases and trees are the same, judged by the files themselves."""
    states = [device.status() for device in fleet.devices]
    if any(s["pending"] or s["phase"] != "watching" for s in states):
        return False
    if len({(s["tree"], s["base"], s["branch"]) for s in states}) != 1:
        return False
    contents = [_content(device) for device in fleet.devices]
    return all(content == contents[0] for content in contents)


def _content(device: DemoDevice) -> dict[str, bytes]:
    return {
        str(path.relative_to(device.path)): path.read_bytes()
        for path in sorted(device.path.rglob("*"))
        if path.is_file() and device.hosting.mark not in path.relative_to(device.path).parts
    }
