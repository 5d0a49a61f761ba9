"""Runs the `on-update` of one working copy after what others changed was brought in."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

from autosync.activities import PATHS_TOLD, Activity
from autosync.conflicts.index import shown
from autosync.core import events as ev
from autosync.core.commands import LocalCommand, MergeBranch, SyncBranch
from autosync.core.echoes import Echoes
from autosync.core.model import DeviceId, RelPath, Snapshot, SnapshotId, Version
from autosync.core.remarks import HookReport, nameable, printable
from autosync.core.updates import ECHOES, Batch, OnUpdate, Updates, newcomers
from autosync.errors import AutosyncError
from autosync.failures import title_of
from autosync.onupdate.environment import environment
from autosync.onupdate.journal import Journal, Point
from autosync.onupdate.process import LEFT_OPEN, Ended, Program, abandon, end_left_over, identify, start
from autosync.runner import Runner

log = logging.getLogger(__name__)

HALTED = (
    f"is not run any more: {ECHOES} runs in a row were each caused by what the one before, here or on another device, "
    "has written; what a person changes next runs it again"
)
_AFTERWARDS = 1.0
"""Seconds after the end of a run, beside those for which a save is held back, in which what changes is its work."""


class UpdateHook:
    """Follows one working copy: many batches become one run, and there is one run at a time.

    ``root`` is the working copy, ``source`` the configuration file; ``echoes`` are those of the workspace; ``say`` has
    the others hear how a run ended; ``names`` are those of the other devices.
    It is a :class:`autosync.runner.Companion`.
    """

    def __init__(
        self,
        runner: Runner,
        config: OnUpdate,
        *,
        root: str,
        source: str,
        journal: Journal,
        echoes: Echoes,
        say: Callable[[], None],
        names: Callable[[], Mapping[DeviceId, str]],
    ) -> None:
        self._runner = runner
        self._config = config
        self._root = root
        self._source = source
        self._journal = journal
        self._say = say
        self._names = names
        self._command = printable(shlex.join(config.run))
        self._updates = Updates(config.debounce)
        self._echoes = echoes
        self._begun = self._ready = self._stopped = self._halt_told = False
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._program: Program | None = None
        self._left: list[Program] = []
        """Those whose output something in the background still has."""
        self._began_at = self._ended_at = float("-inf")
        self._last_echoes = 0
        self._found: frozenset[RelPath] | None = None
        """What the first look found changed: a killed agent may have brought it in; ``None`` before that look."""

    # -- what is told of it ------------------------------------------------------------------
    @property
    def report(self) -> HookReport | None:
        """Return how the last run ended."""
        return self._journal.memory.report

    @property
    def state(self) -> str:
        """Return in a word what goes on."""
        if self._updates.running is not None:
            return "running"
        if self._updates.halted:
            return "halted"
        if self._updates.waits:
            return "waiting"
        return "failed" if self.report is not None and self.report.problem else "idle"

    @property
    def command(self) -> str:
        """Return what is run, as it is shown."""
        return self._command

    # -- what happens in the working copy ------------------------------------------------------
    def happened(self, event: ev.Event) -> None:
        """Take note of an event, after the session has."""
        if isinstance(event, ev.Started) and event.current is not None:
            self._begin_at(event.current)
            self._schedule()
        elif isinstance(event, ev.RootReturned):
            self._schedule()

    def stepped(self, command: LocalCommand, event: ev.Event) -> None:
        """Take note of what was done to the working copy."""
        before = command.current
        if isinstance(event, ev.SnapshotTaken) and event.snapshot is not None:
            self._begin_at(event.snapshot)
            first, self._found = self._found is None, self._found or frozenset()
            if event.changed and before is not None:
                self._edited(before, event.snapshot)
                if first:
                    self._do(self._find(before, event.snapshot))
        elif isinstance(event, ev.Integrated) and before is not None:
            theirs = event.current if event.complete else event.unfinished or event.current
            causes = newcomers(before.version, theirs.version, own=self._runner.settings.device)
            if event.complete:
                self._do(self._brought(before, event.current, event.theirs, causes))
            elif event.changed_paths:
                self._do(self._brought_in_part(event.theirs, causes))
        elif isinstance(event, ev.BranchSettled) and isinstance(command, SyncBranch | MergeBranch):
            causes = newcomers(command.current.version, event.current.version, own=self._runner.settings.device)
            self._do(self._joined(command.current, event.current, causes))

    def _edited(self, before: Snapshot, after: Snapshot) -> None:
        if self._is_at_work():
            self._echoes.edited(after.id, run=self._last_echoes)
            self._do(self._wrote(before, after, self._last_echoes))

    def _is_at_work(self) -> bool:
        """Return whether what was changed here now was changed by the program, as far as that can be known."""
        settings = self._runner.settings
        patience = settings.settle + settings.max_wait + _AFTERWARDS
        return self._updates.running is not None or self._now() < self._ended_at + patience

    async def _find(self, before: Snapshot, after: Snapshot) -> None:
        self._found = frozenset(await self._changed(before, after))

    async def _wrote(self, before: Snapshot, after: Snapshot, run: int) -> None:
        self._echoes.wrote(await self._changed(before, after), run=run)

    async def _brought(
        self, before: Snapshot, after: Snapshot, theirs: SnapshotId, causes: Collection[DeviceId]
    ) -> None:
        changed = await self._changed(before, after)
        echoes = self._echoes.judged(theirs, into=before.id, current=after.id, paths=changed)
        if not causes:
            return
        paths, self._found = {*changed, *(self._found or ())}, frozenset()
        if paths:
            self._updates.applied(paths, causes, echoes=echoes, now=self._now())
            self._schedule()

    async def _brought_in_part(self, theirs: SnapshotId, causes: Collection[DeviceId]) -> None:
        paths = await self._local(self._runner.performer.brought_paths)
        if paths:
            self._updates.applied(paths, causes, echoes=self._echoes.count(theirs), now=self._now())
            self._schedule()

    async def _joined(self, before: Snapshot, after: Snapshot, causes: Collection[DeviceId]) -> None:
        """Take note that the branch of the hub, or of another device, was merged into ours."""
        paths = await self._changed(before, after)
        if paths:
            self._updates.applied(paths, causes, echoes=0, now=self._now())
            self._schedule()

    async def _changed(self, before: Snapshot | None, after: Snapshot) -> tuple[RelPath, ...]:
        paths: tuple[RelPath, ...] = await self._local(self._runner.performer.changed_paths, before, after)
        return paths

    # -- going on after a restart ----------------------------------------------------------------
    def _begin_at(self, current: Snapshot) -> None:
        """Begin: with the first state ever, or with what has come since the last run that ended."""
        if self._begun:
            return
        self._begun = True
        if self._journal.memory.tried is None and not self._journal.lost:
            self._journal.note(succeeded=Point.of(current), tried=Point.of(current))
            self._ready = True
        else:
            self._do(self._catch_up(current, self._journal.memory.tried))

    async def _catch_up(self, current: Snapshot, tried: Point | None) -> None:
        memory, before = self._journal.memory, tried.version if tried else Version()
        if memory.running is not None and await end_left_over(memory.running):
            log.warning("%s: on-update: a run that a killed agent has left was ended", self._runner.workspace)
        causes = newcomers(before, current.version, own=self._runner.settings.device)
        again = bool(causes) or memory.running is not None
        paths: tuple[RelPath, ...] = ()
        if again or memory.succeeded != tried:
            paths = await self._changed_since(memory.succeeded, current)
        if again and paths:
            log.info("%s: on-update: to be run for what came before the agent ended", self._runner.workspace)
            self._updates.applied(paths, causes, echoes=0, now=self._now())
        else:
            self._updates.carry(paths)
            self._journal.note(tried=Point.of(current), running=None)
        self._ready = True
        self._schedule()

    async def _changed_since(self, point: Point | None, current: Snapshot) -> tuple[RelPath, ...]:
        """Return the paths that differ from ``point``; all that there are if its snapshot is not kept any more."""
        performer = self._runner.performer
        before = None if point is None else await self._local(performer.load, point.snapshot)
        return await self._changed(before, current)

    # -- running it --------------------------------------------------------------------------------
    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopped or not self._ready or self._runner.session.root_gone:
            return
        if self._updates.halted and not self._halt_told:
            self._halt_told = True
            self._note(self._updates.waiting(), Ended(problem=HALTED), self._runner.session.current)
        due = self._updates.due()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._begin_run)

    def _begin_run(self) -> None:
        if self._running is None or self._running.done():
            self._running = self._do(self._run())

    async def _run(self) -> None:
        current = self._runner.session.current
        if current is None or self._runner.session.root_gone:
            return
        batch = self._updates.begin()
        self._halt_told, self._last_echoes = False, batch.echoes
        count = "1 changed path" if len(batch.paths) == 1 else f"{len(batch.paths)} changed paths"
        log.info("%s: on-update: %s, for %s", self._runner.workspace, self._command, count)
        ended = await self._ended(batch, current)
        self._ended_at = self._now()
        if ended.stopped:  # the journal still says that it runs: the next agent runs it again
            return
        for line in ended.lines:
            log.info("%s: on-update: %s", self._runner.workspace, line)
        self._updates.ended(succeeded=not ended.problem)
        self._note(batch, ended, current)
        self._schedule()

    async def _ended(self, batch: Batch, current: Snapshot) -> Ended:
        """Run the program and return how it ended."""
        variables, paths = environment(self._variables(batch, current)), b"".join(p + b"\0" for p in batch.paths)
        loop, network = asyncio.get_running_loop(), self._runner.network
        try:
            process = await loop.run_in_executor(network, self._start, variables, paths)
            try:
                self._program = Program(process)
            except OSError:
                await loop.run_in_executor(network, abandon, process)
                raise
        except OSError as error:
            return Ended(problem=f"cannot be run: {self._why(error)}")
        if self._stopped:
            self._program.stop()
        ended = await self._program.wait(self._config.time_limit)
        self._left = [left for left in (*self._left, self._program) if left.has_output]
        for left in self._left[:-LEFT_OPEN]:
            left.close()
        self._program = None
        return ended

    def _start(self, variables: Mapping[str, str], given: bytes) -> subprocess.Popen[bytes]:
        """Start the program, and remember it before anything else can hold that up; in a thread."""
        process = start(self._config.run, directory=self._root, environment=variables, given=given)
        self._journal.note(running=identify(process.pid))
        return process

    def _why(self, error: OSError) -> str:
        if not os.path.isdir(self._root):
            return "the folder is not there"
        if isinstance(error, FileNotFoundError):
            return "there is no such program"
        return error.strerror or str(error)

    def _variables(self, batch: Batch, current: Snapshot) -> dict[str, str]:
        names, succeeded = self._names(), self._journal.memory.succeeded
        return {
            "AUTOSYNC_WORKSPACE": self._runner.workspace,
            "AUTOSYNC_DEVICE": self._runner.settings.name,
            "AUTOSYNC_PATH": self._root,
            "AUTOSYNC_FROM": "\n".join(names.get(device, device) for device in batch.causes),
            "AUTOSYNC_SNAPSHOT": current.id,
            "AUTOSYNC_PREVIOUS": succeeded.snapshot if succeeded else "",
            "AUTOSYNC_COMMIT": current.base.commit or "",
            "AUTOSYNC_COUNT": str(len(batch.paths)),
            # For an `autosync` that the program runs itself.
            "AUTOSYNC_CONFIG": self._source,
        }

    def _note(self, batch: Batch, ended: Ended, at: Snapshot | None) -> None:
        """Remember how a run ended, and tell: those who watch here always, the other devices what is news to them."""
        last, point = self.report, None if at is None else Point.of(at)
        report = HookReport(
            at_ms=max(int(time.time() * 1000), last.at_ms + 1 if last else 0),
            command=self._command,
            problem=ended.problem,
            line=ended.lines[-1] if ended.problem and ended.lines else "",
            snapshot=SnapshotId("") if at is None else at.id,
            causes=nameable(batch.causes),
        )
        succeeded = {} if ended.problem else {"succeeded": point}
        self._journal.note(tried=point, running=None, report=report, **succeeded)
        was_broken = last is not None and bool(last.problem)
        if ended.problem:
            log.warning("%s: on-update: %s", self._runner.workspace, report.text)
        if ended.problem or was_broken:
            self._tell("hook-failed" if ended.problem else "hook-recovered", report, batch)
            self._say()

    def _tell(self, kind: str, report: HookReport, batch: Batch) -> None:
        name = self._runner.settings.name
        activity = Activity(
            kind=kind,
            workspace=self._runner.workspace,
            device=name,
            at_ms=report.at_ms,
            snapshot=report.snapshot,
            paths=tuple(shown(path) for path in batch.paths[:PATHS_TOLD]),
            count=len(batch.paths),
            text=report.news(name),
            made_by=name,
        )
        self._runner.outside.happened(activity)

    # -- the end -------------------------------------------------------------------------------------
    async def stop(self) -> None:
        """End the program that runs, which the next agent begins again."""
        self._stopped = True
        self._schedule()
        if self._program is not None:
            self._program.stop()
        for task in self._tasks - {self._running}:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        current = self._runner.session.current
        calm = self._ready and not self._updates.waits and self.state == "idle"
        if calm and current is not None:  # what was edited here since is not for a later run
            self._journal.note(succeeded=Point.of(current), tried=Point.of(current))
        for left in self._left:
            left.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def watched() -> None:
            try:
                await work
            except (AutosyncError, OSError) as error:
                log.warning("%s: on-update: %s", self._runner.workspace, title_of(error))

        task = asyncio.get_running_loop().create_task(watched(), name=f"on-update {self._runner.workspace}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _local(self, ask: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._runner.local, partial(ask, *arguments))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
