"""Puts one working copy of the agent together: backend, session, watcher."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

from autosync.accompaniment import Accompaniment, accompany
from autosync.apply import WorkingTree
from autosync.backends.git.refnames import RefNames
from autosync.backends.opening import open_backend
from autosync.backends.shelf import NoFiles, Shelf
from autosync.broadcast import Broadcaster
from autosync.config import Commits, Config, PathConfig, PullLock
from autosync.core import events as ev
from autosync.core.brakes import Brakes
from autosync.core.model import DeviceId, RelPath, SnapshotId, WorkspaceId
from autosync.core.settings import Mode, SessionSettings
from autosync.errors import AutosyncError
from autosync.failures import not_opened
from autosync.foothold import Foothold, identify_store, is_same_store
from autosync.history import History
from autosync.lookout import keep_looking, why_vanished
from autosync.membership import Membership
from autosync.perform import Performer
from autosync.ports import CURRENT, Backend
from autosync.runner import STOP_PATIENCE, Outside, Runner
from autosync.store import StateDirectory, WorkspaceState
from autosync.trust.sealing import load_key
from autosync.turns import Turns
from autosync.watch import TreeWatcher

LEAP = 1 << 12
"""Numbers of which each state gets one by chance: two machines with one identity soon have different ones,
and so find each other out."""


class PastLost(Exception):
    """States that this device has told others of are not in its store: it must not count on under its id.

    A number that is used again would pass, on every device, for the state that had it before.
    """


@dataclass(slots=True, kw_only=True)
class Workspace:
    """One working copy of this agent and everything that belongs to it.

    ``local`` is the one thread in which its store's working copies are touched.
    """

    config: PathConfig
    backend: Backend
    runner: Runner
    member: Membership
    watcher: TreeWatcher
    local: ThreadPoolExecutor
    tree: WorkingTree | NoFiles
    foothold: Foothold
    accompaniment: Accompaniment
    resting: bool = False
    """Whether everything that held on to a folder that is gone was let go."""

    async def keep_looking(self) -> None:
        """Look now and then whether the folder still is there, or is back."""
        await keep_looking(self.look, self.runner.post, executor=self.local)

    def look(self) -> None:
        """Take up a folder that is back; in the thread ``local``.  Raises AutosyncError or OSError: it is gone."""
        if self.runner.session.root_gone:
            self.watch_again()
        else:
            self.foothold.demand()

    def watch_again(self) -> None:
        """Take up a folder that is back; in the thread ``local``.  Raises :class:`AutosyncError` if it is not."""
        performer, session = self.runner.performer, self.runner.session
        if not self.resting:
            self.resting = True
            self.watcher.stop()
            self.tree.close()
            self.backend.rest()
        self.foothold.demand_repository()
        if performer.recorded() != (session.current.id if session.current else None):
            raise self.foothold.another()
        self.tree = _make_tree(self.backend)
        watcher = _make_watcher(self.config, self.backend, self.runner, self.foothold, self.accompaniment)
        try:
            watcher.start()
            current = performer.take_up(self.tree)
        except BaseException:
            watcher.stop()
            self.tree.close()
            raise
        self.watcher, self.resting = watcher, False
        self.foothold.take()
        self.runner.post_from_thread(ev.RootReturned(current=current))

    def ask_ignore_rules_again(self) -> None:
        """Watch what is not ignored any more, and the other way round."""
        self.watcher.refresh()

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """As :meth:`autosync.ports.Backend.serve`."""
        self.backend.serve(want, have, out)

    def stop_watching(self) -> None:
        """End the watching; a thread that is not answered by the version control is left to the end of the process."""
        self.runner.abandoned |= not self.watcher.stop(within=STOP_PATIENCE)

    def close(self) -> None:
        """Let go of everything, so that it can be opened again; a thread that is still at work keeps it."""
        if self.runner.abandoned:
            return
        if not self.resting:
            self.resting = True
            self.tree.close()
        self.backend.close()


def was_here(config: Config, path: PathConfig) -> bool:
    """Return whether this device has kept the working copy before: if it is missing it is waited for.

    It may be on a disk that is not mounted yet.
    """
    try:
        return StateDirectory(config.state_dir).knows(load_key(path.key_file).id)
    except AutosyncError:
        return False


class WorkspaceOpener:
    """Opens the working copies of one agent; those of one store share a thread.

    ``past_lost`` is called in any of them when others know of states of this device that it has not made, and
    returns whether it is to have another id.
    """

    def __init__(
        self,
        config: Config,
        device: DeviceId,
        outside: Outside,
        *,
        broadcaster: Broadcaster,
        states: StateDirectory,
        past_lost: Callable[[], bool],
    ) -> None:
        self._past_lost = past_lost
        self._config = config
        self._device = device
        self._outside = outside
        self._broadcaster = broadcaster
        self._states = states
        self._threads: dict[bytes, ThreadPoolExecutor] = {}
        self._turns: dict[bytes, Turns] = {}

    def close(self) -> None:
        """Begin nothing more; a thread that is still at work ends with the process."""
        for local in self._threads.values():
            local.shutdown(wait=False)

    def open(self, path: PathConfig, network: Executor) -> Workspace:
        """Return the working copy at ``path``.

        Raises :class:`AutosyncError`: no key, no working copy, a corrupt state.  Raises
        :class:`PastLost` once; the next time the store is taken as it is.
        """
        key = load_key(path.key_file)
        names = RefNames(lambda: (key,))
        backend = open_backend(path, key.id, names=names)
        try:
            state = self._known_state(key.id, backend, path)
            tree = _make_tree(backend)
        except BaseException:
            backend.close()
            raise
        store = backend.store_directory
        local = self._threads.setdefault(store, ThreadPoolExecutor(1, thread_name_prefix=f"local {path.workspace}"))
        foothold = Foothold(backend.root, backend.metadata, lambda: backend.store_directory)
        runner = Runner(
            workspace=path.workspace,
            settings=replace(
                session_settings(path, self._device, self._config.device),
                hub_holds_snapshots=backend.hub_holds_snapshots,
            ),
            performer=Performer(
                backend=backend,
                tree=tree,
                device=self._device,
                name=self._config.device,
                history=History(backend, retention=path.history, turns=self._turns_at(backend.snapshots_directory)),
                brakes=Brakes(path.brakes, map(RelPath, state.released)),
                still_there=foothold.demand,
                past_lost=self._past_lost,
                leap=partial(secrets.randbelow, LEAP),
            ),
            outside=self._outside,
            local=local,
            network=network,
            inline_limit=path.inline_limit,
        )
        member = self._broadcaster.join(runner, path.key_file, state)
        names.keys = lambda: (member.key, *member.keyring.retired)
        member.snapshots_directory = backend.snapshots_directory
        runner.session.paused = member.state.paused or member.is_out()
        accompaniment = accompany(runner, member, path, self._config, self._broadcaster)
        workspace = Workspace(
            config=path,
            backend=backend,
            runner=runner,
            member=member,
            watcher=_make_watcher(path, backend, runner, foothold, accompaniment),
            local=local,
            tree=tree,
            foothold=foothold,
            accompaniment=accompaniment,
        )
        runner.before_whole_look = workspace.ask_ignore_rules_again
        return workspace

    def _turns_at(self, directory: bytes) -> Turns:
        """Return the turns of all who work on the snapshots in ``directory``."""
        return self._turns.setdefault(directory, Turns(directory))

    def _known_state(self, workspace: WorkspaceId, backend: Backend, path: PathConfig) -> WorkspaceState:
        """Return what is remembered of a workspace, if its store is the one that this device left."""
        state, found = self._states.workspace(workspace), identify_store(backend.metadata)
        try:
            current = backend.pins().get(CURRENT)
            lost = current is None or backend.load(current) is None
        except OSError as error:
            raise not_opened(error, backend) from error
        if state.store and (lost or not is_same_store(state.store, found)):
            self._states.save(workspace, replace(state, store=0))
            raise PastLost(path.workspace)
        if not state.store:
            state = replace(state, store=found)
            self._states.save(workspace, state)
        return state


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
        follows=path.remote is not None and path.mode.value != Mode.STORE.value,
        poll=path.poll,
        rescan=path.rescan,
        conservative=path.pull_lock is PullLock.CONSERVATIVE,
    )


def _make_tree(backend: Backend) -> WorkingTree | NoFiles:
    if isinstance(backend, Shelf):
        return NoFiles()
    return WorkingTree(
        backend.root,
        backend.metadata,
        standing=backend.standing,
        standings=backend.standings,
        stage=backend.stage,
        written=backend.written,
        new_times=backend.tells_by_seconds,
    )


def _make_watcher(
    path: PathConfig, backend: Backend, runner: Runner, foothold: Foothold, accompaniment: Accompaniment
) -> TreeWatcher:
    return TreeWatcher(
        backend.root,
        metadata_directories=backend.metadata_directories,
        excluded=frozenset({b".git", b".hg"}),
        ignored=backend.ignored,
        listener=_Listener(runner, foothold),
        rescan_interval=path.rescan,
        passed_over=accompaniment.passed_over,
    )


class _Listener:
    """Hands what the watcher's thread sees to the session."""

    def __init__(self, runner: Runner, foothold: Foothold) -> None:
        self._runner = runner
        self._foothold = foothold

    def paths_changed(self, hints: Sequence[ev.PathHint]) -> None:
        self._runner.post_from_thread(ev.PathsChanged(hints=tuple(hints)))

    def metadata_changed(self) -> None:
        self._runner.post_from_thread(ev.MetadataChanged())

    def root_vanished(self) -> None:
        try:
            self._foothold.demand()
        except AutosyncError as error:
            self._runner.post_from_thread(why_vanished(error))
        else:  # it is there, but nobody watches it any more: to be opened again
            self._runner.post_from_thread(ev.RootVanished())
