"""Hears how the `on-update` of other devices ended, and tells whose changes were the reason."""

from __future__ import annotations

import time

from autosync.activities import Activity
from autosync.core import events as ev
from autosync.core.announcement import MAX_DEVICES
from autosync.core.commands import LocalCommand
from autosync.core.echoes import Echoes
from autosync.core.model import DeviceId
from autosync.core.remarks import HookReport
from autosync.onupdate.journal import Journal
from autosync.runner import Runner


class HookNews:
    """What is known of the `on-update` of the other devices of one workspace.

    Each says how its last run ended whenever it says where it is, so that who was asleep hears of it too; what
    was told here is remembered in ``journal``.  ``echoes`` are kept by every device, or those with an `on-update`
    would not hear of it through one that has none.  It is a :class:`autosync.runner.Companion`.
    """

    def __init__(self, runner: Runner, journal: Journal, echoes: Echoes) -> None:
        self._runner = runner
        self._journal = journal
        self._echoes = echoes
        self.reports: dict[DeviceId, HookReport] = {}
        """The last one of each device that has said any."""

    def happened(self, event: ev.Event) -> None:
        """Take note of an event, after the session has."""
        if not isinstance(event, ev.Announced):
            return
        said = event.announcement
        if said.snapshot is not None:
            self._echoes.heard(said.snapshot, said.remarks.echoes)
        report = said.remarks.hook
        if report is None:
            self.reports.pop(said.device, None)
            return
        self.reports[said.device] = report
        while len(self.reports) > MAX_DEVICES:
            del self.reports[next(iter(self.reports))]
        self._hear(said.device, said.name, report)

    def _hear(self, device: DeviceId, name: str, report: HookReport) -> None:
        told = self._journal.memory.told.get(device, 0)
        if report.problem:
            if self.is_ours(report) and told != report.at_ms:
                self._journal.note_told(device, report.at_ms)
                self._tell("hook-failed", name, report)
        elif told:
            self._journal.note_told(device, 0)
            self._tell("hook-recovered", name, report)

    def is_ours(self, report: HookReport) -> bool:
        """Return whether changes of this device were a reason for the run."""
        return self._runner.settings.device in report.causes

    def stepped(self, command: LocalCommand, event: ev.Event) -> None:
        """Take note of what was done to the working copy."""
        if isinstance(event, ev.SnapshotTaken) and event.changed and event.snapshot is not None:
            self._echoes.edited(event.snapshot.id, run=None)
        elif isinstance(event, ev.Integrated) and event.complete:
            into = command.current.id if command.current else None
            self._echoes.brought(event.theirs, into=into, current=event.current.id)

    async def stop(self) -> None:
        """Do nothing: nothing was begun."""

    def _tell(self, kind: str, name: str, report: HookReport) -> None:
        activity = Activity(
            kind=kind,
            workspace=self._runner.workspace,
            device=self._runner.settings.name,
            at_ms=time.time() * 1000,
            snapshot=report.snapshot,
            text=report.news(name),
            made_by=name,
        )
        self._runner.outside.happened(activity)
