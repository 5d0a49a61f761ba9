"""Turns what the agent answers to ``status`` into metrics: all of it is evidence, nothing a plan."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Any, Protocol

from autosync import __version__
from autosync.broadcast import Broadcaster
from autosync.core.brakes import Brake
from autosync.link import Links
from autosync.metrics.exposition import Family, write
from autosync.watch.kernel import watch_limit

SIZED_EVERY = 60.0
"""Seconds between two looks at how large a store is: all its files are counted for it."""
SIZED_WITHIN = 1.0
"""Seconds that a look may take before the answer goes out without it; the next one has it."""
_STATES = ("connecting", "online", "offline", "failed")
"""Of a channel."""

Ask = Callable[[], Awaitable[dict[str, Any]]]
Carried = Callable[[], Mapping[tuple[str, str, str], int]]
"""Returns bytes by what they were (``announcement`` or ``content``), the lane, and ``in`` or ``out``."""


def carried(broadcaster: Broadcaster, links: Links) -> dict[tuple[str, str, str], int]:
    """Return what :data:`Carried` is of an agent with these."""
    said = {("announcement", *key): count for key, count in broadcaster.carried.items()}
    return said | {("content", *key): count for key, count in links.traffic.transfers.carried.items()}


class Sized(Protocol):
    """Something whose size on the disk can be asked for in any thread."""

    def size(self) -> int:
        """Return bytes."""


class Metrics:
    """The metrics of one agent.

    ``stores`` returns by workspace what knows the size of its store, which is asked in a thread of ``executor``.
    """

    def __init__(
        self, status: Ask, carried: Carried, stores: Callable[[], Mapping[str, Sized]], executor: Executor
    ) -> None:
        self._status = status
        self._carried = carried
        self._stores = stores
        self._executor = executor
        self._sizes: dict[str, int] = {}
        self._sizing: asyncio.Future[dict[str, int]] | None = None
        self._sized_at: float | None = None

    async def render(self) -> bytes:
        """Return all metrics as text."""
        await self._size_stores()
        status = await self._status()
        workspaces: Sequence[dict[str, Any]] = status["workspaces"]
        return write(
            [
                *_of_the_process(status),
                *_of_channels(status["channels"]),
                self._bytes(),
                *_of_workspaces(workspaces),
                self._store_sizes(),
                *_of_peers(workspaces),
                *_of_watches(workspaces),
            ]
        )

    async def _size_stores(self) -> None:
        loop = asyncio.get_running_loop()
        if self._sizing is None and (self._sized_at is None or loop.time() - self._sized_at > SIZED_EVERY):
            self._sizing = loop.run_in_executor(self._executor, _sizes, dict(self._stores()))
        if self._sizing is not None:
            done, _ = await asyncio.wait({self._sizing}, timeout=SIZED_WITHIN)
            if done:
                self._sizes, self._sizing, self._sized_at = self._sizing.result(), None, loop.time()

    def _store_sizes(self) -> Family:
        family = Family("autosync_store_bytes", "gauge", "Size on the disk of the store of a workspace's snapshots.")
        for name, size in self._sizes.items():
            family.add(size, {"workspace": name})
        return family

    def _bytes(self) -> Family:
        family = Family(
            "autosync_transferred_bytes_total",
            "counter",
            "Bytes of announcements and of content that were received (in) and sent (out), by lane; "
            "what git and Mercurial exchange with a hub is not counted.",
        )
        for (what, lane, direction), count in sorted(self._carried().items()):
            family.add(count, {"what": what, "lane": lane, "direction": direction})
        return family


def _sizes(stores: Mapping[str, Sized]) -> dict[str, int]:
    found = {}
    for name, store in stores.items():
        try:
            found[name] = store.size()
        except OSError:  # its disk is gone, which other metrics tell
            continue
    return found


def _of_the_process(status: Mapping[str, Any]) -> Iterator[Family]:
    build = Family("autosync_build_info", "gauge", "The version of autosync and of Python; always 1.")
    build.add(1, {"version": __version__, "python": platform.python_version(), "device": status["device"]})
    yield build
    started = _moment(status["agent"]["started"])
    used = resource.getrusage(resource.RUSAGE_SELF)
    for name, kind, text, value in (
        ("process_start_time_seconds", "gauge", "When the agent started, since the epoch.", started),
        ("process_cpu_seconds_total", "counter", "Processor time that was used.", used.ru_utime + used.ru_stime),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", status["agent"]["rss"]),
        ("process_open_fds", "gauge", "Open files.", _open_files()),
        ("process_max_fds", "gauge", "Most files that may be open.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    ):
        family = Family(name, "counter" if kind == "counter" else "gauge", text)
        family.add(value)
        yield family


def _of_channels(channels: Sequence[Mapping[str, Any]]) -> Iterator[Family]:
    up = Family("autosync_channel_up", "gauge", "Whether a channel can carry announcements now.")
    state = Family("autosync_channel_state", "gauge", "The state of a channel: 1 for the one that it is in.")
    dropped = Family("autosync_channel_dropped_total", "counter", "Messages of a channel that were not for us.")
    for channel in channels:
        kind = {"channel": channel["kind"]}
        up.add(channel["state"] == "online", kind)
        for possible in _STATES:
            state.add(channel["state"] == possible, {**kind, "state": possible})
        for reason, count in channel["dropped"].items():
            dropped.add(count, {**kind, "reason": reason})
    yield from (up, state, dropped)


def _of_workspaces(workspaces: Sequence[Mapping[str, Any]]) -> Iterator[Family]:
    def gauge(name: str, text: str, value: Callable[[Mapping[str, Any]], float | None]) -> Family:
        family = Family(f"autosync_workspace_{name}", "gauge", text)
        for w in workspaces:
            family.add(value(w), {"workspace": w["name"]})
        return family

    yield gauge(
        "halted",
        "Whether it waits for somebody to act, and syncs nothing or commits nothing meanwhile.",
        lambda w: bool(w["halt"]),
    )
    yield gauge("paused", "Whether the user has paused it.", lambda w: w["phase"] == "paused")
    yield gauge("pending_paths", "Paths that changed and still have to be looked at.", lambda w: w["pending"])
    yield gauge("conflicts", "Conflicts that nobody has resolved yet.", lambda w: len(w["conflicts"]))
    yield gauge("unreadable_paths", "Paths left out: they cannot be read, or named.", lambda w: len(w["unreadable"]))
    yield gauge(
        "last_sync_timestamp_seconds",
        "When another device was last known to have the same content.",
        lambda w: _moment(w["last-sync"]),
    )
    yield gauge(
        "hub_current",
        "Whether the hub has what this device recorded last; absent without a hub that keeps snapshots.",
        lambda w: None if w["hub"] is None else w["hub"] == w["snapshot"],
    )
    held = Family("autosync_workspace_held_paths", "gauge", "Paths held back until the user releases them, by reason.")
    mishaps = Family(
        "autosync_workspace_mishaps_total", "counter", "Announcements dropped, fetches and sessions failed, by kind."
    )
    for w in workspaces:
        for brake in Brake:
            reason = brake.name.lower()
            held.add(w["held"]["reasons"].get(reason, 0), {"workspace": w["name"], "reason": reason})
        for kind, count in w["dropped"].items():
            mishaps.add(count, {"workspace": w["name"], "kind": kind})
    yield from (held, mishaps)


def _of_peers(workspaces: Sequence[Mapping[str, Any]]) -> Iterator[Family]:
    pairs = [(w, p) for w in workspaces for p in w["peers"]]

    def gauge(name: str, text: str, value: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]) -> Family:
        family = Family(f"autosync_peer_{name}", "gauge", text)
        for w, p in pairs:
            family.add(value(w, p), {"workspace": w["name"], "peer": p["device"], "id": p["id"]})
        return family

    yield gauge("reachable", "Whether a device can be expected to answer soon.", lambda _, p: p["state"] != "away")
    yield gauge(
        "in_sync",
        "Whether the content that a device said it has last is what this one has.",
        # Of what commands keep, nobody says which content he has.
        lambda w, p: None if w["tree"] is None else p["tree"] == w["tree"],
    )
    yield gauge(
        "confirmed_timestamp_seconds",
        "When a device last said that it has the content that this one had at that time.",
        lambda _, p: _moment(p.get("confirmed", {}).get("time")),
    )
    yield gauge(
        "apart_seconds",
        "For how long what a device said it has is not what this one has; 0 if it is.",
        lambda _, p: p.get("confirmed", {}).get("apart"),
    )
    yield gauge("seen_timestamp_seconds", "When a device last said anything.", lambda _, p: _moment(p["seen"]))
    yield gauge("clock_ahead_seconds", "By how much a device's clock is ahead.", lambda _, p: p.get("clock-ahead"))


def _of_watches(workspaces: Sequence[Mapping[str, Any]]) -> Iterator[Family]:
    watched = Family("autosync_watched_directories", "gauge", "Directories of which the kernel tells changes.")
    unwatched = Family("autosync_unwatched_directories", "gauge", "Directories that are looked at on a timer only.")
    for w in workspaces:
        watched.add(w["watch"].get("watched"), {"workspace": w["name"]})
        unwatched.add(w["watch"].get("unwatched"), {"workspace": w["name"]})
    limit = Family("autosync_inotify_watches_limit", "gauge", "The most inotify watches that this user may have.")
    limit.add(watch_limit()[1] or None)
    yield from (watched, unwatched, limit)


def _open_files() -> int | None:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return None


def _moment(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
