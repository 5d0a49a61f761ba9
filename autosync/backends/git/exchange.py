"""Moves snapshots between this store and others: inline, peer and hub."""

from __future__ import annotations

import contextlib
import io
import os
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import BinaryIO, cast

from autosync.backends.git.arrived import Arrived
from autosync.backends.git.cli import Git
from autosync.backends.git.following import Following
from autosync.backends.git.hub import Hub
from autosync.backends.git.incoming import incoming
from autosync.backends.git.inline import TooLarge, beyond_base, beyond_state
from autosync.backends.git.network import Patience
from autosync.backends.git.pins import Pins
from autosync.backends.git.refnames import RefNames
from autosync.backends.git.repository import Repository
from autosync.backends.git.store import Store
from autosync.backends.git.thin import Bounds, Loose, decode, encode
from autosync.causes import PASSING
from autosync.core.model import Base, CommitId, DeviceId, Snapshot, SnapshotId, WorkspaceId
from autosync.errors import AutosyncError, Missing, TransientError, Unreachable, Unsafe

RECEIVE_LIMIT = 16 << 30
"""Bytes of one pack from a peer."""
HAVES = 256
"""Ids offered to a peer."""

_SERVED_HAVES = 1024
_CHUNK = 1 << 16
_SMALLEST_OBJECT = 12
"""Bytes an object takes in a pack at the very least."""
_WINDOW = 3
"""Objects that git tries each one's delta against.  Of 10,000 edited files 3 make a pack 0.8 % larger than
git's 10 do, in half the time; 10,000 new ones, which have none, take a third of it."""
_ALL_PINS = "refs/autosync/pins/"


