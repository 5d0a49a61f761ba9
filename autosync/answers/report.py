"""Builds what ``autosync status`` shows of the running agent."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from autosync.config import PathConfig
from autosync.core.brakes import Held
from autosync.core.commanded.session import CommandedPeer
from autosync.core.model import Order, Snapshot
from autosync.core.moments import moment
from autosync.core.settings import SessionStatus
from autosync.core.sources import Peer
from autosync.errors import AutosyncError
from autosync.history import Tidied
from autosync.membership import Membership
from autosync.ports import ChannelStatus
from autosync.runner import Runner

HELD_SHOWN = 1000
"""Held paths that the status lists; all are counted."""
STALE = 90.0
"""Seconds after which a device that is not linked and has said nothing counts as away."""


def agent_status(*, device: str, started_at: float, channels: Sequence[ChannelStatus]) -> dict[str, Any]:
    """Return the part of the status that is not about one workspace."""
    main = channels[0] if channels else ChannelStatus(kind="none", state="offline")
    return {
        "device": device,
        "agent": {
            "pid": os.getpid(),
            "started": iso(started_at),
            "uptime": round(time.time() - started_at, 1),
            "rss": resident_bytes(),
        },
        "channel": _channel(main),
        "channels": [_channel(c) for c in channels],
    }


def workspace_status(
    member: Membership,
    runner: Runner,
    *,
    path: str,
    vcs: str,
    now: float,
    linked: Mapping[str, str],
    watch: Mapping[str, Any],
) -> dict[str, Any]:
    """Return one workspace's part.  ``linked`` maps the devices that are directly connected to their address."""
    status = runner.session.status()
    current = status.current
    halt = status.halt
    return {
        "name": runner.workspace,
        "path": path,
        "vcs": vcs,
        "phase": status.phase,
        "state": state_of(status),
        "base": current.base.commit if current else None,
        "branch": current.base.branch if current else None,
        "snapshot": current.id if current else None,
        "tree": current.tree if current else None,
        "pending": status.pending,
        "waiting-for": status.waiting_for or runner.long_step() or None,
        "last-sync": iso(runner.synced_at),
        "halt": {"title": halt.title, "hint": halt.hint} if halt else None,
        "held": {
            "count": len(status.held),
            "reasons": Counter(h.brake.name.lower() for h in status.held),
            "paths": held_paths(status.held),
        },
        "mode": runner.settings.mode.value,
        "hub": status.hub,
        "follows": {
            "names": [
                {"name": each.name, "commit": each.commit, "state": each.state}
                for each in runner.performer.backend.following.followed
            ],
            "problem": runner.performer.behind or None,
        },
        "unreadable": sorted(path.decode("utf-8", "backslashreplace") for path in runner.performer.unreadable),
        "watch": dict(watch),
        "dropped": {**member.dropped, **runner.counts},
        "conflicts": [
            {
                "path": c.original.decode("utf-8", "backslashreplace"),
                "copy": c.copy.decode("utf-8", "backslashreplace"),
                "device": c.device,
                "time": iso(float(c.time)),
            }
            for c in runner.conflicts.copies.values()
        ],
        "peers": [
            {**_peer(p, status, now, linked), "clock-ahead": _tenths(member.skew.ahead().get(p.device))}
            for p in status.peers
        ],
    }


def state_of(status: SessionStatus) -> str:
    """Return what a user has to know at a glance: the phase, or that not all is sent although nothing goes on."""
    if status.halt is not None:
        return "halted"
    return "holding" if status.held and status.phase == "watching" else status.phase


def tidied(name: str, path: str, result: Tidied, shared: int) -> dict[str, Any]:
    """Return one workspace's part of what ``autosync gc`` shows; ``shared`` is in bytes.

    What a rehearsal would reclaim is not known: ``bytes-after`` is ``None`` then.
    """
    return {
        "name": name,
        "path": path,
        "snapshots-before": result.snapshots_before,
        "snapshots-after": result.snapshots_after,
        "bytes-before": result.bytes_before,
        "bytes-after": result.bytes_after,
        "shared-bytes": shared,
        "oldest": iso(None if result.oldest is None else float(result.oldest)),
        "quota": result.quota,
        "over-quota": result.quota is not None and (result.bytes_after or result.bytes_before) > result.quota,
    }


def absent_status(path: PathConfig, error: AutosyncError) -> dict[str, Any]:
    """Return the part of a working copy that was missing when the agent started and is waited for."""
    unknown = dict.fromkeys(("vcs", "base", "branch", "snapshot", "tree", "waiting-for", "last-sync", "hub"))
    return {
        "name": path.workspace,
        "path": path.path,
        "phase": "halted",
        "state": "halted",
        **unknown,
        "pending": 0,
        "halt": {"title": error.title, "hint": error.hint},
        "held": {"count": 0, "reasons": {}, "paths": []},
        "mode": path.mode.value,
        "follows": {"names": [], "problem": None},
        "unreadable": [],
        "watch": {},
        "dropped": {},
        "conflicts": [],
        "peers": [],
    }


def is_reachable(peer: Peer | CommandedPeer, now: float, linked: Mapping[str, str]) -> bool:
    """Return whether a peer can be expected to answer soon."""
    if peer.state == "stopped":
        return False
    return peer.device in linked or (peer.seen > 0 and now - peer.seen < STALE)


Heard = Mapping[str, Any] | None
"""The ``state`` that a peer told, and for how many ``seconds`` it has been silent (``None``: it never spoke)."""


def last_heard(peer: Peer | CommandedPeer, now: float) -> Heard:
    """Return what there is to say of a peer that is waited for."""
    return {"state": peer.state, "seconds": round(now - peer.seen, 1) if peer.seen else None}


def held_paths(held: Sequence[Held]) -> list[dict[str, str]]:
    """Return what the brakes hold, at most :data:`HELD_SHOWN` paths."""
    return [
        {"path": h.path.decode("utf-8", "backslashreplace"), "reason": h.brake.name.lower(), "text": h.brake.value}
        for h in held[:HELD_SHOWN]
    ]


def iso(seconds: float | None) -> str | None:
    """Return a moment (seconds since the epoch) as ISO 8601 in UTC."""
    return None if seconds is None else moment(seconds).isoformat(timespec="seconds")


def resident_bytes() -> int | None:
    """Return this process's resident memory (proc(5), statm); ``None`` where no more files can be opened."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _channel(status: ChannelStatus) -> dict[str, Any]:
    return {
        "kind": status.kind,
        "state": status.state,
        "detail": status.detail or None,
        "dropped": dict(status.dropped),
    }


def _peer(peer: Peer, status: SessionStatus, now: float, linked: Mapping[str, str]) -> dict[str, Any]:
    return {
        "device": peer.name,
        "id": peer.device,
        "snapshot": peer.snapshot,
        "tree": peer.tree or (peer.here.tree if peer.here else None),
        "seen": iso(time.time() - (now - peer.seen)) if peer.seen else None,
        "state": _peer_state(peer, status.current, reachable=is_reachable(peer, now, linked)),
        "address": linked.get(peer.device),
        "problem": peer.reason or None,
    }


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _peer_state(peer: Peer, current: Snapshot | None, *, reachable: bool) -> str:
    if not reachable:
        return "away"
    if peer.state in ("paused", "halted"):
        return peer.state
    if current is not None and peer.tree == current.tree:
        return "equal"
    if current is None or peer.version is None:
        return "unknown"
    return {Order.BEFORE: "ahead", Order.AFTER: "behind", Order.CONCURRENT: "diverged", Order.EQUAL: "equal"}[
        current.version.compare(peer.version)
    ]
