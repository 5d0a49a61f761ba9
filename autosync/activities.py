"""Tells people who watch what one working copy does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from autosync.conflicts.index import ConflictIndex, shown
from autosync.conflicts.news import find_conflicts
from autosync.core import events as ev
from autosync.core.commands import Commit, Integrate, LocalCommand, MergeBranch, SyncBranch, Tell
from autosync.core.model import RelPath, Snapshot, SnapshotId
from autosync.errors import AutosyncError, Missing
from autosync.failures import title_of
from autosync.past.deeds import Deeds, deed_of
from autosync.perform import Performer

log = logging.getLogger(__name__)

PATHS_TOLD = 5
"""Paths of one step that are named; the others are counted."""
LANES = 100
"""Snapshots of which it is remembered how they came, and when they were announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """One thing that happened, for people who watch: ``autosync demo`` and the log.

    ``at_ms`` is the wall clock in milliseconds since the epoch.
    """

    kind: str
    workspace: str
    device: str
    at_ms: float
    snapshot: str = ""
    paths: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    """Of ``paths`` what somebody wrote: not what was deleted, nor what this device brought back."""
    count: int = 0
    lane: str = ""
    text: str = ""
    latency_ms: float | None = None
    """Of what was ``applied``: from the announcement's arrival here until it stood in the working copy."""
    copy: str = ""
    """Of a ``conflict``: the path of the other version, empty if there is none."""
    made_by: str = ""
    """Of a ``conflict``: the device that made ``copy``, or whose version stays if there is none."""
    instead_of: str = ""
    """Of a ``conflict``: the copy of which an earlier one told, and which is gone: it is the same conflict still."""


