"""Moves snapshots and branches between a working copy in memory, its peers and its hub."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import BinaryIO

from autosync.backends.memory import bundle
from autosync.backends.memory.hub import MemoryHub
from autosync.backends.memory.user import UserSide
from autosync.core.model import CommitId, DeviceId, Snapshot, SnapshotId, WorkspaceId
from autosync.errors import Missing, Refused

_OFFERED = 256
"""How many changesets :meth:`Exchange.haves` names at most."""


class Exchange:
    """The exchange methods of :class:`autosync.ports.Backend`."""

    def __init__(self, user: UserSide, *, hub: MemoryHub | None, workspace: WorkspaceId) -> None:
        self.user = user
        self.store = user.store
        self.hub = hub
        self.workspace = workspace

    def pack(
        self,
        snapshot: SnapshotId,
        *,
        limit: int,
        known: Collection[CommitId] = (),
        reached: Sequence[SnapshotId] = (),
    ) -> bytes | None:
        """Return what ``snapshot`` has beyond its base or ``known``, or else one of ``reached``.

        ``None`` if it is larger than ``limit`` bytes.
        """
        packed = bundle.pack(self.store, snapshot, list(known) or None)
        base = self.store.snapshots[snapshot].base
        states = [state for oid in reached if (state := self.store.snapshots.get(oid)) and state.base == base]
        small = (bundle.pack(self.store, snapshot, None, state=state) for state in states)
        return next((part for part in (packed, *small) if len(part) <= limit), None)

    def absorb(self, snapshot: SnapshotId, pack: bytes) -> Snapshot:
        """Store an inline pack and return the snapshot.  Raises :class:`Missing`, :class:`Unsafe`."""
        return bundle.unpack(self.store, snapshot, pack)

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """Write what brings one who has ``have`` to ``want``.  Raises :class:`Missing`."""
        out.write(bundle.pack(self.store, want, have))

    def receive(self, want: SnapshotId, pack: BinaryIO) -> Snapshot:
        """Store what :meth:`serve` of a peer wrote.  Raises :class:`Missing`, :class:`Unsafe`."""
        return bundle.unpack(self.store, want, pack.read())

    def haves(self) -> Sequence[str]:
        """Return the changesets that are here, what is checked out first."""
        head = self.user.head().commit
        tips = list(self.user.branches.values())
        return self.store.history(tips if head is None else [head, *tips])[:_OFFERED]

    def push(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Put ``snapshot`` on the hub as this device's latest.

        Raises :class:`Unreachable`, :class:`Refused`.
        """
        hub = self._hub()
        with hub.lock:
            bundle.unpack(hub.store, snapshot, bundle.pack(self.store, snapshot, hub.store.changesets))
            hub.latest[self.workspace, device] = snapshot

    def list_hub(self) -> Mapping[DeviceId, SnapshotId]:
        """Return the latest snapshot of every device of this workspace."""
        hub = self._hub()
        with hub.lock:
            return {device: snapshot for (space, device), snapshot in hub.latest.items() if space == self.workspace}

    def probe_hub(self) -> None:
        """Find out whether the hub answers.  Raises :class:`Unreachable`, :class:`Refused`."""
        self._hub()

    def fetch(self, device: DeviceId, snapshot: SnapshotId) -> Snapshot:
        """Get the latest of ``device`` from the hub, if it is not here.

        Raises :class:`Missing`, :class:`Unreachable`.
        """
        here = self.store.snapshots.get(snapshot)
        if here is not None:
            return here
        hub = self._hub()
        with hub.lock:
            if hub.latest.get((self.workspace, device)) != snapshot:
                raise Missing(
                    f"The hub does not have {snapshot} as the latest of {device}.",
                    hint="It is asked again when the device has pushed.",
                )
            return bundle.unpack(self.store, snapshot, bundle.pack(hub.store, snapshot, self.haves()))

    def push_branch(self, branch: str) -> bool:
        """Push the user's branch to the hub; ``False`` if the hub has moved on."""
        hub = self._hub()
        with hub.lock:
            tip, there = self.user.branches[branch], hub.branches.get(branch)
            if there is not None and there not in self.store.history([tip]):
                return False
            hub.store.copy_history(self.store, tip)
            hub.branches[branch] = tip
            return True

    def fetch_branch(self, branch: str) -> CommitId | None:
        """Get the hub's ``branch`` and return its tip, ``None`` if it has none."""
        hub = self._hub()
        with hub.lock:
            tip = hub.branches.get(branch)
            if tip is not None:
                self.store.copy_history(hub.store, tip)
            return tip

    def _hub(self) -> MemoryHub:
        if self.hub is None:
            raise Refused("This working copy has no hub.", hint="Name a remote for it in the configuration.")
        self.hub.answer()
        return self.hub
