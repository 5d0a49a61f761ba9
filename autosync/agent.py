"""The agent: one process that keeps every configured working copy in sync."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

from autosync.apply import WorkingTree
from autosync.backends.git import GitBackend, open_git
from autosync.broadcast import Broadcaster, Membership
from autosync.channels.lan import LanChannel
from autosync.channels.xmpp import XmppChannel, XmppSettings
from autosync.config import Commits, Config, PathConfig, PullLock, XmppConfig, fetch_password
from autosync.control import NAME as SOCKET_NAME
from autosync.control import ControlServer
from autosync.core import events as ev
from autosync.core.commands import Announce
from autosync.core.events import Announcement
from autosync.core.model import DeviceId, Snapshot, SnapshotId
from autosync.core.plan import Conflict
from autosync.core.settings import Mode, SessionSettings
from autosync.errors import AutosyncError, Unreachable
from autosync.link import Links, load_or_create_identity
from autosync.perform import Performer
from autosync.report import agent_status, is_reachable, workspace_status
from autosync.runner import Activity, Runner
from autosync.sealing import load_key
from autosync.store import ConflictRecord, StateDirectory
from autosync.watch import TreeWatcher

log = logging.getLogger(__name__)

NETWORK_THREADS = 4
REMEMBERED = 1000
"""Activities remembered for those who ask what happened."""
STOP_WITHIN = 2.0
"""Seconds that stopping may take."""
INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""
FIRST_PEER = 5.0
"""Seconds that ``sync --wait`` gives a first peer to show up."""


@dataclass(slots=True, kw_only=True)
class Workspace:
    """One working copy of this agent and everything that belongs to it."""

    config: PathConfig
    backend: GitBackend
    runner: Runner
    member: Membership
    watcher: TreeWatcher
    local: ThreadPoolExecutor


class Agent:
    """Joins sessions, channels, links and the control socket."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.workspaces: list[Workspace] = []
        self._started_at = time.time()
        self._states = StateDirectory(config.state_dir)
        self._device = self._states.device(config.device)
        identity = load_or_create_identity(config.state_dir)
        self._network = ThreadPoolExecutor(NETWORK_THREADS, thread_name_prefix="network")
        self._locals: dict[bytes, ThreadPoolExecutor] = {}
        self._links = Links(identity, listen=config.listen or ("", 0))
        self._broadcaster = Broadcaster(
            device=self._device, name=config.device, certificate=identity.certificate_der, states=self._states
        )
        self._broadcaster.addresses = self._links.addresses
        self._broadcaster.learned = self._learn
        self._activities: deque[tuple[int, Activity]] = deque(maxlen=REMEMBERED)
        self._activity_count = 0
        self._activity_waiters: set[asyncio.Event] = set()

    # -- life --------------------------------------------------------------------------------
    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set.  Raises :class:`AutosyncError` if the start fails."""
        async with AsyncExitStack() as stack:
            stack.callback(self._network.shutdown, wait=False, cancel_futures=True)
            loop = asyncio.get_running_loop()
            for path in self.config.paths:
                workspace = await loop.run_in_executor(self._network, self._open, path)
                self.workspaces.append(workspace)
                stack.callback(workspace.backend.close)
                stack.callback(workspace.local.shutdown, wait=False)
            # Working copies first: what the channels then deliver finds sessions that listen.
            for workspace in self.workspaces:
                await self._start_workspace(workspace, stack)
            await self._start_channels(stack)
            control = ControlServer(os.path.join(self.config.state_dir, SOCKET_NAME), self._answer)
            await control.start()
            stack.push_async_callback(control.stop)
            log.info("agent %s is up, pid %d, %d working copies", self._device, os.getpid(), len(self.workspaces))
            await stop.wait()
            await self._broadcaster.say_farewell()
            for workspace in self.workspaces:
                self._broadcaster.save(workspace.member)

    def _open(self, path: PathConfig) -> Workspace:
        key = load_key(path.key_file)
        backend = open_git(
            os.fsencode(path.path),
            workspace=key.id,
            remote=path.remote,
            hub_prefix=path.hub_prefix,
            ignore=path.ignore,
        )
        tree = WorkingTree(backend.root, backend.metadata, standing=backend.standing, stage=backend.stage)
        # All working copies of one store take turns: they share its lock order.
        local = self._locals.setdefault(
            backend.repo.common_dir, ThreadPoolExecutor(1, thread_name_prefix=f"local {path.workspace}")
        )
        runner = Runner(
            workspace=path.workspace,
            settings=session_settings(path, self._device, self.config.device),
            performer=Performer(backend=backend, tree=tree, device=self._device, name=self.config.device),
            outside=self,
            local=local,
            network=self._network,
            inline_limit=path.inline_limit,
        )
        member = self._broadcaster.join(runner, key, self._states.workspace(key.id))
        runner.session.paused = member.state.paused
        watcher = TreeWatcher(
            backend.root,
            metadata_directories=backend.metadata_directories(),
            excluded=frozenset({b".git", b".hg"}),
            ignored=backend.ignored,
            listener=_Listener(runner),
            rescan_interval=path.rescan,
        )
        runner.before_whole_look = watcher.refresh
        return Workspace(config=path, backend=backend, runner=runner, member=member, watcher=watcher, local=local)

    async def _start_channels(self, stack: AsyncExitStack) -> None:
        channels: list[LanChannel | XmppChannel] = []
        if self.config.xmpp is not None:
            channels.append(XmppChannel(xmpp_settings(self.config.xmpp, self.config), self._broadcaster))
        if self.config.listen is not None:
            for workspace in self.workspaces:
                self._links.add(_Served(self, workspace))
            await self._links.start()
            stack.push_async_callback(self._links.stop)
            channels.append(
                LanChannel(self._links, self._broadcaster, peers=self.config.peers, discovery=self.config.discovery)
            )
        for channel in channels:
            self._broadcaster.channels.append(channel)
            await channel.start()
            stack.push_async_callback(channel.stop)

    async def _start_workspace(self, workspace: Workspace, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        workspace.runner.bind(loop)
        await loop.run_in_executor(workspace.local, workspace.watcher.start)
        stack.callback(_stop_watching, workspace)
        await workspace.runner.start()
        stack.push_async_callback(workspace.runner.stop)

    # -- what a runner asks of the outside ----------------------------------------------------------
    async def announce(self, runner: Runner, announce: Announce, pack: bytes) -> None:
        """Seal an announcement and broadcast it over every channel."""
        await self._broadcaster.announce(runner, announce, pack)

    async def fetch_from_peer(
        self, runner: Runner, device: DeviceId, wanted: SnapshotId, have: Sequence[str], sink: BinaryIO
    ) -> None:
        """Write a pack from a peer to ``sink``."""
        if self.config.listen is None:
            raise Unreachable("Direct connections are off (`listen: none`)", hint="The hub serves as the source.")
        await self._links.fetch(self._broadcaster.member_of(runner).key.id, device, wanted, have, sink)

    def happened(self, activity: Activity) -> None:
        """Remember an activity and wake those who wait for one."""
        self._activity_count += 1
        self._activities.append((self._activity_count, activity))
        for waiter in self._activity_waiters:
            waiter.set()

    def conflicts_found(self, runner: Runner, conflicts: tuple[Conflict, ...], snapshot: Snapshot) -> None:
        """Remember the conflict copies that were made, so that ``status`` shows them."""
        member = self._broadcaster.member_of(runner)
        known = {c.copy for c in member.state.conflicts}
        new = tuple(
            ConflictRecord(path=bytes(c.path), copy=bytes(c.copy), device=c.winner, time=snapshot.time)
            for c in conflicts
            if c.copy is not None and bytes(c.copy) not in known
        )
        if new:
            self._broadcaster.save(member, conflicts=member.state.conflicts + new)

    def _learn(self, member: Membership, said: Announcement) -> None:
        if self.config.listen is None:
            return
        self._links.learn(member.key.id, said.device, said.addresses, heard=said.state != "stopped")

    # -- the control socket ----------------------------------------------------------------------------
    async def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answers: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "sync": self._sync,
            "pause": self._pause,
            "resume": self._resume,
            "activity": self._activity,
        }
        answer = answers.get(command)
        if answer is None:
            raise AutosyncError(f"The agent does not know the command {command!r}", hint="Is it an older version?")
        return await answer(arguments)

    async def _status(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        status = agent_status(
            device=self.config.device,
            started_at=self._started_at,
            channels=[c.status() for c in self._broadcaster.channels],
        )
        now = asyncio.get_running_loop().time()
        status["workspaces"] = [
            workspace_status(
                w.member,
                path=w.config.path,
                vcs=w.backend.vcs,
                now=now,
                linked=self._linked(w),
                watch=asdict(w.watcher.status()),
            )
            for w in self.workspaces
        ]
        return status

    async def _sync(self, arguments: dict[str, Any]) -> dict[str, Any]:
        chosen = self._chosen(arguments)
        for workspace in chosen:
            workspace.runner.post(ev.FlushAsked())
        if not arguments.get("wait"):
            return {"synced": True, "waiting": [], "detail": ""}
        timeout = _number(arguments, "timeout", 60.0)
        results = await asyncio.gather(*(self._wait_for_peers(w, timeout) for w in chosen))
        waiting = sorted({name for _, names in results for name in names})
        details = [detail for detail, _ in results if detail]
        return {"synced": not waiting and not details, "waiting": waiting, "detail": "; ".join(details)}

    async def _wait_for_peers(self, workspace: Workspace, patience: float) -> tuple[str, list[str]]:
        """Return what is in the way and who has not confirmed, both empty if all is well."""
        runner = workspace.runner
        started = asyncio.get_running_loop().time()
        has_peer = await runner.until(lambda: bool(self._reachable(workspace)), min(patience, FIRST_PEER))
        left = max(0.0, patience - (asyncio.get_running_loop().time() - started))
        await runner.until(lambda: self._is_in_sync(workspace), left)
        if not self._is_in_sync(workspace):
            halt = runner.session.halt
            detail = f"{runner.workspace}: {halt.title}" if halt else ""
            return detail, self._unconfirmed(workspace) or [self.config.device]
        if not has_peer and not self._reachable(workspace) and not runner.session.settings.hub:
            return f"{runner.workspace}: no other device can be reached, so nothing was exchanged", []
        return "", []

    def _is_in_sync(self, workspace: Workspace) -> bool:
        session = workspace.runner.session
        if not session.quiet() or self._unconfirmed(workspace):
            return False
        reachable = self._reachable(workspace)
        return bool(reachable) or not session.settings.hub or session.is_on_hub()

    def _reachable(self, workspace: Workspace) -> list[str]:
        linked = self._linked(workspace)
        now = asyncio.get_running_loop().time()
        return [p.name for p in workspace.runner.session.peers.all() if is_reachable(p, now, linked)]

    def _unconfirmed(self, workspace: Workspace) -> list[str]:
        current = workspace.runner.session.current
        linked = self._linked(workspace)
        now = asyncio.get_running_loop().time()
        return [
            p.name
            for p in workspace.runner.session.peers.all()
            if is_reachable(p, now, linked) and (current is None or p.tree != current.tree)
        ]

    async def _pause(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._steer(arguments, ev.Paused(), paused=True)

    async def _resume(self, arguments: dict[str, Any]) -> dict[str, Any]:
        for workspace in self._chosen(arguments):
            if workspace.runner.session.root_gone:
                await asyncio.get_running_loop().run_in_executor(workspace.local, _watch_again, workspace)
        return self._steer(arguments, ev.Resumed(), paused=False)

    def _steer(self, arguments: dict[str, Any], event: ev.Event, *, paused: bool) -> dict[str, Any]:
        chosen = self._chosen(arguments)
        for workspace in chosen:
            self._broadcaster.save(workspace.member, paused=paused)
            workspace.runner.post(event)
        return {"workspaces": [w.runner.workspace for w in chosen]}

    async def _activity(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return what happened after number ``since``, waiting up to ``wait`` seconds for something."""
        since, wait = int(_number(arguments, "since", 0.0)), min(_number(arguments, "wait", 0.0), 60.0)
        waiter = asyncio.Event()
        self._activity_waiters.add(waiter)
        try:
            if self._activity_count <= since and wait > 0:
                async with asyncio.timeout(wait):
                    await waiter.wait()
        except TimeoutError:
            pass
        finally:
            self._activity_waiters.discard(waiter)
        news = [asdict(a) for n, a in self._activities if n > since]
        return {"next": self._activity_count, "activities": news}

    def _chosen(self, arguments: dict[str, Any]) -> list[Workspace]:
        path = arguments.get("path")
        chosen = [w for w in self.workspaces if path in (None, w.config.path)]
        if not chosen and path is not None:
            raise AutosyncError(
                f"The running agent does not keep {path}", hint="Restart the agent after adding a path to its config."
            )
        return chosen

    def _linked(self, workspace: Workspace) -> dict[str, str]:
        peers = self._links.peers(workspace.member.key.id)
        return {p.device: p.address for p in peers if p.connected and p.device is not None}


