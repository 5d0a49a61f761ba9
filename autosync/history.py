"""Keeps the snapshots of one working copy, and lets go of them as they age."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from autosync.core.lineage import nearest_common, with_contained
from autosync.core.model import DeviceId, Order, Snapshot, SnapshotId, relate
from autosync.core.retention import (
    HOUR,
    Kept,
    Retention,
    beyond_quota,
    dated,
    is_keeping,
    kept_by,
    pin_name,
    resumed,
    surplus,
    undated,
)
from autosync.ports import CURRENT, Backend
from autosync.turns import Turns

MANY = 200
"""Snapshots after which the store wants tidying, however little time has passed."""
RECLAIMABLE = 2 * HOUR
"""Seconds after which the room of a snapshot can be had back: nothing being recorded refers to its parts."""
PEERS = 64
"""Other devices whose last known snapshot is kept for them."""

_PEER = "peers/"
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,100}")
_ROUNDS = 8
_GROWTH = 1.1
"""A store that is over its quota for good is not rewritten again before it has grown by this."""


def since_boot() -> float:
    """Return seconds that no clock setting changes and that go on while the machine sleeps (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tidied:
    """How a history was and is: counts of snapshots, bytes of the store.

    ``oldest`` is when the oldest snapshot that is left was kept, in seconds since the epoch
    by this device's clock; ``quota`` is in bytes.  ``bytes_after`` is not known of a rehearsal.
    """

    snapshots_before: int
    snapshots_after: int
    bytes_before: int
    bytes_after: int | None
    oldest: int | None
    quota: int | None


class History:
    """The snapshots of one working copy, under pins that say when they were kept.

    ``clock`` is the device's, in seconds since the epoch; it is asked when the history is
    opened and to show when something was.  Age is counted by ``elapsed``, in seconds since
    any moment.  Everything may be called from any thread.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        retention: Retention | None = None,
        turns: Turns | None = None,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = since_boot,
    ) -> None:
        self.backend = backend
        self.turns = turns or Turns()
        self._retention = retention or Retention()
        self._clock = clock
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._tidying = threading.Lock()
        self._snapshots: dict[SnapshotId, Snapshot] = {}
        self._unread: set[SnapshotId] = set()
        self._lost: set[SnapshotId] = set()
        self._start: tuple[int, float] | None = None
        self._last = 0
        self._young = 0
        self._vain = 0

    # -- keeping --------------------------------------------------------------------------
    def open(self) -> Snapshot | None:
        """Find what is kept, and return the last recorded state if it is whole.

        Nothing else is read: who needs the rest asks :meth:`known`.
        """
        pins = self.backend.pins()
        with self._lock:
            self._begin(pins)
            self._unread = {snapshot for pin, snapshot in pins.items() if is_keeping(pin)}
        pinned = pins.get(CURRENT)
        current = self.load(pinned) if pinned else None
        if current is not None and current.id not in self._unread:
            self.keep(current)  # the agent was killed between the two
        return current

    def load(self, snapshot_id: SnapshotId) -> Snapshot | None:
        """Return a snapshot of the store, ``None`` if it is not here."""
        if snapshot_id in self._lost:
            return None
        known = self._snapshots.get(snapshot_id)
        if known is None:
            known = self.backend.load(snapshot_id)
            if known is not None:
                with self._lock:
                    self._snapshots[snapshot_id] = known
        return known

    def known(self) -> list[Snapshot]:
        """Return every snapshot that is kept, as far as it is whole."""
        with self._lock:
            unread = self._unread - self._snapshots.keys()
        found = self.backend.load_many(unread) if unread else ()
        with self._lock:
            self._snapshots.update((snapshot.id, snapshot) for snapshot in found if snapshot.id not in self._lost)
            self._unread -= unread
            return list(self._snapshots.values())

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, from now on."""
        with self._lock:
            if self._start is None:
                self._begin(self.backend.pins())
            name = pin_name(snapshot.id, moment=self._next(), wall=int(self._clock()))
        self.backend.pin(name, snapshot.id)
        with self._lock:
            self._snapshots[snapshot.id] = snapshot
            self._lost.discard(snapshot.id)
            self._young += 1

    def lose(self, snapshot: SnapshotId) -> None:
        """Treat a snapshot, of which not all is here any more, as one that never was, until it is kept again."""
        with self._lock:
            self._lost.add(snapshot)
            self._snapshots.pop(snapshot, None)

    def settle_on(self, snapshot: SnapshotId) -> None:
        """Remember ``snapshot`` as the state that the working copy is at."""
        self.backend.pin(CURRENT, snapshot)

    def disown(self) -> None:
        """Forget which state the working copy is at."""
        self.backend.unpin(CURRENT)

    @property
    def wants_tidying(self) -> bool:
        """Whether so many snapshots came since the last time that looking for one gets slow."""
        return self._young >= MANY

    def _begin(self, pins: Mapping[str, SnapshotId]) -> None:
        kept = kept_by(pins)
        self._last = kept[-1].moment if kept else 0
        self._start = (resumed(kept[-1] if kept else None, self._clock()), self._elapsed())

    def _now(self) -> int:
        assert self._start is not None  # noqa: S101  (whoever asks has begun)
        moment, since = self._start
        return max(self._last, moment + int((self._elapsed() - since) * 1000))

    def _next(self) -> int:
        self._last = max(self._last + 1, self._now())
        return self._last

    # -- letting go ---------------------------------------------------------------------------
    def tidy(
        self, peers: Mapping[DeviceId, SnapshotId] | None = None, *, thorough: bool = False, rehearse: bool = False
    ) -> Tidied:
        """Let go of what is too old or too much, pack the store, and return what came of it.

        ``peers`` says where the other devices were last heard to be.  ``thorough`` reclaims
        the room at once instead of within weeks; ``rehearse`` changes nothing.  Blocks no one
        who records or reads meanwhile.
        """
        with self._tidying:
            pins = self.backend.pins()
            with self._lock:
                if self._start is None:
                    self._begin(pins)
                young, self._young = self._young, 0
                now = self._now()
            size = self.backend.size()
            if not rehearse:
                self._note_peers(peers or {}, pins)
                self._adopt(pins, now)
                pins = self.backend.pins()
            in_use = self._in_use(pins)
            before = kept_by(pins)
            gone = surplus(before, now, self._retention, in_use=in_use)
            left = _without(before, gone)
            if rehearse:
                with self._lock:
                    self._young += young
            else:
                self.backend.repin(add={}, drop=[kept.pin for kept in gone])
                self._forget(in_use)  # before its parts go: nobody is to start from it any more
                self.backend.tidy(thorough=thorough, alone=self.turns.alone)
                left = self._fit_quota(left, now, in_use, thorough=thorough)
                self._forget(in_use)
            return Tidied(
                snapshots_before=len(before),
                snapshots_after=len(left),
                bytes_before=size,
                bytes_after=None if rehearse else self.backend.size(),
                oldest=left[0].wall if left else None,
                quota=self._retention.quota,
            )

    def _fit_quota(
        self, kept: tuple[Kept, ...], now: int, in_use: frozenset[SnapshotId], *, thorough: bool
    ) -> tuple[Kept, ...]:
        """Let the oldest go until the store is within its quota; return what is left.

        What is younger than :data:`RECLAIMABLE` stays: its room cannot be had back yet.
        """
        quota = self._retention.quota
        size = self.backend.size()
        if quota is None or size <= quota or (not thorough and size < _GROWTH * self._vain):
            return kept
        if not thorough:  # perhaps it is only not packed yet
            self.backend.tidy(thorough=True, alone=self.turns.alone)
        young = frozenset(each.snapshot for each in kept if now - each.moment < RECLAIMABLE * 1000)
        for _ in range(_ROUNDS):
            size = self.backend.size()
            gone = beyond_quota(kept, size=size, quota=quota, in_use=in_use | young)
            if not gone:
                self._vain = size if size > quota else 0
                break
            self.backend.repin(add={}, drop=[each.pin for each in gone])
            kept = _without(kept, gone)
            self.backend.tidy(thorough=True, alone=self.turns.alone)
            if self.backend.size() >= size:
                break  # its packs are younger than it: taking more would only lose more
        return kept

    def _in_use(self, pins: Mapping[str, SnapshotId]) -> frozenset[SnapshotId]:
        """Return where this and the other devices are, and what a merge with them would start from."""
        used = {snapshot for pin, snapshot in pins.items() if not is_keeping(pin)}
        ours = self.load(pins[CURRENT]) if CURRENT in pins else None
        for other in tuple(used) if ours is not None else ():
            theirs = self.load(other)
            if ours is not None and theirs is not None and relate(ours, theirs) is Order.CONCURRENT:
                nearest = nearest_common(ours, theirs, self.load).nearest
                used |= {snapshot.id for snapshot in with_contained(nearest, ours, theirs, self.known)}
        return frozenset(used)

    def _note_peers(self, peers: Mapping[DeviceId, SnapshotId], pins: Mapping[str, SnapshotId]) -> None:
        """Keep where the other devices are: who comes back after months is merged from there."""
        heard = {_PEER + device: s for device, s in peers.items() if _DEVICE.fullmatch(device)}
        noted = sorted(pin for pin in pins if pin.startswith(_PEER))
        for pin, snapshot in sorted(heard.items())[:PEERS]:
            if pins.get(pin) != snapshot and self.load(snapshot) is not None:
                self.backend.pin(pin, snapshot)
                if pin not in noted:
                    noted.append(pin)
        too_many = len(noted) - PEERS
        for pin in [pin for pin in noted if pin not in heard][: max(0, too_many)]:
            self.backend.unpin(pin)

    def _adopt(self, pins: Mapping[str, SnapshotId], now: int) -> None:
        """Give the pins of an older autosync a moment."""
        old = undated(pins)
        if not old:
            return
        kept = kept_by(pins)
        moments = dated(self.backend.load_many(frozenset(old.values())), kept[0].moment if kept else now)
        add = {pin_name(s, moment=moment, wall=moment // 1000): s for s, moment in moments.items()}
        self.backend.repin(add=add, drop=[pin for pin, snapshot in old.items() if snapshot in moments])

    def _forget(self, in_use: frozenset[SnapshotId]) -> None:
        """Drop from memory what is not kept any more."""
        with self._lock:  # what comes meanwhile is in memory only when it is in the pins too
            held = in_use | set(self.backend.pins().values())
            self._snapshots = {s: snapshot for s, snapshot in self._snapshots.items() if s in held}
            self._unread &= held


def _without(kept: tuple[Kept, ...], gone: tuple[Kept, ...]) -> tuple[Kept, ...]:
    taken = {each.pin for each in gone}
    return tuple(each for each in kept if each.pin not in taken)
