"""Remembers what the other devices said and ranks where a snapshot can be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from autosync.core.announcement import MAX_DEVICES
from autosync.core.commands import Source, SourceKind
from autosync.core.events import Announced, Announcement
from autosync.core.model import Base, CommitId, DeviceId, Order, Snapshot, SnapshotId, TreeId, Version, relate
from autosync.core.retry import wait_after

HELLO = "hello"
"""The state in the first announcement after a channel came up: whoever is there answers with his own."""
PLAUSIBLE = 1 << 40
"""No device has ever made so many states: a counter above it was made up."""
LAPSE_FIRST, LAPSE_MOST = 30.0, 600.0
"""Seconds for which a device that failed to give what it has is asked after the others."""
RETRY_FIRST = 1.0
RETRY_MOST = 60.0
"""Seconds between attempts to fetch what no source had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a peer's snapshot was not joined with ``ours``; tried again when ours moves on."""

    ours: SnapshotId
    title: str
    hint: str


@dataclass(slots=True, kw_only=True)
class Peer:
    """What is known of one other device."""

    device: DeviceId
    name: str
    state: str = "unknown"
    snapshot: SnapshotId | None = None
    tree: TreeId | None = None
    version: Version | None = None
    """``None`` while the snapshot is known by the hub's listing alone."""
    base: Base | None = None
    heard: bool = False
    """Whether the device itself has said something, now or in words that were kept."""
    seen: float = 0.0
    """When it last said something itself; 0 if only words that were kept are known."""
    same_store: bool = False
    """Whether it keeps its snapshots where this device does."""
    busy_until: float = 0.0
    """When it may have finished serving others; 0 if it was never busy."""
    lapses: int = 0
    """Fetches from it that failed in a row, whatever the snapshot."""
    passed_over_until: float = 0.0
    """Until when others that have the same are asked before it: it failed to give what it said it has."""
    pack: bytes = b""
    lane: str = ""
    on_hub: bool = False
    here: Snapshot | None = None
    """The snapshot, once it is in our store."""
    misses: int = 0
    """Fetches in a row that failed, whatever the snapshot: its turn comes after the others'."""
    failures: int = 0
    retry_at: float = 0.0
    reason: str = ""
    refusal: Refusal | None = None
    weighed: Snapshot | None = None
    """The state of ours with which ``is_news`` compares theirs; ``None`` once theirs is another one."""
    is_news: bool = False
    advanced: int = 0
    """The sum of the counters of what is news: a later state has a greater one."""

    def has_reached(self, state: Snapshot) -> bool:
        """Return whether it has said that it has all that ``state`` has."""
        return self.version is not None and state.version.compare(self.version) in (Order.EQUAL, Order.BEFORE)