def _number(arguments: dict[str, Any], name: str, default: float) -> float:
    """Return a finite number that the control socket was given.  Raises :class:`AutosyncError`."""
    value = arguments.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AutosyncError(f"{name} must be a number, not {str(value)[:40]!r}", hint="Give seconds, for example 30.")
    return float(value)


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


def make_watcher(path: PathConfig, backend: GitBackend, runner: Runner) -> TreeWatcher:
    """Return what tells ``runner`` where to look in its working copy."""
    return TreeWatcher(
        backend.root,
        metadata_directories=backend.metadata_directories(),
        excluded=frozenset({b".git", b".hg"}),
        ignored=backend.ignored,
        listener=_Listener(runner),
        rescan_interval=path.rescan,
    )


def _stop_watching(workspace: Workspace) -> None:
    workspace.watcher.stop()


def _watch_again(workspace: Workspace) -> None:
    """Watch a folder that is back.  Raises :class:`AutosyncError` if it is not."""
    workspace.watcher.stop()
    watcher = make_watcher(workspace.config, workspace.backend, workspace.runner)
    watcher.start()
    workspace.watcher = watcher


class _Served:
    """What peers get of one working copy over a direct link."""

    def __init__(self, agent: Agent, workspace: Workspace) -> None:
        self._agent = agent
        self._workspace = workspace
        self.key = workspace.member.key
        self.device = agent._device
        self.name = agent.config.device

    def announced(self, sealed: bytes, peer: DeviceId) -> None:  # noqa: ARG002  # the seal tells who
        self._agent._broadcaster.sealed_received(self.key.tag, sealed, "lan")

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        self._workspace.backend.serve(want, have, out)


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


def xmpp_settings(xmpp: XmppConfig, config: Config) -> XmppSettings:
    """Return what the XMPP channel needs to know of the configuration."""
    return XmppSettings(
        jid=xmpp.jid,
        password=lambda: fetch_password(xmpp),
        host=xmpp.host,
        port=xmpp.port,
        ca_file=xmpp.ca_file,
        members=xmpp.members,
        device=config.device,
    )


async def run_agent(config: Config) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit code.

    Raises :class:`AutosyncError` if it cannot start: another agent on the same state
    directory, a path that is no working copy, an address that is taken.
    """
    states = StateDirectory(config.state_dir)
    with states.lock():
        agent = Agent(config)
        stop = asyncio.Event()
        interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            stop.set()

        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, interrupt)
        await agent.run(stop)
    return INTERRUPTED if interrupted else 0
