"""The agent: joins what keeps every configured working copy in sync."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO

from autosync.activities import Activity
from autosync.answers.answering import Answers
from autosync.answers.inviting import Inviting
from autosync.answers.metrics import Metrics, carried
from autosync.broadcast import FAREWELL, Broadcaster
from autosync.channels.lan import LanChannel
from autosync.channels.opening import open_channel
from autosync.channels.reflected import LineChannel
from autosync.commanded.workspace import CommandedWorkspace, open_commanded
from autosync.commitnews import CommitNews
from autosync.companion import Companion, desktop_command, has_session_bus
from autosync.config import Config, PathConfig, Vcs, load, with_overrides
from autosync.config.changes import CHANNELS, compare
from autosync.control import NAME as SOCKET_NAME
from autosync.control import ControlServer
from autosync.core.allowance import Allowance
from autosync.core.commands import Announce
from autosync.core.events import AnnouncementsAsked, FlushAsked, HubChanged
from autosync.core.model import DeviceId
from autosync.errors import AutosyncError, NotAWorkingCopy, TransientError, Unreachable
from autosync.glance import look_at
from autosync.link import Links
from autosync.link.flow import Flow
from autosync.link.traffic import Traffic
from autosync.link.wire import Wish
from autosync.lookout import LOOK_EVERY
from autosync.metrics.serving import MetricsServer
from autosync.peering import Peering, remembered_ways
from autosync.ports import Channel, Piping
from autosync.reachability import Reachability
from autosync.rekeying import Rekeying
from autosync.relays import Relays
from autosync.runner import Runner
from autosync.served import Served
from autosync.store import StateDirectory
from autosync.supervision import Supervision
from autosync.systemd.notify import Notifier
from autosync.trust.identity import load_or_create_identity
from autosync.twins import refuse_twin
from autosync.wakefulness import Wakefulness
from autosync.workspace import PastLost, Workspace, WorkspaceOpener, was_here

log = logging.getLogger(__name__)

NETWORK_THREADS = 4


class Agent:
    """Joins sessions, channels, links and the control socket."""

    def __init__(
        self,
        config: Config,
        *,
        renewals: Allowance,
        notifier: Notifier,
        took_up: Callable[[str], object],
        may_show: bool,
    ) -> None:
        self._may_show = may_show
        self.config = config
        self._renewals = renewals
        self._took_up = took_up
        self.workspaces: list[Workspace] = []
        self.commanded: list[CommandedWorkspace] = []
        """Those that are kept by commands."""
        self._states = StateDirectory(config.state_dir)
        self._device = self._states.device(config.device)
        identity = load_or_create_identity(config.state_dir)
        self._network = ThreadPoolExecutor(NETWORK_THREADS, thread_name_prefix="network")
        self._links = Links(
            identity,
            listen=config.listen or ("", 0),
            traffic=Traffic(upload=Flow(config.limit_upload), download=Flow(config.limit_download)),
            ways=remembered_ways(config.state_dir),
        )
        self._broadcaster = Broadcaster(device=self._device, name=config.device, identity=identity, states=self._states)
        self._peering = Peering(self._links, self._broadcaster.members.values, self.happened)
        self._relays = Relays(config, self._links)
        self._rekeying = Rekeying(self._broadcaster, self._links, may_link=config.listen is not None)
        self._rekeying.moved = self._key_moved
        self._reachability = Reachability(config, self._links, self._relays, self._rekeying)
        self._broadcaster.candidates = self._reachability.candidates
        self._broadcaster.learned = self._reachability.learn
        self._opener = WorkspaceOpener(
            config,
            self._device,
            self,
            broadcaster=self._broadcaster,
            states=self._states,
            past_lost=self._begin_again,
        )
        self.again = False
        """Whether it ended by itself, and is to be started anew under another id."""
        self._end: Callable[[], object] = lambda: None
        self._absent: dict[str, AutosyncError] = {}
        """Paths that are waited for, and why they cannot be opened."""
        self._inviting = Inviting(lambda: self.config, self._broadcaster, self._links, self._relays, self.happened)
        self._commit_news = CommitNews(self.workspaces)
        self._reloading = asyncio.Lock()
        self._supervision = Supervision(notifier, self.kept, self._words)
        self._answers = Answers(
            lambda: self.config,
            self._broadcaster,
            self._links,
            self.workspaces,
            commanded=self.commanded,
            absent=self._absent,
            inviting=self._inviting,
            rekeying=self._rekeying,
        )

    # -- life --------------------------------------------------------------------------------
    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set.  Raises :class:`AutosyncError` if the start fails."""
        self._end = partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set)
        async with AsyncExitStack() as stack:
            self._supervision.begin()
            stack.callback(self._supervision.stop)
            stack.callback(self._network.shutdown, wait=False, cancel_futures=True)
            stack.callback(self._opener.close)
            kept_before = {path.path for path in self.config.paths if was_here(self.config, path)}
            for path in self.config.paths:
                try:
                    self._keep(await self._open(path, stack))
                except AutosyncError as error:
                    if not _may_come(error) or path.path not in kept_before:
                        raise
                    log.warning("%s is waited for: %s. %s", path.workspace, error.title, error.hint)
                    self._absent[path.path] = error
            # Working copies first: what the channels then deliver finds sessions that listen.
            for workspace in self.kept():
                await self._start_workspace(workspace, stack)
            await self._start_channels(stack)
            self._reachability.take_stock()
            wakefulness = Wakefulness(self._woken)
            wakefulness.start()
            stack.callback(wakefulness.stop)
            pushes = asyncio.create_task(self._commit_news.watch_pushes(), name="pushes")
            stack.callback(self._commit_news.stop)
            stack.callback(pushes.cancel)
            stack.push_async_callback(self._inviting.invitations.stop)
            self._reachability.learn_introductions()
            self._answers.reload = partial(self._reload, stack)
            control = ControlServer(os.path.join(self.config.state_dir, SOCKET_NAME), self._answers.answer)
            await control.start()
            stack.push_async_callback(control.stop)
            if self._may_show and self.config.popups is not None and has_session_bus():
                companion = Companion(desktop_command(self.config.source))
                companion.start()
                stack.push_async_callback(companion.stop)
            await self._serve_metrics(stack)
            kept = ", ".join(path.workspace for path in self.config.paths)
            log.info("agent %s is up, pid %d: %s", self._device, os.getpid(), kept or "no working copy yet")
            self._supervision.ready()
            await self._await_absent(stop, stack)
            self._supervision.stop()
            if self.again:  # no farewell: it is the other one's name
                return
            self._supervision.leaving()
            # The farewell repeats what was said last: a save whose pack is still being made would be missing in it.
            await asyncio.gather(*(workspace.runner.speak_out(FAREWELL) for workspace in self.kept()))
            try:
                await self._broadcaster.say_farewell()
                for workspace in self.kept():
                    self._broadcaster.save_at_the_end(workspace.member)
            except AutosyncError as error:  # nothing hangs on it: the next start asks everybody
                log.warning("the end was not written down: %s", error)

    def _begin_again(self) -> bool:
        """End, to be started anew under another id; ``False`` if that happened too often: a member may lie."""
        if not self.again and not self._renewals.take(time.monotonic()):
            return False
        self.again = True
        self._end()
        return True

    def kept(self) -> list[Workspace | CommandedWorkspace]:
        """Return the working copies of both kinds."""
        return [*self.workspaces, *self.commanded]

    def _keep(self, workspace: Workspace | CommandedWorkspace) -> None:
        self._took_up(workspace.config.workspace)
        if isinstance(workspace, CommandedWorkspace):
            self.commanded.append(workspace)
        else:
            workspace.runner.wording_time = self._answers.news.wording_time
            self.workspaces.append(workspace)

    async def _open(self, path: PathConfig, stack: AsyncExitStack) -> Workspace | CommandedWorkspace:
        loop = asyncio.get_running_loop()
        workspace: Workspace | CommandedWorkspace
        kept = [workspace.config for workspace in self.kept()]
        await loop.run_in_executor(self._network, refuse_twin, path, kept)
        if path.backend is Vcs.COMMAND:
            opening = partial(open_commanded, broadcaster=self._broadcaster, states=self._states)
            workspace = await loop.run_in_executor(
                self._network, opening, path, self.config, self._device, self._broadcaster
            )
        else:
            workspace = await loop.run_in_executor(self._network, self._opener.open, path, self._network)
        stack.callback(workspace.close)
        return workspace

    async def _await_absent(self, stop: asyncio.Event, stack: AsyncExitStack) -> None:
        """Return when ``stop`` is set; until then take up what was missing at the start and has come."""
        while self._absent and not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_EVERY)
            for path in [p for p in self.config.paths if p.path in self._absent and not stop.is_set()]:
                try:
                    await self._take_up(with_overrides(path, self.config.source), stack)
                except AutosyncError as error:
                    self._absent[path.path] = error
                else:
                    del self._absent[path.path]
                    log.info("%s has come", path.workspace)
        await stop.wait()

    async def _take_up(self, path: PathConfig, stack: AsyncExitStack) -> None:
        async with AsyncExitStack() as own:
            workspace = await self._open(path, own)
            await self._start_workspace(workspace, own)
            stack.push_async_callback(own.pop_all().aclose)
        self._keep(workspace)
        if self.config.listen is not None:
            self._links.add(Served(workspace, self._broadcaster))
        workspace.runner.post(AnnouncementsAsked())

    async def _reload(self, stack: AsyncExitStack) -> dict[str, Any]:
        """Read the configuration again and take up what is new in it; return what was done and what needs a restart.

        Raises :class:`AutosyncError` for a configuration that cannot be used; then everything goes on as it was.
        """
        async with self._reloading:
            reading = partial(load, self.config.source, os.environ, on_disk=True, awaited=was_here)
            wanted = await asyncio.get_running_loop().run_in_executor(self._network, reading)
            changes = compare(self.config, wanted)
            for key in changes.started:
                self.config = replace(self.config, **{key: getattr(wanted, key)})
                await self._start_channel(self._new_channel(key), stack)
            added, failed = [], []
            for path in changes.added:
                try:
                    await self._take_up(path, stack)
                except (AutosyncError, PastLost) as error:
                    title, hint = _words(error)
                    failed.append({"path": path.path, "title": title, "hint": hint})
                else:
                    self.config = replace(self.config, paths=(*self.config.paths, path))
                    added.append({"path": path.path, "workspace": path.workspace})
                    log.info("%s is kept from now on: %s", path.workspace, path.path)
            for path in changes.ignoring:
                await self._ignore_by(path)
            for path in changes.following:
                self._follow_by(path)
            self._reachability.learn_introductions()
            return {
                "added": added,
                "ignoring": [path.path for path in changes.ignoring],
                "following": [path.path for path in changes.following],
                "started": list(changes.started),
                "failed": failed,
                "restart": list(changes.restart),
                "kept": [workspace.config.path for workspace in self.kept()],
            }

    async def _serve_metrics(self, stack: AsyncExitStack) -> None:
        if self.config.metrics is None:
            return
        metrics = Metrics(
            partial(self._answers.answer, "status", {}),
            lambda: carried(self._broadcaster, self._links),
            lambda: {workspace.config.workspace: workspace.backend for workspace in self.workspaces},
            self._network,
        )
        server = MetricsServer(self.config.metrics, metrics.render)
        try:
            await server.start()
        except AutosyncError as error:  # nothing that is synced hangs on it
            log.error("%s. %s", error.title, error.hint)
        else:
            stack.push_async_callback(server.stop)

    def _follow_by(self, path: PathConfig) -> None:
        """Have a working copy follow what ``path`` says now."""
        self.config = replace(self.config, paths=tuple(path if p.path == path.path else p for p in self.config.paths))
        for workspace in self.workspaces:
            if workspace.config.path == path.path:
                workspace.config = replace(workspace.config, subscribe=path.subscribe)
                workspace.backend.following.follow_by(path.subscribe)
                workspace.runner.post(HubChanged())
                log.info("%s follows other names of its hub from now on", path.workspace)

    async def _ignore_by(self, path: PathConfig) -> None:
        """Have a working copy ignore what ``path`` says now."""
        self.config = replace(self.config, paths=tuple(path if p.path == path.path else p for p in self.config.paths))
        for workspace in self.workspaces:
            if workspace.config.path == path.path:
                workspace.config = replace(workspace.config, ignore=path.ignore)
                heed = partial(workspace.backend.ignore_by, path.ignore)
                await asyncio.get_running_loop().run_in_executor(workspace.local, heed)
                workspace.runner.post(FlushAsked())
                log.info("%s ignores other paths from now on", path.workspace)

    async def reload_when_told(self) -> None:
        """Do what `autosync reload` does; what comes of it is logged, for nobody waits for an answer."""
        if not self._supervision.is_up:
            log.warning("the configuration is being read, as this agent starts: it is not read again")
            return
        with self._supervision.reloading():
            try:
                answer = await self._answers.reload()
            except AutosyncError as error:
                log.error("all goes on as it was: %s. %s", error.title, error.hint)
                return
        for path in answer["failed"]:
            log.error("%s is not kept: %s. %s", path["path"], path["title"], path["hint"])
        if answer["restart"]:
            log.warning("a restart is needed for the rest: %s", "; ".join(answer["restart"]))

    async def _words(self) -> str:
        return look_at(await self._answers.answer("status", {})).words

    def _new_channel(self, key: str) -> Channel:
        """Return the channel that the ``key`` of the configuration asks for."""
        channel = open_channel(
            key, self.config, self._broadcaster, tags=lambda: self._broadcaster.members, commits=self._commit_news
        )
        if isinstance(channel, LineChannel):
            self._commit_news.tellers.append(channel)
        if isinstance(channel, Piping) and self.config.listen is not None:
            self._relays.through(channel)
        return channel

    async def _start_channel(self, channel: Channel, stack: AsyncExitStack) -> None:
        self._broadcaster.channels.append(channel)
        await channel.start()
        stack.push_async_callback(channel.stop)

    async def _start_channels(self, stack: AsyncExitStack) -> None:
        channels = [self._new_channel(key) for key in CHANNELS if getattr(self.config, key, None) is not None]
        if self.config.listen is not None:
            for workspace in self.kept():
                self._links.add(Served(workspace, self._broadcaster))
            await self._links.start()
            stack.push_async_callback(self._relays.stop)
            stack.callback(self._peering.stop)
            stack.push_async_callback(self._links.stop)
            self._relays.start()
            channels.append(
                LanChannel(self._links, self._broadcaster, peers=self.config.peers, discovery=self.config.discovery)
            )
        self._rekeying.begin()
        for channel in channels:
            await self._start_channel(channel, stack)

    async def _start_workspace(self, workspace: Workspace | CommandedWorkspace, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        workspace.runner.bind(loop)
        await loop.run_in_executor(workspace.local, workspace.watcher.start)
        stack.callback(workspace.stop_watching)
        await workspace.runner.start()
        looking = loop.create_task(workspace.keep_looking())
        stack.callback(looking.cancel)
        stack.push_async_callback(workspace.runner.stop)

    # -- what a runner asks of the outside ----------------------------------------------------------
    async def announce(self, runner: Runner, announce: Announce, pack: bytes) -> None:
        """Seal an announcement and broadcast it over every channel."""
        await self._broadcaster.announce(runner, announce, pack)

    async def fetch_from_peer(self, runner: Runner, device: DeviceId, wish: Wish, sink: BinaryIO) -> None:
        """Write what a peer answers to ``wish`` to ``sink``."""
        if self.config.listen is None:
            raise Unreachable("Direct connections are off (`listen: none`)", hint="The hub serves as the source.")
        await self._links.fetch(
            self._broadcaster.member_of(runner).key.id, device, wish.want, wish.have, sink, begun=wish.begun
        )

    def _key_moved(self) -> None:
        """Tell all workspaces where this device is called from now on: a revoked one knows the place of before."""
        self._relays.move()
        for workspace in self.kept():
            workspace.runner.post(AnnouncementsAsked())

    def _woken(self, why: str) -> None:
        """Take nothing for what it was: neither connections, nor how this device can be reached."""
        log.info("%s: are the others still there?", why)
        for channel in self._broadcaster.channels:
            channel.nudge()
        if self._reachability.take_stock():
            for workspace in self.kept():
                workspace.runner.post(AnnouncementsAsked())

    def happened(self, activity: Activity) -> None:
        """Tell those who watch."""
        self._answers.news.happened(activity)
        self._supervision.look_soon()


def _may_come(error: AutosyncError) -> bool:
    """Return whether a working copy that cannot be opened may come: its disk may not be mounted, or full."""
    return isinstance(error, TransientError | NotAWorkingCopy)


def _words(error: AutosyncError | PastLost) -> tuple[str, str]:
    """Return what is told of a path that was not taken up."""
    if isinstance(error, AutosyncError):
        return error.title, error.hint
    return f"{error}: the history of this device is lost or an older one", "Start the agent again: it gets a new id."
