"""Puts one working copy of the agent together that is kept by commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO

from autosync.broadcast import Broadcaster
from autosync.commanded.footing import BACK, Footing
from autosync.commanded.listing import Lister
from autosync.commanded.runner import CommandedRunner, Pronouncer
from autosync.commanded.step import StepRunner
from autosync.commanded.work import CommandedWork
from autosync.config import Config, Mode, PathConfig, PullLock
from autosync.core import events as ev
from autosync.core.commanded.commands import Action, Commands
from autosync.core.commanded.session import CommandedSettings
from autosync.core.model import DeviceId, SnapshotId, WorkspaceId
from autosync.errors import ConfigError, Missing, TransientError
from autosync.lookout import keep_looking
from autosync.membership import Membership
from autosync.store import StateDirectory, WorkspaceState
from autosync.trust.sealing import load_key
from autosync.watch import TreeWatcher

_SEEN = 1
"""Remembered in the place of a store's mark: there was a repository that could be recognised."""


@dataclass(slots=True, kw_only=True)
class CommandedWorkspace:
    """One working copy of this agent that is kept by commands; ``local`` is the one thread in which they run."""

    config: PathConfig
    runner: CommandedRunner
    member: Membership
    local: ThreadPoolExecutor
    footing: Footing
    make_watcher: Callable[[], TreeWatcher]
    watcher: TreeWatcher
    is_gone: bool = False

    async def keep_looking(self) -> None:
        """Look now and then whether the folder still is there, or is back."""
        # Not in the thread of the commands: one of them may take minutes.
        await keep_looking(self.look, self._vanished, executor=None)

    def look(self) -> None:
        """Take up a folder that is back.  Raises :class:`AutosyncError`: it is gone."""
        self.footing.demand()
        if self.is_gone:
            self.watcher.stop()
            watcher = self.make_watcher()
            watcher.start()
            self.watcher, self.is_gone = watcher, False
            self.runner.post_from_thread(ev.RootReturned(current=None))

    def _vanished(self, event: ev.RootVanished) -> None:
        if not self.is_gone:
            self.is_gone = True
            self.runner.post(event)

    def stop_watching(self) -> None:
        """End the watching."""
        self.watcher.stop()

    def close(self) -> None:
        """Let go of everything; a thread that is still at work keeps it."""
        self.local.shutdown(wait=False)
        if not self.runner.abandoned:
            self.runner.steps.close()

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:  # noqa: ARG002
        """Refuse: what these devices exchange goes over their remote.  Raises :class:`Missing`."""
        raise Missing(f"{self.config.workspace} is kept by commands", hint="It has no snapshots; it pushes and pulls.")


def open_commanded(
    path: PathConfig,
    config: Config,
    device: DeviceId,
    outside: Pronouncer,
    *,
    broadcaster: Broadcaster,
    states: StateDirectory,
) -> CommandedWorkspace:
    """Return the working copy at ``path``.

    Raises :class:`AutosyncError`: no key, no folder, a corrupt state.
    """
    key, commands = load_key(path.key_file), path.commands
    assert commands is not None  # noqa: S101  # the configuration has seen to it
    root = os.fsencode(path.path)
    lister = Lister(root, path.ignore)
    footing = _take_footing(path, lister)
    state = _known_state(path, footing, states, key.id)
    steps = StepRunner(root, commands.time_limit)
    local = ThreadPoolExecutor(1, thread_name_prefix=f"local {path.workspace}")
    runner = CommandedRunner(
        workspace=path.workspace,
        settings=commanded_settings(path, commands, device),
        work=CommandedWork(
            lister=lister,
            commands=commands,
            steps=steps,
            name=config.device,
            most_deleted=path.brakes.mass_deletion,
            may_commit=path.mode is not Mode.RECEIVE,
        ),
        steps=steps,
        outside=outside,
        local=local,
        demand=footing.demand,
    )
    member = broadcaster.join(runner, path.key_file, state)
    runner.machine.paused = member.state.paused or member.is_out()

    def make_watcher() -> TreeWatcher:
        return TreeWatcher(
            root,
            metadata_directories=tuple,
            excluded=frozenset(),
            ignored=lister.ignored,
            listener=_Listener(runner),
            rescan_interval=path.rescan,
        )

    return CommandedWorkspace(
        config=path,
        runner=runner,
        member=member,
        local=local,
        footing=footing,
        make_watcher=make_watcher,
        watcher=make_watcher(),
    )


def _take_footing(path: PathConfig, lister: Lister) -> Footing:
    """Return the footing in the folder of ``path``.  Raises :class:`TransientError` or :class:`ConfigError`."""
    if path.mode is Mode.STORE:
        raise ConfigError(
            f"{path.workspace}: `mode: store` keeps snapshots, of which `backend: command` has none",
            hint="Remove `mode: store`; the remote is what keeps the content.",
        )
    try:
        return Footing(os.fsencode(path.path), lister)
    except OSError as error:
        raise TransientError(
            f"The folder {path.path} cannot be opened: {error.strerror}", hint=f"Mount or restore it; {BACK}"
        ) from error


def _known_state(path: PathConfig, footing: Footing, states: StateDirectory, workspace: WorkspaceId) -> WorkspaceState:
    """Return what is remembered, if the folder is not one whose disk has yet to be mounted over it."""
    state = states.workspace(workspace)
    if state.store and not footing.has_repository:
        raise TransientError(f"There is no repository in {path.path}", hint=f"Mount or restore it; {BACK}")
    if footing.has_repository and not state.store:
        state = replace(state, store=_SEEN)
        states.save(workspace, state)
    return state


def commanded_settings(path: PathConfig, commands: Commands, device: DeviceId) -> CommandedSettings:
    """Return what the machine needs to know of the configuration."""
    return CommandedSettings(
        device=device,
        commit_after=path.commit_after,
        poll=path.poll,
        rescan=path.rescan,
        can_record=path.mode is not Mode.RECEIVE,
        can_pull=path.mode is not Mode.SEND and commands.has(Action.PULL),
        can_push=path.mode is not Mode.RECEIVE and commands.has(Action.PUSH),
        conservative=path.pull_lock is PullLock.CONSERVATIVE,
    )


class _Listener:
    """Hands what the watcher's thread sees to the machine."""

    def __init__(self, runner: CommandedRunner) -> None:
        self._runner = runner

    def paths_changed(self, hints: Sequence[ev.PathHint]) -> None:
        self._runner.post_from_thread(ev.PathsChanged(hints=tuple(hints)))

    def metadata_changed(self) -> None:
        """Nothing: no metadata is watched."""

    def root_vanished(self) -> None:
        """Nothing: the next look tells."""