class Exchange:
    """The exchange of one working copy, for any number of threads.

    ``remote`` is the name or URL of the hub in the user's repository, ``None`` for
    no hub; ``hub_prefix`` is where the snapshots are put there (``refs/autosync``).
    """

    def __init__(
        self,
        repo: Repository,
        store: Store,
        workspace: WorkspaceId,
        remote: str | None,
        hub_prefix: str,
        *,
        names: RefNames,
        patience: Patience | None = None,
        receive_limit: int = RECEIVE_LIMIT,
        subscribe: Sequence[str] = (),
    ) -> None:
        self._repo = repo
        self._store = store
        self._pins = Pins(repo)
        self._hub = Hub(repo, store, workspace, remote, hub_prefix, names=names, patience=patience or Patience())
        self.following = Following(repo, self._hub, subscribe)
        self._receive_limit = receive_limit
        self._received: deque[SnapshotId] = deque(maxlen=4)
        self._doubted = False
        """Whether the last pack built on what is not here, though it was offered."""
        self._outgrown: tuple[Base | None, int] = None, 0
        """The base beyond which there was too much to travel inline, and how many bytes that was, not packed."""

    def close(self) -> None:
        """End every transfer with the hub."""
        self._hub.close()

    # -- inline ----------------------------------------------------------------------------
    def pack(
        self,
        snapshot: SnapshotId,
        *,
        limit: int,
        known: Collection[CommitId] = (),
        reached: Sequence[SnapshotId] = (),
    ) -> bytes | None:
        """Return a thin pack of exactly what ``snapshot`` has beyond its base, or, if that is larger than
        ``limit`` bytes, beyond the first of ``reached`` with which it is not, else ``None``.

        A few changesets between one of ``known`` and the base are in it as well, if there is
        room: who is told of a large commit may well have it already.  Raises :class:`Missing`.
        """
        loaded = self._loaded(snapshot)
        most = min(limit // _SMALLEST_OBJECT, Bounds().objects)
        whole = [partial(beyond_base, known=told) for told in dict.fromkeys((frozenset(known), frozenset[CommitId]()))]
        states = [s for s in self._store.load_many(reached) if s.base.commit == loaded.base.commit]
        part = [partial(beyond_state, state=state) for state in states]
        for choose in (*whole, *part):
            with contextlib.suppress(TooLarge):
                beyond = choose(self._store, loaded, most=most)
                if choose in whole and self._outgrown[0] == loaded.base and beyond.size >= self._outgrown[1]:
                    continue
                packed = encode(beyond.objects, self._repo.hash_name, limit=min(limit, Bounds().packed))
                if packed is not None:
                    return packed
                if choose in whole:
                    self._outgrown = loaded.base, beyond.size
        return None

    def absorb(self, snapshot: SnapshotId, pack: bytes) -> Snapshot:
        """Take in an inline pack and return the snapshot; it is kept in memory until it is pinned.

        Raises :class:`Missing` if its base is not here, :class:`Unsafe` if the
        content is not what the id says or holds a name we must not write.
        """
        self._checked(snapshot)
        known = self._store.load(snapshot)
        if known is not None:
            return known
        objects = decode(pack, self._repo.hash_name, self._base_of_delta, Bounds())
        arrived = Arrived(self._store, objects)
        if arrived.holds_modules():  # only git can tell what is wrong with them
            return self.receive(snapshot, io.BytesIO(pack))
        checked = arrived.check(snapshot)
        if sum(loose.kind == b"commit" for loose in objects.values()) > 1:  # git itself is asked about changesets
            self._store.write([(oid, loose.kind, loose.content) for oid, loose in objects.items()])
            return checked
        for oid, loose in objects.items():
            self._store.keep(oid.hex(), loose.kind, loose.content)
        return checked

    def _base_of_delta(self, oid: bytes, size: int) -> Loose | None:
        header = self._store.header(oid.hex())
        if header is None or header[1] != size:
            return None
        return Loose(kind=header[0], content=self._store.read(oid.hex())[1])

    # -- peer --------------------------------------------------------------------------------
    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """Write a pack to ``out`` that brings one who has the commits and snapshots ``have`` to ``want``.

        It contains public history that the other lacks.  Raises :class:`Missing` if
        ``want`` is not a snapshot of this store, or belongs to another worktree's workspace.
        """
        self._loaded(want)
        self._refuse_foreign(want)
        self._store.flush()  # what came inline a moment ago git would not find
        known = [oid for oid in have[:_SERVED_HAVES] if self._repo.is_id(oid) and self._store.has_commit(CommitId(oid))]
        # With one thread the same question has the same answer, so that one that was cut can be gone on with.
        # Snapshots are no parents of each other; with --shallow what those in ``have`` hold is left out all the same.
        options = (
            "--threads=1",
            "--revs",
            "--thin",
            "--shallow",
            "--stdout",
            "--delta-base-offset",
            "-q",
            f"--window={_WINDOW}",
        )
        process = self._repo.store.start("pack-objects", *options)
        try:
            with contextlib.suppress(BrokenPipeError), cast(BinaryIO, process.stdin) as stdin:  # its end says more
                stdin.write("".join([f"{want}\n", *(f"^{oid}\n" for oid in known)]).encode())
            stdout = cast(BinaryIO, process.stdout)
            while part := stdout.read(_CHUNK):
                out.write(part)
            if process.wait() != 0:
                raise TransientError(
                    f"git pack-objects could not pack snapshot {want}",
                    hint=f"Look at `git -C {os.fsdecode(self._repo.store_dir)} fsck`.",
                )
        finally:
            process.kill()
            process.wait()
            cast(BinaryIO, process.stdout).close()

    def receive(self, want: SnapshotId, pack: BinaryIO) -> Snapshot:
        """Store what :meth:`serve` of a peer wrote and return the snapshot.

        Until it has proven whole and harmless nothing of it is in the store.  Raises as
        :meth:`absorb`, and :class:`Unreachable` if it breaks off.
        """
        self._checked(want)
        known = self._store.load(want)
        if known is not None and self._standing([want]):
            return known
        try:
            snapshot = self._taken_in(want, pack)
        except Missing:
            self._doubted = True
            raise
        self._doubted = False
        self._received.append(want)
        return snapshot

    def _taken_in(self, want: SnapshotId, pack: BinaryIO) -> Snapshot:
        with incoming(self._repo) as arriving:
            try:
                arriving.take(pack, limit=self._receive_limit)
            except OSError as error:
                if error.errno in PASSING:
                    raise
                raise Unreachable(
                    f"The transfer of snapshot {want} broke off: {error}", hint="It will be tried again."
                ) from error
            return arriving.admit(want)

    def haves(self) -> Sequence[str]:
        """Return the ids of commits and snapshots to offer to :meth:`serve` of a peer, best first.

        These are HEAD, what has come last, our pinned snapshots, the branches and the
        remote-tracking branches, most recent first within each; :data:`HAVES` at most.  A snapshot
        whose base the user has pruned is not offered, and after a pack that built on what is not
        here only his own refs are: git keeps what they hold whole.
        """
        # Not pinned yet: what follows may be wanted before it is integrated.
        received = [] if self._doubted else self._standing(list(reversed(self._received)))
        pins = [] if self._doubted else self._standing(self._pins.best(HAVES // 2))
        _, head = self._repo.git.call("rev-parse", "--quiet", "--verify", "HEAD^{commit}", accept=(0, 1, 128))
        heads = _tips(self._repo.git, HAVES, "refs/heads")
        remotes = _tips(self._repo.git, HAVES, "refs/remotes")
        return list(dict.fromkeys([*head.decode().split(), *received, *pins, *heads, *remotes]))[:HAVES]

    def _standing(self, snapshots: Sequence[SnapshotId]) -> list[str]:
        """Return those of ``snapshots`` that are here, base and all, in their order."""
        loaded = self._store.load_many(snapshots)
        here = self._store.headers(s.base.commit for s in loaded if s.base.commit is not None)
        standing = {s.id for s in loaded if s.base.commit is None or s.base.commit in here}
        return [snapshot for snapshot in snapshots if snapshot in standing]

    def _refuse_foreign(self, want: SnapshotId) -> None:
        """Raise :class:`Missing` for a snapshot that only other worktrees have pinned."""
        if not os.path.isdir(os.path.join(self._repo.common_dir, b"worktrees")):
            return
        listed = self._repo.store.run("for-each-ref", f"--points-at={want}", "--format=%(refname)", _ALL_PINS)
        pins = os.fsdecode(listed).splitlines()
        if pins and not any(pin.startswith(self._repo.pin_prefix) for pin in pins):
            raise _absent(want)

    # -- hub ---------------------------------------------------------------------------------
    def push(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Put ``snapshot`` on the hub as this device's latest.  Raises :class:`Unreachable`, :class:`Refused`."""
        self._loaded(snapshot)
        self._hub.push(device, snapshot)

    def list_hub(self) -> Mapping[DeviceId, SnapshotId]:
        """Return the latest snapshot of every device that the hub has for this workspace."""
        return self._hub.list_hub()

    def probe_hub(self) -> None:
        """Find out whether the hub takes what is ours.  Raises :class:`Unreachable`, :class:`Refused`."""
        self._hub.probe()

    def fetch(self, device: DeviceId, snapshot: SnapshotId) -> Snapshot:
        """Get ``snapshot``, latest of ``device``, from the hub.  Raises :class:`Missing`, :class:`Unreachable`."""
        self._checked(snapshot)
        return self._store.load(snapshot) or self._hub.fetch(device, snapshot)

    def push_branch(self, branch: str) -> bool:
        """Push the user's branch to the hub; ``False`` if the hub has moved on."""
        return self._hub.push_branch(branch)

    def fetch_branch(self, branch: str) -> CommitId | None:
        """Get the hub's ``branch`` into the private store and return its tip, ``None`` if it has none."""
        return self._hub.fetch_branch(branch)

    # -- checks ------------------------------------------------------------------------------
    def _checked(self, snapshot: SnapshotId) -> None:
        if not self._repo.is_id(snapshot):
            raise Unsafe(f"{snapshot[:100]!r} is no {self._repo.hash_name} object id", hint="Nothing was fetched.")

    def _loaded(self, snapshot: SnapshotId) -> Snapshot:
        try:
            loaded = self._store.load(snapshot) if self._repo.is_id(snapshot) else None
        except AutosyncError as error:  # an object of the user's, say: not for others
            raise _absent(snapshot) from error
        if loaded is None:
            raise _absent(snapshot)
        return loaded


def _tips(git: Git, count: int, prefix: str) -> list[str]:
    listed = git.run("for-each-ref", "--sort=-committerdate", f"--count={count}", "--format=%(objectname)", prefix)
    return listed.decode("ascii").split()


def _absent(snapshot: SnapshotId) -> Missing:
    return Missing(
        f"{snapshot[:100]} is not a snapshot of this workspace", hint="Ask for the latest one that was announced."
    )
