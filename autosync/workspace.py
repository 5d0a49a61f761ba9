"""Puts one working copy of the agent together: backend, session, watcher."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from autosync.apply import WorkingTree
from autosync.backends.git import GitBackend, open_git
from autosync.broadcast import Broadcaster, Membership
from autosync.config import Commits, Config, PathConfig, PullLock
from autosync.core import events as ev
from autosync.core.brakes import Brakes
from autosync.core.model import DeviceId, RelPath
from autosync.core.settings import Mode, SessionSettings
from autosync.perform import Performer
from autosync.runner import Outside, Runner
from autosync.sealing import load_key
from autosync.store import StateDirectory
from autosync.watch import TreeWatcher


@dataclass(slots=True, kw_only=True)
class Workspace:
    """One working copy of this agent and everything that belongs to it.

    ``local`` is the one thread in which its store's working copies are touched.
    """

    config: PathConfig
    backend: GitBackend
    runner: Runner
    member: Membership
    watcher: TreeWatcher
    local: ThreadPoolExecutor

    def watch_again(self) -> None:
        """Watch a folder that is back.  Raises :class:`AutosyncError` if it is not."""
        self.watcher.stop()
        watcher = _make_watcher(self.config, self.backend, self.runner)
        watcher.start()
        self.watcher = watcher

    def ask_ignore_rules_again(self) -> None:
        """Watch what is not ignored any more, and the other way round."""
        self.watcher.refresh()

    def stop_watching(self) -> None:
        """End the watching."""
        self.watcher.stop()

    def close(self) -> None:
        """End what runs; a thread that is still at work ends with the process."""
        self.local.shutdown(wait=False)
        if not self.runner.abandoned:
            self.backend.close()


class WorkspaceOpener:
    """Opens the working copies of one agent; those of one store share a thread."""

    def __init__(
        self, config: Config, device: DeviceId, outside: Outside, *, broadcaster: Broadcaster, states: StateDirectory
    ) -> None:
        self._config = config
        self._device = device
        self._outside = outside
        self._broadcaster = broadcaster
        self._states = states
        self._threads: dict[bytes, ThreadPoolExecutor] = {}

    def open(self, path: PathConfig, network: Executor) -> Workspace:
        """Return the working copy at ``path``.

        Raises :class:`AutosyncError`: no key, no working copy, a corrupt state.
        """
        key = load_key(path.key_file)
        state = self._states.workspace(key.id)
        backend = open_git(
            os.fsencode(path.path),
            workspace=key.id,
            remote=path.remote,
            hub_prefix=path.hub_prefix,
            ignore=path.ignore,
        )
        local = self._threads.setdefault(
            backend.repo.common_dir, ThreadPoolExecutor(1, thread_name_prefix=f"local {path.workspace}")
        )
        tree = WorkingTree(backend.root, backend.metadata, standing=backend.standing, stage=backend.stage)
        runner = Runner(
            workspace=path.workspace,
            settings=session_settings(path, self._device, self._config.device),
            performer=Performer(
                backend=backend,
                tree=tree,
                device=self._device,
                name=self._config.device,
                brakes=Brakes(path.brakes, map(RelPath, state.released)),
            ),
            outside=self._outside,
            local=local,
            network=network,
            inline_limit=path.inline_limit,
        )
        member = self._broadcaster.join(runner, key, state)
        runner.session.paused = member.state.paused
        workspace = Workspace(
            config=path,
            backend=backend,
            runner=runner,
            member=member,
            watcher=_make_watcher(path, backend, runner),
            local=local,
        )
        runner.before_whole_look = workspace.ask_ignore_rules_again
        return workspace


def session_settings(path: PathConfig, device: DeviceId, name: str) -> SessionSettings:
    """Return what a session needs to know of the configuration."""
    return SessionSettings(
        device=device,
        name=name,
        mode=Mode(path.mode.value),
        auto_commit=path.commits is Commits.AUTO,
        commit_after=path.commit_after,
        settle=path.settle,
        max_wait=path.max_wait,
        hub=path.remote is not None,
        hub_interval=path.hub_interval,
        rescan=path.rescan,
        conservative=path.pull_lock is PullLock.CONSERVATIVE,
    )


def _make_watcher(path: PathConfig, backend: GitBackend, runner: Runner) -> TreeWatcher:
    return TreeWatcher(
        backend.root,
        metadata_directories=backend.metadata_directories(),
        excluded=frozenset({b".git", b".hg"}),
        ignored=backend.ignored,
        listener=_Listener(runner),
        rescan_interval=path.rescan,
    )


class _Listener:
    """Hands what the watcher's thread sees to the session."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def paths_changed(self, hints: Sequence[ev.PathHint]) -> None:
        self._runner.post_from_thread(ev.PathsChanged(hints=tuple(hints)))

    def metadata_changed(self) -> None:
        self._runner.post_from_thread(ev.MetadataChanged())

    def root_vanished(self) -> None:
        self._runner.post_from_thread(ev.RootVanished())
