"""Puts one working copy of the agent together that is kept by commands."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import BinaryIO

from autosync.broadcast import Broadcaster
from autosync.classiclisting import Lister
from autosync.classicrunner import ClassicRunner, Pronouncer
from autosync.classicstep import StepRunner
from autosync.classicwork import ClassicWork
from autosync.config import Config, Mode, PathConfig, PullLock
from autosync.core import events as ev
from autosync.core.classic import ClassicSettings
from autosync.core.classiccommands import Action, Commands
from autosync.core.model import DeviceId, SnapshotId, WorkspaceId
from autosync.errors import AutosyncError, ConfigError, Missing, TransientError
from autosync.membership import Membership
from autosync.store import StateDirectory, WorkspaceState
from autosync.trust.sealing import load_key
from autosync.watch import TreeWatcher

_SEEN = 1
"""Remembered in the place of a store's mark: there was a repository that could be recognised."""
LOOK_EVERY = 2.0
"""Seconds between two looks whether the folder is there."""
_BACK = "autosync goes on by itself as soon as it is back. Nothing was committed."


class Footing:
    """The folder ``root`` with what shows whose working copy it is.

    A disk that is unmounted leaves an empty folder of the same name, in which everything would
    seem to be deleted.
    """

    def __init__(self, root: bytes, lister: Lister) -> None:
        self._root = root
        self._lister = lister
        self._seen = _identity(root)
        self._marks = lister.marks()

    @property
    def has_repository(self) -> bool:
        """Whether anything shows whose working copy it is: of a version control unknown to us nothing does."""
        return bool(self._marks)

    def demand(self) -> None:
        """Raise :class:`TransientError` unless it is there."""
        try:
            is_same = _identity(self._root) == self._seen
            is_like = self._marks and self._marks <= self._lister.marks()
        except OSError as error:
            title = f"The folder {os.fsdecode(self._root)} is gone: {error.strerror}"
            raise TransientError(title, hint=f"Mount or restore it; {_BACK}") from error
        if not is_same and not is_like:
            raise TransientError(
                f"Another folder stands at {os.fsdecode(self._root)}",
                hint=f"Put back the one that was there; {_BACK} To go on with this one restart the agent.",
            )
        if self._marks and not is_like:
            raise TransientError(
                f"The repository of {os.fsdecode(self._root)} is gone", hint=f"Mount or restore it; {_BACK}"
            )


@dataclass(slots=True, kw_only=True)
class ClassicWorkspace:
    """One working copy of this agent that is kept by commands; ``local`` is the one thread in which they run."""

    config: PathConfig
    runner: ClassicRunner
    member: Membership
    local: ThreadPoolExecutor
    footing: Footing
    make_watcher: Callable[[], TreeWatcher]
    watcher: TreeWatcher
    is_gone: bool = False

    async def keep_looking(self) -> None:
        """Look now and then whether the folder still is there, or is back."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            # Not in the thread of the commands: one of them may take minutes.
            await loop.run_in_executor(None, self.look)

    def look(self) -> None:
        """Tell that the folder went away, or take it up again."""
        try:
            self.footing.demand()
            if self.is_gone:
                self.watcher.stop()
                watcher = self.make_watcher()
                watcher.start()
                self.watcher, self.is_gone = watcher, False
                self.runner.post_from_thread(ev.RootReturned(current=None))
        except AutosyncError as error:
            if not self.is_gone:
                self.is_gone = True
                self.runner.post_from_thread(ev.RootVanished(title=error.title, hint=error.hint))

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


def open_classic(
    path: PathConfig,
    config: Config,
    device: DeviceId,
    outside: Pronouncer,
    *,
    broadcaster: Broadcaster,
    states: StateDirectory,
) -> ClassicWorkspace:
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
    runner = ClassicRunner(
        workspace=path.workspace,
        settings=classic_settings(path, commands, device),
        work=ClassicWork(
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
            metadata_directories=(),
            excluded=frozenset(),
            ignored=lister.ignored,
            listener=_Listener(runner),
            rescan_interval=path.rescan,
        )

    return ClassicWorkspace(
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
            f"The folder {path.path} cannot be opened: {error.strerror}", hint=f"Mount or restore it; {_BACK}"
        ) from error


def _known_state(path: PathConfig, footing: Footing, states: StateDirectory, workspace: WorkspaceId) -> WorkspaceState:
    """Return what is remembered, if the folder is not one whose disk has yet to be mounted over it."""
    state = states.workspace(workspace)
    if state.store and not footing.has_repository:
        raise TransientError(f"There is no repository in {path.path}", hint=f"Mount or restore it; {_BACK}")
    if footing.has_repository and not state.store:
        state = replace(state, store=_SEEN)
        states.save(workspace, state)
    return state


def classic_settings(path: PathConfig, commands: Commands, device: DeviceId) -> ClassicSettings:
    """Return what the machine needs to know of the configuration."""
    return ClassicSettings(
        device=device,
        commit_after=path.commit_after,
        poll=path.poll,
        rescan=path.rescan,
        can_record=path.mode is not Mode.RECEIVE,
        can_pull=path.mode is not Mode.SEND and commands.has(Action.PULL),
        can_push=path.mode is not Mode.RECEIVE and commands.has(Action.PUSH),
        conservative=path.pull_lock is PullLock.CONSERVATIVE,
    )


def _identity(directory: bytes) -> tuple[int, int]:
    found = os.stat(directory)
    return found.st_dev, found.st_ino


class _Listener:
    """Hands what the watcher's thread sees to the machine."""

    def __init__(self, runner: ClassicRunner) -> None:
        self._runner = runner

    def paths_changed(self, hints: Sequence[ev.PathHint]) -> None:
        self._runner.post_from_thread(ev.PathsChanged(hints=tuple(hints)))

    def metadata_changed(self) -> None:
        """Nothing: no metadata is watched."""

    def root_vanished(self) -> None:
        """Nothing: the next look tells."""
