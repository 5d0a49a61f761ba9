"""Tells the sessions which peers are near, and people how each is reached."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from autosync.activities import Activity
from autosync.broadcast import Membership
from autosync.core.events import PeersRanked
from autosync.core.model import DeviceId, WorkspaceId
from autosync.link import Links, PeerStatus
from autosync.link.connection import INCOMING
from autosync.link.transfers import Transfer
from autosync.link.ways import FILE_NAME, Ways
from autosync.link.workspace import WayStatus
from autosync.report import iso
from autosync.runner import Runner

log = logging.getLogger(__name__)

SAVED_AFTER = 30.0
"""Seconds that a change waits to be written down, so that many are written at once."""


def remembered_ways(state_dir: str) -> Ways:
    """Return what an earlier run has learnt of the ways to other devices."""
    return Ways(os.path.join(state_dir, FILE_NAME))


class Peering:
    """The peers of all workspaces, as the links know them."""

    def __init__(
        self, links: Links, members: Callable[[], Iterable[Membership]], happened: Callable[[Activity], None]
    ) -> None:
        self._links = links
        self._happened = happened
        links.traffic.transfers.progress = self._progress
        self._members = members
        self._saving: asyncio.TimerHandle | None = None
        links.ranked = self._ranked

    def stop(self) -> None:
        """Write down what was learnt."""
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        self._links.ways.save()

    def _ranked(self, workspace: WorkspaceId, order: tuple[DeviceId, ...]) -> None:
        for member in self._members():
            if member.key.id == workspace and isinstance(member.runner, Runner):
                member.runner.post(PeersRanked(order=order))
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(SAVED_AFTER, self._save)

    def _save(self) -> None:
        self._saving = None
        self._links.ways.save()

    def _progress(self, transfer: Transfer) -> None:
        for member in self._members():
            if member.key.id == transfer.workspace:
                way = "from" if transfer.incoming else "to"
                text = f"{transfer.skipped + transfer.moved} bytes {way} {self._name_of(transfer)}"
                if (rate := transfer.rate(asyncio.get_running_loop().time())) is not None:
                    text += f", {rate:.0f} per second"
                log.info("%s: %s", member.runner.workspace, text)
                kind = "moving" if transfer.took is None else "moved"
                activity = Activity(
                    kind=kind,
                    workspace=member.runner.workspace,
                    device=transfer.peer,
                    at_ms=time.time() * 1000,
                    snapshot=transfer.snapshot,
                    text=text,
                )
                self._happened(activity)

    def _name_of(self, transfer: Transfer) -> str:
        peers = self._links.peers(transfer.workspace)
        return next((peer.name for peer in peers if peer.device == transfer.peer), transfer.peer)

    # -- for people -------------------------------------------------------------------------
    def report(self, member: Membership) -> list[dict[str, Any]]:
        """Return one workspace's peers, the nearest first."""
        now = asyncio.get_running_loop().time()
        transfers = self._links.traffic.transfers.live(member.key.id)
        places = {device: place for place, device in enumerate(self._links.order(member.key.id))}
        peers = sorted(
            self._links.peers(member.key.id),
            key=lambda p: (not p.connected, places.get(p.device, len(places)) if p.device else len(places)),
        )
        return [
            _peer(
                peer,
                [_transfer(t, now) for t in transfers if t.peer == peer.device],
                same_store=_shares_store(member, peer.device),
            )
            for peer in peers
        ]

    def transfers(self, member: Membership) -> list[dict[str, Any]]:
        """Return what is being moved for one workspace."""
        now = asyncio.get_running_loop().time()
        names = {peer.device: peer.name for peer in self._links.peers(member.key.id)}
        live = self._links.traffic.transfers.live(member.key.id)
        return [{"peer": names.get(t.peer, t.peer), **_transfer(t, now)} for t in live]


def _shares_store(member: Membership, device: DeviceId | None) -> bool:
    runner = member.runner
    peers = runner.session.peers.all() if isinstance(runner, Runner) else ()
    return any(peer.same_store for peer in peers if peer.device == device)


def _peer(peer: PeerStatus, transfers: list[dict[str, Any]], *, same_store: bool) -> dict[str, Any]:
    used = peer.address if peer.dialled or not peer.connected else INCOMING
    return {
        "device": peer.name or peer.device,
        "id": peer.device,
        "state": "linked" if peer.connected else "away",
        "kind": "store" if same_store else peer.kind,
        "address": peer.address,
        "rtt-ms": None if peer.rtt_ms is None else round(peer.rtt_ms, 3),
        "throughput": next((_whole(w.throughput) for w in peer.ways if w.address == used), None),
        "last-used": iso(max((w.used_at for w in peer.ways if w.used_at is not None), default=None)),
        "why": _why(peer, same_store=same_store),
        "problem": peer.problem or None,
        "ways": [_way(way) for way in peer.ways],
        "transfers": transfers,
    }


def _why(peer: PeerStatus, *, same_store: bool) -> str:
    """Return in words why a peer is reached as it is."""
    if same_store:
        return "it keeps its snapshots where this device does: only ids are exchanged"
    if not peer.connected:
        return peer.problem or "no attempt has ended yet"
    if not peer.dialled:
        return "it has called; that link is the one both keep"
    nearer = [way for way in peer.ways[: _place(peer)] if way.problem]
    if nearer:
        return "the first that answered; nearer ones failed"
    return "the nearest way that is known"


def _place(peer: PeerStatus) -> int:
    return next((n for n, way in enumerate(peer.ways) if way.address == peer.address), 0)


def _way(way: WayStatus) -> dict[str, Any]:
    return {
        "kind": way.kind,
        "address": way.address,
        "rtt-ms": None if way.rtt_ms is None else round(way.rtt_ms, 3),
        "throughput": _whole(way.throughput),
        "last-used": iso(way.used_at),
        "last-failed": iso(way.failed_at),
        "problem": way.problem or None,
    }


def _transfer(transfer: Transfer, now: float) -> dict[str, Any]:
    return {
        "direction": "in" if transfer.incoming else "out",
        "snapshot": transfer.snapshot,
        "bytes": transfer.skipped + transfer.moved,
        "resumed-at": transfer.skipped or None,
        "rate": _whole(transfer.rate(now)),
    }


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
