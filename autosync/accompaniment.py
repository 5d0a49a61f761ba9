"""Puts together who follows a working copy: its `on-update`, and who works on which file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from autosync.activities import Activity
from autosync.broadcast import Broadcaster
from autosync.config import Config, Mode, PathConfig
from autosync.core.echoes import Echoes
from autosync.core.model import DeviceId, RelPath, SnapshotId
from autosync.core.remarks import Remarks
from autosync.membership import Membership
from autosync.onupdate.hook import UpdateHook
from autosync.onupdate.journal import Journal
from autosync.onupdate.news import HookNews
from autosync.presence.keeper import PresenceKeeper
from autosync.presence.openfiles import OpenFiles
from autosync.runner import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Accompaniment:
    """Who follows one working copy; ``None`` is what is not configured."""

    news: HookNews
    hook: UpdateHook | None
    presence: PresenceKeeper | None
    echoes: Echoes

    def remarks(self, shared: SnapshotId | None) -> Remarks:
        """Return what this device says when it shares that snapshot."""
        return Remarks(
            hook=self.hook.report if self.hook else None,
            echoes=self.echoes.count(shared),
            editing=self.presence.editing() if self.presence else (),
        )

    def passed_over(self, paths: Sequence[RelPath]) -> None:
        """Take note of ignored paths that changed; in any thread."""
        if self.presence is not None:
            self.presence.passed_over(paths)


def accompany(
    runner: Runner, member: Membership, path: PathConfig, config: Config, broadcaster: Broadcaster
) -> Accompaniment:
    """Have what the configuration asks for follow ``runner``, and its device say so."""
    backend, say = runner.performer.backend, partial(broadcaster.remark, member)
    journal, echoes = Journal(config.state_dir, member.key.id), Echoes()
    news = HookNews(runner, journal, echoes)
    runner.companions.append(news)
    hook = presence = None
    if path.on_update is not None:
        hook = UpdateHook(
            runner,
            path.on_update,
            root=path.path,
            source=config.source,
            journal=journal,
            echoes=echoes,
            say=say,
            names=partial(_names, runner, member),
        )
        runner.companions.append(hook)
    if config.presence and path.mode is not Mode.STORE:
        files = OpenFiles(backend.root, backend.ignored, runner.performer.brakes.withholds)
        presence = PresenceKeeper(runner, files, say)
        runner.companions.append(presence)
        runner.reporter.happened = partial(_tell_both, runner, presence)
    accompaniment = Accompaniment(news=news, hook=hook, presence=presence, echoes=echoes)
    member.remarks = accompaniment.remarks
    return accompaniment


def _tell_both(runner: Runner, presence: PresenceKeeper, activity: Activity) -> None:
    runner.outside.happened(activity)
    presence.told(activity)


def _names(runner: Runner, member: Membership) -> Mapping[DeviceId, str]:
    known = {device: entry.name for device, entry in member.state.roster.items()}
    return {**known, **{peer.device: peer.name for peer in runner.session.peers.all()}}
