"""An hg of an agent that does not answer: the agent still does, it ends when told to, and goes on afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.system.hgfleet import HgDevice, hg_pair
from tests.waiting import freeze, until


@contextlib.contextmanager
def stopped(processes: Sequence[int]) -> Iterator[None]:
    """Let processes stand still, as when the disk under them does not answer."""
    for process in processes:
        freeze(process)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


@pytest.mark.parametrize("busy", ["laptop", "desktop"])
def test_an_agent_whose_hg_stands_still_answers_ends_and_goes_on(tmp_path: Path, busy: str) -> None:
    """``busy``: where the save is made; so the hg of the working copy is asked, or that of the exchange."""
    with hg_pair(tmp_path / "fleet", {"a.txt": "1\n"}) as fleet:
        laptop, desktop = fleet.hg_devices
        desktop.write("a.txt", "2\n")
        fleet.equal()
        with stopped(laptop.processes()):
            (laptop if busy == "laptop" else desktop).write("new/b.txt", "saved\n")
            until(lambda: _waits(laptop, desktop, busy), why=laptop.status)
            laptop.end()
        until(lambda: not laptop.processes(), why=laptop.processes)
        laptop.start()
        fleet.equal()
        assert (laptop.read("new/b.txt"), desktop.read("new/b.txt")) == ("saved\n", "saved\n")
        assert "Traceback" not in laptop.log


def _waits(laptop: HgDevice, desktop: HgDevice, busy: str) -> bool:
    if busy == "laptop":
        return "hg or the disk, for " in str(laptop.status()["waiting-for"])
    return bool(laptop.status()["peers"][0]["snapshot"] == desktop.status()["snapshot"] != laptop.status()["snapshot"])
