"""The values that everything else speaks of: entries, trees, versions, snapshots."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NewType

RelPath = NewType("RelPath", bytes)
"""A path below the working copy's root: raw bytes, "/" between components, no
leading or trailing "/".  ``b""`` is the root itself."""

ObjectId = NewType("ObjectId", str)
"""Hex id of a file's content as the version control system stores it."""
TreeId = NewType("TreeId", str)
"""Hex id of a whole tree; equal exactly when the content is."""
CommitId = NewType("CommitId", str)
"""Hex id of a changeset the user made."""
SnapshotId = NewType("SnapshotId", str)
"""Hex id of a snapshot."""
DeviceId = NewType("DeviceId", str)
"""``<device name>-<8 hex digits>``; new for every state directory, so that a
counter in a :class:`Version` is never used twice."""
WorkspaceId = NewType("WorkspaceId", str)
"""32 hex digits, derived from the workspace key."""


class Kind(Enum):
    """What a path is."""

    FILE = "file"
    EXECUTABLE = "executable"
    SYMLINK = "symlink"
    NESTED = "nested"  # a submodule or nested repository: its commit id, never its files


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What stands at one path: a kind and the id of its content."""

    kind: Kind
    oid: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The difference between two trees at one path; ``None`` means absent."""

    path: RelPath
    old: Entry | None
    new: Entry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a working copy has checked out.

    ``commit`` is ``None`` before the first commit; ``branch`` is the full name
    (``refs/heads/main``) or ``None`` on a detached HEAD.
    """

    commit: CommitId | None
    branch: str | None


class Order(Enum):
    """How one version relates to another."""

    EQUAL = "equal"
    BEFORE = "before"
    AFTER = "after"
    CONCURRENT = "concurrent"


@dataclass(frozen=True, slots=True)
class Version:
    """A version vector: how many local states of each device are contained.

    Orders snapshots without trusting any clock (Parker et al. 1983,
    "Detection of mutual inconsistency in distributed systems").
    """

    counters: tuple[tuple[DeviceId, int], ...] = ()
    """In canonical order: by device."""

    @classmethod
    def of(cls, counters: Mapping[DeviceId, int]) -> Version:
        """Return the version with these counters, in canonical order."""
        return cls(tuple(sorted((d, n) for d, n in counters.items() if n > 0)))

    def count(self, device: DeviceId) -> int:
        """Return the counter of ``device``, 0 if it is not contained."""
        at = bisect_left(self.counters, (device,))
        return self.counters[at][1] if at < len(self.counters) and self.counters[at][0] == device else 0

    def bump(self, device: DeviceId, *, above: int = 0) -> Version:
        """Return this version with ``device`` raised past its counter and past ``above``."""
        counters = dict(self.counters)
        counters[device] = max(counters.get(device, 0), above) + 1
        return Version.of(counters)

    def join(self, other: Version) -> Version:
        """Return the least version that contains both."""
        counters = dict(self.counters)
        for device, n in other.counters:
            counters[device] = max(counters.get(device, 0), n)
        return Version.of(counters)

    def meet(self, other: Version) -> Version:
        """Return the greatest version that both contain."""
        counters = dict(other.counters)
        return Version.of({device: min(n, counters.get(device, 0)) for device, n in self.counters})

    def compare(self, other: Version) -> Order:
        """Return how this version relates to ``other``."""
        if self.counters == other.counters:
            return Order.EQUAL
        ahead, behind = _exceeds(self.counters, other.counters), _exceeds(other.counters, self.counters)
        if ahead:
            return Order.CONCURRENT if behind else Order.AFTER
        return Order.BEFORE if behind else Order.EQUAL


def _exceeds(one: tuple[tuple[DeviceId, int], ...], other: tuple[tuple[DeviceId, int], ...]) -> bool:
    """Return whether any counter of ``one`` is greater than in ``other``."""
    counters = dict(other)
    return any(n > counters.get(device, 0) for device, n in one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An in-memory commit of a working copy at one moment.

    ``parents`` are the snapshots it continues (one, or two for a merge);
    they are names only, the objects may be gone.  ``device`` is the name of
    the device that made it; a merge carries both names, joined by "+".
    ``time`` is in whole seconds since the epoch and is only ever shown, never
    used to decide an order.
    """

    id: SnapshotId
    tree: TreeId
    base: Base
    version: Version
    parents: tuple[SnapshotId, ...]
    device: str
    time: int


def relate(ours: Snapshot, theirs: Snapshot) -> Order:
    """Return how ``ours`` relates to ``theirs``.

    Versions decide.  Two different snapshots of one version can only be two
    merges of one pair made from different knowledge; each holds all content
    of both sides, so the smaller id counts as the later one on every device.
    """
    if ours.id == theirs.id:
        return Order.EQUAL
    order = ours.version.compare(theirs.version)
    if order is Order.EQUAL:
        return Order.AFTER if ours.id < theirs.id else Order.BEFORE
    return order


def parent_directories(path: RelPath) -> Iterable[RelPath]:
    """Yield the directories above ``path``, nearest first, without the root."""
    while True:
        path = RelPath(path.rpartition(b"/")[0])
        if not path:
            return
        yield path
