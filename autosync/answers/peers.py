"""Answers how the peers of a workspace are reached, and what is being moved."""

from __future__ import annotations

import asyncio
from typing import Any

from autosync.answers.report import iso
from autosync.core.model import DeviceId
from autosync.link import Links, PeerStatus
from autosync.link.connection import INCOMING
from autosync.link.transfers import Transfer
from autosync.link.workspace import Way
from autosync.membership import Membership
from autosync.runner import Runner


def list_peers(links: Links, member: Membership) -> list[dict[str, Any]]:
    """Return one workspace's peers, the nearest first."""
    now = asyncio.get_running_loop().time()
    transfers = links.traffic.transfers.live(member.key.id)
    places = {device: place for place, device in enumerate(links.order(member.key.id))}
    peers = sorted(
        links.peers(member.key.id),
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


def list_transfers(links: Links, member: Membership) -> list[dict[str, Any]]:
    """Return what is being moved for one workspace."""
    now = asyncio.get_running_loop().time()
    names = {peer.device: peer.name for peer in links.peers(member.key.id)}
    live = links.traffic.transfers.live(member.key.id)
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


def _way(way: Way) -> dict[str, Any]:
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
