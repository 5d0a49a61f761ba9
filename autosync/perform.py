"""Performs a session's commands on one working copy, blocking, and answers each with an event."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from autosync.branch import BranchKeeper
from autosync.brought import Brought
from autosync.core import events as ev
from autosync.core.brakes import Brake, BrakeLimits, Brakes
from autosync.core.commands import (
    Commit,
    Fetch,
    Integrate,
    ListHub,
    LocalCommand,
    MergeBranch,
    Push,
    SourceKind,
    SyncBranch,
    TakeSnapshot,
)
from autosync.core.model import Base, DeviceId, RelPath, Snapshot, SnapshotId, TreeId, Version
from autosync.core.nested import at_commit
from autosync.core.operations import operations
from autosync.core.sources import PLAUSIBLE
from autosync.deletions import DeletionGuard
from autosync.early import Early
from autosync.errors import AutosyncError, Busy, Diverged, Missing, StateError, TransientError
from autosync.failures import failure, not_fetched, not_opened
from autosync.history import History, Tidied
from autosync.integrate import Integrator
from autosync.ports import CURRENT, Applied, Backend, Reading, Tree
from autosync.scratch import sweep

log = logging.getLogger(__name__)

HEAD_START = 0.05
"""Seconds that a snapshot which came inline is left to be integrated before it is written:
both would wait for the same disk."""

Fetched = Callable[[ev.SnapshotFetched], None]
"""Is told that a snapshot was fetched; called in the thread that did it."""


class Performer:
    """The blocking side of one working copy.

    :meth:`local` is called by one thread at a time; :meth:`fetch`, :meth:`push` and
    :meth:`list_hub` by others beside it.  None of them raises: a failure is an event.

    ``past_lost`` is called when others are found to know of states of this device that it has not
    made; without it, or if it returns false, this device counts on above them.  ``leap`` tells how many
    numbers a new state passes over.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        tree: Tree,
        device: DeviceId,
        name: str,
        brakes: Brakes | None = None,
        history: History | None = None,
        still_there: Callable[[], None] = lambda: None,
        past_lost: Callable[[], bool] | None = None,
        leap: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.backend = backend
        self.tree = tree
        self.device = device
        self.name = name
        self.brakes = brakes or Brakes(BrakeLimits())
        self._still_there = still_there
        self._past_lost = past_lost
        self._leap = leap
        self.history = history or History(backend, clock=clock)
        self._clock = clock
        self.unreadable: frozenset[RelPath] = frozenset()
        """The paths that could not be read at the last look, so that their changes stay here."""
        self.behind = ""
        """Why what is followed of the hub is not up to date, in words; empty if it is."""
        self._step_ended = threading.Event()
        self._stood: SnapshotId | None = None
        """The state that was recorded in the step under way."""
        self._opened = False
        """Whether nothing has been read yet since an agent may have been killed here."""
        self._examined = False
        self._swept = False
        self._highest = 0
        """The greatest number of a state of this working copy: each is used once, whatever happens between."""
        self._brought = Brought(backend=backend)
        self._deletions = DeletionGuard(backend, self.brakes)
        self._early = Early(backend.metadata)
        self._integrator = Integrator(
            backend=backend,
            tree=tree,
            device=device,
            name=name,
            load=self.load,
            known=self.known,
            lose=self.history.lose,
            recorded=self.keep,
            stood=self._stand_at,
            brought=self._brought,
            hold=self.brakes.hold,
            still_there=still_there,
            clock=clock,
        )
        self._branches = BranchKeeper(
            backend=backend,
            tree=tree,
            device=device,
            name=name,
            recorded=self._stand_at,
            brought=self._brought,
            clock=clock,
        )

    # -- snapshots that are kept --------------------------------------------------------
    def open(self) -> Snapshot | None:
        """Repair what a killed agent left, and return the last recorded state if it is whole.

        Raises :class:`AutosyncError`.
        """
        try:
            self.backend.recover()
            if not self._swept:  # later on others may be at work beside this
                sweep(self.backend.metadata)
                self._swept = True
            self._opened = True
            self._brought.clear()
            current = self.history.open()
        except OSError as error:
            raise not_opened(error, self.backend) from error
        self._highest = current.version.count(self.device) if current is not None else 0
        return current

    def recorded(self) -> SnapshotId | None:
        """Return which state was recorded last, as the store has it."""
        return self.backend.pins().get(CURRENT)

    def take_up(self, tree: Tree) -> Snapshot | None:
        """Go on, as after a start, with a working copy that was away; ``tree`` is opened anew."""
        self.tree = self._integrator.tree = self._branches.tree = tree
        return self.open()

    def load(self, snapshot_id: SnapshotId) -> Snapshot | None:
        """Return a snapshot of the store, ``None`` if it is not here."""
        return self.history.load(snapshot_id)

    def known(self) -> list[Snapshot]:
        """Return the snapshots of the store that are kept."""
        return self.history.known()

    def keep(self, snapshot: Snapshot) -> None:
        """Keep a snapshot in the store."""
        self.history.keep(snapshot)

    def _stand_at(self, snapshot: Snapshot) -> None:
        """Keep a state of the working copy; an agent that starts after a kill goes on from there.

        It is the pinned one before it is among the kept ones: of these, none is ever newer
        than that, or its number would be used once more for other content.
        """
        self.history.settle_on(snapshot.id)
        self._stood = snapshot.id
        self._highest = max(self._highest, snapshot.version.count(self.device))
        self.keep(snapshot)

    def tidy(
        self, peers: Mapping[DeviceId, SnapshotId] | None = None, *, thorough: bool = False, rehearse: bool = False
    ) -> Tidied:
        """Let go of old snapshots and pack the store; see :meth:`autosync.history.History.tidy`.

        May be called from any thread, beside everything else.
        """
        return self.history.tidy(peers, thorough=thorough, rehearse=rehearse)

    # -- commands that touch the working copy ---------------------------------------------
    def local(self, command: LocalCommand) -> ev.Event:
        """Perform a command that touches the working copy."""
        self._stood = None
        try:
            return self._step(command)
        finally:
            self._step_ended.set()

    def _step(self, command: LocalCommand) -> ev.Event:
        try:
            with self.history.turns.together():
                self._still_there()
                if not self._examined:
                    self.backend.examine()
                    self._examined = True
                event = self._local(command)
                current = getattr(event, "current", None) or getattr(event, "snapshot", None)
                if isinstance(current, Snapshot):
                    self._now_at(command.current, current)
        except Busy as busy:
            return ev.UserBusy(reason=busy.title)
        except Diverged as error:
            theirs = command.theirs.id if isinstance(command, Integrate | MergeBranch) else SnapshotId("")
            return ev.BranchesDiverged(theirs=theirs, reason=error.title, hint=error.hint)
        except Exception as error:  # an edge: whatever goes wrong here halts this working copy alone
            # What was brought before it failed is known again by its content, as after a kill.
            self._opened = self._opened or isinstance(command, Integrate)
            return failure(command, self.cause_of(error), self.backend.metadata)
        if isinstance(event, ev.SnapshotTaken):
            return replace(event, keeps=self.tree.keeps(), held=self.brakes.held)
        return event

    def _local(self, command: LocalCommand) -> ev.Event:
        if self._past_lost is not None:
            self._refuse_other_past(command, self._past_lost)
        command = replace(command, above=max(command.above, self._highest) + self._leap())
        match command:
            case TakeSnapshot():
                return self._look(command)
            case Integrate():
                self._raise_if_busy()
                return self._integrator.integrate(
                    command.current,
                    command.theirs,
                    exact=command.exact,
                    above=command.above,
                    without=command.without,
                )
            case Commit():
                return self._branches.commit(command.current, above=command.above)
            case SyncBranch():
                return self._branches.sync(command.current, above=command.above)
            case MergeBranch():
                return self._branches.merge(command.current, command.theirs, above=command.above)

    def _refuse_other_past(self, command: LocalCommand, past_lost: Callable[[], bool]) -> None:
        """Raise :class:`StateError` if others know of states of this device that it has not made.

        What it made meanwhile has numbers that others take for a part of those, so none of it counts:
        it is merged as if it came from nowhere.
        """
        theirs = command.theirs.version.count(self.device) if isinstance(command, Integrate | MergeBranch) else 0
        if max(command.above, theirs if theirs <= PLAUSIBLE else 0) <= self._highest or not past_lost():
            return
        self.history.disown()
        raise StateError(
            "Another machine has gone on under the identity of this one, or an older state of this one was restored",
            hint="It gets an identity of its own by itself, and what both have is merged.",
        )

    def _look(self, command: TakeSnapshot) -> ev.SnapshotTaken | ev.Integrated:
        try:
            try:
                event = self._take(command)
            except Missing as missing:
                if command.current is None:
                    raise
                # As after `git gc --prune=now` of a rewritten history: what stands here has to be read, not compared.
                log.warning("The last state is not here as a whole (%s): all is read as it stands", missing.title)
                self.brakes.undo()
                event = self._take(replace(command, paths=None), comparable=False)
        except BaseException:
            self.brakes.undo()
            raise
        self.brakes.taken(event.torn if isinstance(event, ev.SnapshotTaken) else event.again)
        return event

    def _take(self, command: TakeSnapshot, *, comparable: bool = True) -> ev.SnapshotTaken | ev.Integrated:
        """Record what stands here; not ``comparable`` if the last state can be followed but not be read any more."""
        self._raise_if_busy()
        before = command.current
        if self._opened:
            self._keep_what_was_early()
        late = self.tree.sweep()
        paths = self.brakes.begin(None if command.paths is None else command.paths | late, self._clock())
        previous = self._expected(before, comparable=comparable)
        expected = previous[1] if previous else None
        reading = self.backend.read(paths, previous, self.brakes.hold)
        self._still_there()  # or else all of it was found deleted
        self.unreadable = reading.unreadable
        self._raise_if_busy()
        if self.backend.base() != reading.base:
            raise Busy("another commit is being checked out", hint="This passes by itself.")
        moved = before is not None and before.base.commit != reading.base.commit
        if moved and paths is not None and self.brakes.holds_deletions:  # which may be committed now
            self.brakes.undo()
            return self._take(replace(command, paths=None), comparable=comparable)
        if expected != reading.tree:
            reading = replace(reading, tree=self._at_commit(reading))
        if before is not None and comparable and reading.tree == expected and reading.base == before.base:
            self._opened = False  # an attempt that failed is made again; a look does not depend on it
            return ev.SnapshotTaken(snapshot=before, changed=False, torn=reading.torn)
        if before is not None and comparable and self._opened:
            left_off = self._integrator.left_off(before, reading.base, reading.tree)
            if left_off is not None:
                reading = self._deletions.keep(left_off.at, left_off.standing, reading)
                resumed = self._integrator.resume(left_off, reading.base, reading.tree, above=command.above)
                self._opened = False
                return replace(resumed, again=resumed.again | reading.torn)
        self._opened = False
        reading = self._deletions.keep(before, expected, reading)
        tree = reading.tree
        if before is not None and comparable:
            if tree == expected and reading.base == before.base:
                return ev.SnapshotTaken(snapshot=before, changed=False, torn=reading.torn)
            tree = self._brought.left_out(before, reading.base, tree)
            if tree == before.tree and reading.base == before.base:
                return ev.SnapshotTaken(snapshot=before, changed=False, torn=reading.torn)
        version = before.version if before else Version()
        snapshot = self.backend.record(
            tree=tree,
            base=reading.base,
            version=version.bump(self.device, above=command.above),
            parents=(before.id,) if before else (),
            device=self.name,
            time=int(self._clock()),
        )
        self._stand_at(snapshot)
        return ev.SnapshotTaken(snapshot=snapshot, changed=True, torn=reading.torn)

    def _expected(self, before: Snapshot | None, *, comparable: bool) -> tuple[Base, TreeId] | None:
        """Return the base and the tree that should stand in the working copy."""
        if before is None:
            return None
        if comparable:
            return before.base, self._brought.standing(before.tree)
        self._brought.clear()
        base = self.backend.base()
        return base, self.backend.salvage(before.tree, base.commit)

    def _keep_what_was_early(self) -> None:
        """Keep what an agent that was killed may have integrated before it was on the disk."""
        for snapshot, pack in self._early.left():
            try:
                self.keep(self.load(snapshot) or self.backend.absorb(snapshot, pack))
            except (TransientError, OSError) as error:  # the next start may find better times
                log.warning("%s, which came before the agent ended, is not kept: %s", snapshot[:10], error)
                continue
            except AutosyncError:
                pass  # killed while it was noted: then nothing of it was integrated
            self._early.forget(snapshot)

    def release(self, paths: Collection[RelPath]) -> Collection[RelPath]:
        """Let what the brakes hold at or below ``paths`` go; return it.  Call it where :meth:`local` is called."""
        return self.brakes.release(paths)

    def bring_back(self, paths: Collection[RelPath], current: Snapshot) -> Applied:
        """Restore the held deletions at or below ``paths`` as ``current`` has them; return what came of each.

        Call it where :meth:`local` is called.
        """
        chosen = [held.path for held in self.brakes.held_within(paths) if held.brake is Brake.DELETION]
        missing = self.backend.splice(current.tree, dict.fromkeys(chosen))
        return self.tree.apply(operations(self.backend.changes(missing, current.tree)))

    def _at_commit(self, reading: Reading) -> TreeId:
        edits = at_commit(self.backend.changes(self.backend.tree_of(reading.base.commit), reading.tree))
        return self.backend.splice(reading.tree, edits) if edits else reading.tree

    def _raise_if_busy(self) -> None:
        reason = self.backend.busy()
        if reason is not None:
            raise Busy(reason, hint="autosync goes on as soon as it is over.")

    def _now_at(self, before: Snapshot | None, current: Snapshot) -> None:
        if before is not None and before.id == current.id:
            return
        if current.id != self._stood:
            self.history.settle_on(current.id)
        old, new = before.base.commit if before else None, current.base.commit
        if old and old != new and not (new and self.backend.is_ancestor(old, new)):
            self.backend.secure(old)

    # -- commands that talk to others ---------------------------------------------------------
    def absorb(self, command: Fetch, early: Fetched | None = None) -> ev.SnapshotFetched:
        """Take in an inline pack; ``early`` is told as soon as it can be used, before it is on the disk."""
        return self._fetched(command, lambda: self.backend.absorb(command.wanted, command.source.pack), early)

    def fetch(self, command: Fetch) -> ev.SnapshotFetched:
        """Get a snapshot from the hub."""
        assert command.source.kind is SourceKind.HUB  # noqa: S101  # the runner takes the other ways
        return self._fetched(command, lambda: self.backend.fetch(command.source.device, command.wanted))

    def _fetched(self, command: Fetch, get: Callable[[], Snapshot], early: Fetched | None = None) -> ev.SnapshotFetched:
        try:
            with self.history.turns.together():
                snapshot = self.load(command.wanted) or get()
                fetched = ev.SnapshotFetched(wanted=command.wanted, source=str(command.source), snapshot=snapshot)
                if early is None:
                    self.keep(snapshot)
                elif self._early.note(snapshot.id, command.source.pack):
                    self._step_ended.clear()
                    early(fetched)
                    self._step_ended.wait(HEAD_START)
                    self.keep(snapshot)
                    self._early.forget(snapshot.id)
                else:
                    self.keep(snapshot)
                    early(fetched)
        except Exception as error:  # an edge: a source that fails in any way is a source that failed
            return not_fetched(command, self.cause_of(error), self.backend.metadata)
        return fetched

    def find(self, command: Fetch) -> ev.SnapshotFetched:
        """Take what a device with the same store has put there."""
        return self._fetched(command, lambda: _found(self.backend, command.wanted))

    def receive(self, command: Fetch, get: Callable[[], Snapshot]) -> ev.SnapshotFetched:
        """Take in what ``get`` reads from a peer."""
        return self._fetched(command, get)

    def push(self, command: Push) -> ev.Event:
        """Put a snapshot on the hub."""
        try:
            self._still_there()  # git would find the repository around it, if there is one
            self.backend.push(self.device, command.snapshot)
        except Exception as error:  # an edge, as above
            return failure(command, self.cause_of(error), self.backend.metadata)
        return ev.Pushed(snapshot=command.snapshot)

    def list_hub(self, command: ListHub) -> ev.Event:
        """Read the hub's list."""
        try:
            self._still_there()  # as above
            listed = self.backend.list_hub()
        except Exception as error:  # an edge, as above
            return failure(command, self.cause_of(error), self.backend.metadata)
        self._keep_up()
        return ev.HubListed(snapshots=tuple(sorted(listed.items())))

    def _keep_up(self) -> None:
        """Follow the hub's other names; nothing that is synced hangs on it."""
        before, self.behind = self.behind, ""
        try:
            self.backend.following.keep_up()
        except Exception as error:  # an edge, as above
            cause = self.cause_of(error)
            self.behind = cause.title if isinstance(cause, AutosyncError) else str(cause) or repr(cause)
            if self.behind != before:
                log.warning("what is followed of the hub is not up to date: %s", self.behind)

    def cause_of(self, error: Exception) -> Exception:
        """Return why something failed here: ``error``, or that the folder went away meanwhile.

        Whatever is at work then fails somehow, which says nothing to anybody.
        """
        try:
            self._still_there()
        except AutosyncError as gone:
            return gone
        return error

    def brought_paths(self) -> tuple[RelPath, ...]:
        """Return where files stand as another device has them, although its state could be applied in part only."""
        return tuple(self._brought.entries)

    def changed_paths(self, before: Snapshot | None, after: Snapshot) -> tuple[RelPath, ...]:
        """Return the paths in which two states differ."""
        return tuple(c.path for c in self.backend.changes(before.tree if before else None, after.tree))


def _found(backend: Backend, wanted: SnapshotId) -> Snapshot:
    snapshot = backend.load(wanted)
    if snapshot is None:
        raise Missing(f"Snapshot {wanted[:12]} is not in the store in common", hint="It is looked for elsewhere.")
    return snapshot