@dataclass(slots=True, kw_only=True)
class Reporter:
    """Turns what was done in one working copy into activities.

    ``device`` is this device's name, ``local`` the thread in which the working copy may be
    looked at, ``happened`` who is told.
    """

    workspace: str
    device: str
    performer: Performer
    local: Executor
    happened: Callable[[Activity], None]
    has_files: bool = True
    """Whether there is somebody here who works with the files, and is to be told of conflicts."""
    conflicts: ConflictIndex = field(init=False)
    _lanes: dict[SnapshotId, str] = field(default_factory=dict)
    _heard_at: dict[SnapshotId, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.conflicts = ConflictIndex(self.performer.backend.changes)

    def began(self, current: Snapshot | None) -> None:
        """Take note of the state in which the working copy was opened: its conflicts are no news."""
        self.conflicts.begin = current

    def heard(self, snapshot: SnapshotId) -> None:
        """Take note that a snapshot was announced just now; what is said again is as old as before."""
        self._heard_at.setdefault(snapshot, time.monotonic())
        while len(self._heard_at) > LANES:
            self._heard_at.pop(next(iter(self._heard_at)))

    def came(self, snapshot: SnapshotId, lane: str) -> None:
        """Take note of how a snapshot was had."""
        self._lanes[snapshot] = lane
        while len(self._lanes) > LANES:
            self._lanes.pop(next(iter(self._lanes)))

    def tell(self, message: Tell) -> None:
        """Tell the user what he has to know."""
        log.warning("%s: %s. %s", self.workspace, message.title, message.hint)
        self._tell("told", text=f"{message.title}. {message.hint}")

    async def report(self, command: LocalCommand, event: ev.Event, now: Snapshot | None) -> None:
        """Tell what ``command`` did; ``now`` is where the working copy stands after ``event``, its answer."""
        done_at = time.monotonic()
        try:
            if (
                self.has_files
                and now is not None
                and (now.tree != self.conflicts.tree or isinstance(event, ev.Integrated))
            ):
                await self._report_conflicts(command.current, event, now)
            await self._report_step(command, event, done_at)
        except (AutosyncError, OSError) as error:  # of conflicts the next look tells too
            log.info("%s: what was done is not told: %s", self.workspace, title_of(error))

    async def _report_step(self, command: LocalCommand, event: ev.Event, done_at: float) -> None:
        if isinstance(event, ev.SnapshotTaken) and event.changed and event.snapshot is not None:
            await self._report_change("saved", command.current, event.snapshot, text=event.snapshot.base.commit or "")
        elif isinstance(event, ev.Integrated) and event.complete and isinstance(command, Integrate):
            theirs = command.theirs
            heard_at = self._heard_at.get(theirs.id)
            await self._report_change(
                "applied",
                command.current,
                event.current,
                snapshot=theirs.id,
                lane=self._lanes.get(event.theirs, ""),
                text=theirs.device,
                latency_ms=None if heard_at is None else (done_at - heard_at) * 1000,
            )
        elif (
            isinstance(event, ev.BranchSettled)
            and isinstance(command, Commit | SyncBranch | MergeBranch)
            and event.current.base != command.current.base
        ):
            self._tell("committed", snapshot=event.current.id, text=event.current.base.commit or "")

    async def _report_change(
        self,
        kind: str,
        before: Snapshot | None,
        after: Snapshot,
        *,
        snapshot: SnapshotId | None = None,
        lane: str = "",
        text: str = "",
        latency_ms: float | None = None,
    ) -> None:
        at_ms = time.time() * 1000
        paths: tuple[RelPath, ...] = ()
        written: frozenset[RelPath] = frozenset()
        if before is not None:
            loop = asyncio.get_running_loop()
            paths, written = await loop.run_in_executor(self.local, self._changed, before, after)
        self._tell(
            kind,
            at_ms=at_ms,
            snapshot=snapshot or after.id,
            paths=tuple(shown(path) for path in paths[:PATHS_TOLD]),
            written=tuple(shown(path) for path in paths[:PATHS_TOLD] if path in written),
            count=len(paths),
            lane=lane,
            text=text,
            latency_ms=latency_ms,
        )

    def _changed(self, before: Snapshot, after: Snapshot) -> tuple[tuple[RelPath, ...], frozenset[RelPath]]:
        """Return the paths in which two states differ, and those of them that somebody wrote."""
        backend = self.performer.backend
        try:
            changes = backend.changes(before.tree, after.tree)
        except Missing:  # pruned by the user before it was looked at
            return (), frozenset()
        is_brought = deed_of(after, self.device, Deeds(backend.metadata).read()) is not None
        written = frozenset(c.path for c in changes if c.new is not None and not is_brought)
        return tuple(c.path for c in changes), written

    async def _report_conflicts(self, before: Snapshot | None, event: ev.Event, now: Snapshot) -> None:
        performer, loop = self.performer, asyncio.get_running_loop()
        find = partial(find_conflicts, performer.backend, self.conflicts, performer.load)
        found = await loop.run_in_executor(
            self.local, partial(find, device=self.device, before=before, event=event, now=now)
        )
        for conflict in found:
            self._tell(
                "conflict",
                snapshot=now.id,
                paths=(shown(conflict.path),) if conflict.path else (),
                count=1,
                text=conflict.text,
                copy=shown(conflict.copy) if conflict.copy else "",
                made_by=conflict.device,
                instead_of=shown(conflict.instead_of) if conflict.instead_of else "",
            )

    def _tell(
        self,
        kind: str,
        *,
        at_ms: float | None = None,
        snapshot: str = "",
        paths: tuple[str, ...] = (),
        written: tuple[str, ...] = (),
        count: int = 0,
        lane: str = "",
        text: str = "",
        latency_ms: float | None = None,
        copy: str = "",
        made_by: str = "",
        instead_of: str = "",
    ) -> None:
        activity = Activity(
            kind=kind,
            workspace=self.workspace,
            device=self.device,
            at_ms=time.time() * 1000 if at_ms is None else at_ms,
            snapshot=snapshot,
            paths=paths,
            written=written,
            count=count,
            lane=lane,
            text=text,
            latency_ms=latency_ms,
            copy=copy,
            made_by=made_by,
            instead_of=instead_of,
        )
        if kind != "told":  # which is in the log as a warning
            way = f" ({lane})" if lane else ""
            log.info(
                "%s: %s %s%s",
                self.workspace,
                kind,
                _content_of(activity),
                way,
                extra={"fields": _fields_of(activity)},
            )
        self.happened(activity)


def _content_of(activity: Activity) -> str:
    """Return the log's words for what was saved, applied or committed."""
    if activity.kind == "conflict":
        return activity.text
    rest = activity.count - len(activity.paths)
    if activity.paths:
        return ", ".join(activity.paths) + (f" and {rest} more" if rest else "")
    if activity.kind == "applied":
        return f"the state of {activity.text}"
    return f"the state at {activity.text[:10]}" if activity.text else "the first state"


def _fields_of(activity: Activity) -> dict[str, str | int]:
    """Return by what the journal can be searched for an activity."""
    return {
        "AUTOSYNC_KIND": activity.kind,
        "AUTOSYNC_SNAPSHOT": activity.snapshot,
        "AUTOSYNC_LANE": activity.lane,
        "AUTOSYNC_COUNT": activity.count,
        "AUTOSYNC_FROM": activity.text if activity.kind == "applied" else "",
    }