class Peers:
    """All other devices of one workspace."""

    def __init__(self) -> None:
        self._peers: dict[DeviceId, Peer] = {}
        self._on_hub: dict[DeviceId, Peer] = {}
        """What the hub lists and no announcement has told of: it may be older or newer."""
        self._places: dict[DeviceId, int] = {}
        """Of the linked devices in the order in which they are asked."""

    def all(self) -> tuple[Peer, ...]:
        """Return the peers by name."""
        silent = [p for device, p in self._on_hub.items() if device not in self._peers]
        return tuple(sorted([*self._peers.values(), *silent], key=lambda p: (p.name, p.device)))

    def _known(self) -> list[Peer]:
        return [*self._peers.values(), *self._on_hub.values()]

    def announced(self, event: Announced, now: float) -> None:
        """Take note of an announcement."""
        said, lane = event.announcement, event.lane
        peer = self._peers.get(said.device) or self._met(said)
        peer.name, peer.state, peer.heard = said.name, "ok" if said.state == HELLO else said.state, True
        peer.seen = now if event.live else peer.seen
        peer.same_store = event.same_store
        peer.tree, peer.base = said.tree, said.base
        if said.snapshot != peer.snapshot or peer.version is None:
            peer.snapshot, peer.here = said.snapshot, peer.here if said.snapshot == peer.snapshot else None
            peer.version = said.version if said.snapshot else None
            peer.weighed = None
            peer.pack, peer.on_hub, peer.refusal = b"", False, None
        peer.pack = said.inline or peer.pack
        peer.lane = lane
        peer.on_hub = peer.on_hub or said.on_hub
        peer.failures, peer.retry_at, peer.reason = 0, 0.0, ""

    def _met(self, said: Announcement) -> Peer:
        if len(self._peers) >= MAX_DEVICES:
            # Rather one whose word was never good for anything; then the one silent for longest.
            goes = min(self._peers.values(), key=lambda p: (p.here is not None, p.seen))
            del self._peers[goes.device]
        peer = self._peers[said.device] = Peer(device=said.device, name=said.name)
        return peer

    def listed(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Take note of a snapshot found on the hub."""
        peer = self._peers.get(device)
        if peer is not None and peer.snapshot == snapshot:
            peer.on_hub = True
            self._on_hub.pop(device, None)
        elif device not in self._on_hub or self._on_hub[device].snapshot != snapshot:
            name = peer.name if peer else device.rpartition("-")[0] or device
            self._on_hub[device] = Peer(device=device, name=name, snapshot=snapshot, on_hub=True)

    def fetched(self, snapshot: Snapshot) -> None:
        """Take note that a snapshot is in our store now."""
        for peer in self._known():
            if peer.snapshot == snapshot.id:
                peer.here, peer.version, peer.pack, peer.weighed = snapshot, snapshot.version, b"", None
                peer.misses = 0
                peer.failures, peer.retry_at, peer.reason = 0, 0.0, ""

    def failed(self, wanted: SnapshotId, reason: str, now: float, *, most: float = RETRY_MOST) -> None:
        """Take note that no source had ``wanted``; it is tried again later, more and more rarely.

        ``most`` is the longest wait in seconds.
        """
        for peer in self._known():
            if peer.snapshot == wanted:
                peer.misses += 1
                peer.failures += 1
                peer.reason = reason
                peer.retry_at = now + wait_after(peer.failures - 1, RETRY_FIRST, most)

    def busy(self, device: DeviceId, until: float) -> None:
        """Take note that ``device`` serves others first: others that have the same are asked before it."""
        for peer in self._known():
            if peer.device == device:
                peer.busy_until = until

    def lapsed(self, device: DeviceId, now: float) -> None:
        """Take note that ``device`` failed to give what it has: one that always does would delay every fetch."""
        for peer in self._known():
            if peer.device == device:
                peer.passed_over_until = now + wait_after(peer.lapses, LAPSE_FIRST, LAPSE_MOST)
                peer.lapses += 1

    def gave(self, device: DeviceId) -> None:
        """Take note that a snapshot was had from ``device``."""
        for peer in self._known():
            if peer.device == device:
                peer.busy_until, peer.passed_over_until, peer.lapses = 0.0, 0.0, 0

    def postponed(self, wanted: SnapshotId, until: float) -> None:
        """Take note that all who have ``wanted`` are busy; no failure, and whoever has it next is asked at once."""
        for peer in self._known():
            if peer.snapshot == wanted:
                peer.retry_at = until

    def ranked(self, order: Sequence[DeviceId]) -> None:
        """Take note of the order in which the linked devices are to be asked."""
        self._places = {device: place for place, device in enumerate(order)}

    def share_store(self) -> bool:
        """Return whether all devices that were heard of keep their snapshots where this one does."""
        return bool(self._peers) and all(peer.same_store for peer in self._peers.values())

    def highest(self, device: DeviceId) -> int:
        """Return the greatest counter of ``device`` in any peer's version."""
        counts = (p.version.count(device) for p in self._known() if p.version)
        return max((n for n in counts if n <= PLAUSIBLE), default=0)

    def elsewhere(self, current: Snapshot) -> list[Peer]:
        """Return those that have not said yet that they are at ``current``, but none that keeps edits to itself."""
        others = [p for p in self.all() if not (p.heard and p.snapshot is None)]
        # One with the same files may not have our commit yet; one that only sends has what it needs, whatever ours is.
        return [p for p in others if p.tree != current.tree or (p.base != current.base and not p.has_reached(current))]

    def news(self, current: Snapshot) -> list[Peer]:
        """Return the peers whose snapshot ``current`` does not contain.

        The most advanced come first, but none whose snapshots cannot be had can keep the
        others waiting.
        """
        # Remembered until one of the two moves on: every announcement of one device has all of them asked about.
        known = chain(self._peers.values(), self._on_hub.values())
        news = [p for p in known if (p.is_news if p.weighed is current else _weigh_anew(p, current))]
        return sorted((p for p in news if not _is_refused(p, current)), key=_turn)

    def bases(self) -> frozenset[CommitId]:
        """Return the changesets that peers were last heard to have checked out."""
        return frozenset(p.base.commit for p in self._peers.values() if p.base and p.base.commit)

    def reached(self) -> tuple[SnapshotId, ...]:
        """Return the states at which peers were last heard to be: the oldest, and the newest if that is another.

        What is new since the oldest is of use to all of them, but one may have been away for long.
        """
        there = [p for p in self._peers.values() if p.snapshot and p.version]
        there.sort(key=lambda p: (sum(n for _, n in p.version.counters) if p.version else 0, p.snapshot))
        return tuple(dict.fromkeys(p.snapshot for p in (*there[:1], *there[-1:]) if p.snapshot))

    def sources(self, wanted: SnapshotId, now: float) -> list[Source]:
        """Return the places to get ``wanted`` from: what is here in a sense, then peers, then the hub."""
        holders = sorted((p for p in self._known() if p.snapshot == wanted), key=lambda p: self._distance(p, now))
        store = [Source(kind=SourceKind.STORE, device=p.device) for p in holders if p.same_store][:1]
        inline = [Source(kind=SourceKind.INLINE, device=p.device, pack=p.pack, lane=p.lane) for p in holders if p.pack][
            :1
        ]
        direct = [Source(kind=SourceKind.PEER, device=p.device) for p in holders if p.heard]
        hub = [Source(kind=SourceKind.HUB, device=p.device) for p in holders if p.on_hub]
        return store + inline + direct + hub[:1]

    def _distance(self, peer: Peer, now: float) -> tuple[float, float, int, DeviceId]:
        place = self._places.get(peer.device, len(self._places))
        return max(0.0, peer.passed_over_until - now), max(0.0, peer.busy_until - now), place, peer.device

    def makers(self, snapshot: Snapshot) -> list[Peer]:
        """Return the peers that made ``snapshot`` and can be expected to act: they said something, but not good-bye."""
        names = snapshot.device.split("+")
        return [p for p in self._peers.values() if p.name in names and p.seen and p.state != "stopped"]

    def direct(self, first: SnapshotId, now: float) -> list[Source]:
        """Return every peer that was heard of, those at ``first`` first."""
        heard = [p for p in self._known() if p.heard]
        heard.sort(key=lambda p: (p.snapshot != first, self._distance(p, now)))
        return [Source(kind=SourceKind.PEER, device=p.device) for p in heard]

    def refused(self, theirs: SnapshotId, ours: SnapshotId, reason: str, hint: str) -> None:
        """Take note that ``theirs`` cannot be joined with ``ours`` without the user."""
        for peer in self._known():
            if peer.snapshot == theirs:
                peer.refusal = Refusal(ours=ours, title=reason, hint=hint)

    def retry_all(self) -> None:
        """Forget failures and refusals: try everything again at once."""
        for peer in self._known():
            peer.refusal, peer.retry_at, peer.failures = None, 0.0, 0


def _turn(peer: Peer) -> tuple[int, bool, int, DeviceId]:
    return peer.misses, not (peer.pack or peer.here), -peer.advanced, peer.device


def _is_refused(peer: Peer, current: Snapshot) -> bool:
    return peer.refusal is not None and peer.refusal.ours == current.id


def _weigh_anew(peer: Peer, current: Snapshot) -> bool:
    peer.weighed, peer.is_news = current, _weigh(peer, current)
    peer.advanced = sum(n for _, n in peer.version.counters) if peer.is_news and peer.version else 0
    return peer.is_news


def _weigh(peer: Peer, current: Snapshot) -> bool:
    if peer.snapshot in (None, current.id):
        return False
    if peer.here is not None:
        return relate(current, peer.here) in (Order.BEFORE, Order.CONCURRENT)
    if peer.version is None:
        return True
    order = current.version.compare(peer.version)
    if order is Order.EQUAL:
        return peer.snapshot is not None and current.id > peer.snapshot
    return order in (Order.BEFORE, Order.CONCURRENT)
