"""Adds up what the tests tried, for the guarantees to quote: seeds run, faults injected, kills survived."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ORDER = ("seeds run", "faults injected", "kills survived", "bad inputs refused", "mutants caught", "editor saves")
"""How they are listed; others follow by name."""


def _file() -> Path:
    return Path(os.environ.get("AUTOSYNC_FIGURES", ".figures.jsonl"))


def record(name: str, number: int) -> None:
    """Add ``number`` to the figure ``name``; from any process of a test run."""
    with _file().open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps([name, number]) + "\n")


def forget() -> None:
    """Begin a new run."""
    _file().unlink(missing_ok=True)


def lines() -> Iterator[str]:
    """Yield one line for each figure of this run."""
    if not _file().exists():
        return
    total: Counter[str] = Counter()
    for line in _file().read_text(encoding="utf-8").splitlines():
        name, number = json.loads(line)
        total[name] += number
    names = [*(n for n in ORDER if n in total), *sorted(total.keys() - set(ORDER))]
    for name in names:
        yield f"{name}: {total[name]:,}"


def add_all(other: Path) -> None:
    """Add what another process has counted in a file of its own."""
    if other.exists():
        for line in other.read_text(encoding="utf-8").splitlines():
            record(*json.loads(line))
