"""Breaks things while users work: agents, the git or hg processes of theirs, the network, the hub."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.system.fleet import Device
from tests.system.torture.network import Network


@dataclass(frozen=True)
class Away:
    """An agent was dead, or stopped, from when to when (seconds since the epoch)."""

    device: str
    began: float
    ended: float


class Trouble(threading.Thread):
    """Does harm at random until ``end`` (of the monotonic clock); then everything works again."""

    def __init__(
        self, devices: Sequence[Device], network: Network, hub: Path, seed: int, end: float, *, cut: bool, freeze: bool
    ) -> None:
        super().__init__(name="trouble")
        self.devices, self.network, self.hub, self.end, self.cut = devices, network, hub, end, cut
        self.freeze = freeze
        """Whether an agent's processes are stopped as well, which serve it for long if they are hg's."""
        self.random = random.Random(seed)
        self.away: list[Away] = []
        self.kills = 0
        self.done: list[str] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        harm = [self.kill_agent, self.freeze_agent] * 3 + [self.kill_children] * 6 + [self.reset]
        if self.freeze:
            harm += [self.freeze_child] * 2
        if self.cut:
            harm += [self.swallow, self.slow, self.isolate, self.mend, self.lose_hub]
        try:
            while time.monotonic() < self.end:
                time.sleep(self.random.uniform(0.05, 0.8))
                self.random.choice(harm)()
        except BaseException as error:  # raised again by the run
            self.error = error
        finally:
            self.network.mend()
            for one in self.devices:  # what was swallowed would be noticed by a timeout of the kernel only
                for other in self.devices:
                    if one is not other:
                        self.network.reset(one, other)

    def note(self, what: str) -> None:
        self.done.append(f"{time.time():.3f} {what}")

    def pair(self) -> tuple[Device, Device]:
        one, other = self.random.sample(list(self.devices), 2)
        return one, other

    # -- processes ---------------------------------------------------------------------------
    def kill_agent(self) -> None:
        device, began = self.random.choice(self.devices), time.time()
        self.note(f"kill {device.name}")
        device.kill()
        self.kills += 1
        time.sleep(self.random.random())
        device.start()
        self.away.append(Away(device.name, began, time.time()))

    def freeze_agent(self) -> None:
        device, began = self.random.choice(self.devices), time.time()
        assert device.process is not None
        self.note(f"freeze {device.name}")
        device.process.send_signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.3, 2.0))
        device.process.send_signal(signal.SIGCONT)
        self.away.append(Away(device.name, began, time.time()))

    def kill_children(self) -> None:
        """Kill the git or hg processes that an agent has at this moment."""
        device = self.random.choice(self.devices)
        assert device.process is not None
        for child in children(device.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
                self.kills += 1
                self.note(f"kill a child of {device.name}")

    def freeze_child(self) -> None:
        """Stop one process that an agent has started, for a moment."""
        device, began = self.random.choice(self.devices), time.time()
        assert device.process is not None
        if not (found := children(device.process.pid)):
            return
        child = self.random.choice(found)
        self.note(f"freeze a child of {device.name}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGSTOP)
            time.sleep(self.random.uniform(0.3, 2.0))
            os.kill(child, signal.SIGCONT)
        self.away.append(Away(device.name, began, time.time()))

    # -- the network -------------------------------------------------------------------------
    def reset(self) -> None:
        self.note("reset")
        self.network.reset(*self.pair())

    def swallow(self) -> None:
        self.note("swallow")
        self.network.swallow(*self.pair())

    def slow(self) -> None:
        self.note("slow")
        self.network.slow(*self.pair(), self.random.uniform(0.05, 0.5))

    def isolate(self) -> None:
        device = self.random.choice(self.devices)
        self.note(f"isolate {device.name}")
        self.network.isolate(self.devices, device)

    def mend(self) -> None:
        self.note("mend")
        self.network.mend()

    def lose_hub(self) -> None:
        self.note("lose hub")
        lost = self.hub.with_suffix(".lost")
        self.hub.rename(lost)
        time.sleep(self.random.uniform(0.2, 1.0))
        lost.rename(self.hub)


def children(pid: int) -> list[int]:
    """Return the processes that ``pid`` and its descendants have started (proc(5), ``children``)."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii")
                for child in map(int, text.split()):
                    found += [child, *children(child)]
    return found
