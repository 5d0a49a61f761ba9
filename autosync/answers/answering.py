"""Answers what the command line asks of the running agent."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autosync.answers.accompanied import add_accompaniment
from autosync.answers.commanded import commanded_status, steer_commanded, sync_commanded
from autosync.answers.confirmed import tell_confirmed
from autosync.answers.conflicts import list_conflicts, resolve_conflict
from autosync.answers.describing import describe_commit
from autosync.answers.devices import gone, list_devices, refuse_revoked, revoke_device, with_trust
from autosync.answers.explaining import Explaining
from autosync.answers.history import HistoryAnswers
from autosync.answers.inviting import Inviting
from autosync.answers.news import News, finite
from autosync.answers.peers import list_peers, list_transfers
from autosync.answers.report import (
    Heard,
    absent_status,
    agent_status,
    is_reachable,
    last_heard,
    tidied,
    workspace_status,
)
from autosync.broadcast import Broadcaster
from autosync.commanded.workspace import CommandedWorkspace
from autosync.config import Config, PathConfig
from autosync.core import events as ev
from autosync.core.sources import Peer
from autosync.errors import AutosyncError, TransientError
from autosync.link import Links
from autosync.logbook import LOGBOOK
from autosync.rekeying import Rekeying
from autosync.trust.signing import fingerprint_of
from autosync.workspace import Workspace

FIRST_PEER = 5.0
"""Seconds that ``sync --wait`` gives a first peer to show up."""


class Answers:
    """The commands of the control socket.

    ``workspaces``, ``commanded`` (those that are kept by commands) and ``absent``, the paths
    that are waited for, may change after construction, and so may what ``config`` returns.  ``reload`` is
    set once the agent is up.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        broadcaster: Broadcaster,
        links: Links,
        workspaces: Sequence[Workspace],
        *,
        commanded: Sequence[CommandedWorkspace],
        absent: Mapping[str, AutosyncError],
        inviting: Inviting,
        rekeying: Rekeying,
    ) -> None:
        self._config = config
        self._absent = absent
        self._inviting = inviting
        self._rekeying = rekeying
        self.reload: Callable[[], Awaitable[dict[str, Any]]] = _not_yet
        self._broadcaster = broadcaster
        self._links = links
        self._workspaces = workspaces
        self._commanded = commanded
        self._explaining = Explaining(broadcaster, workspaces, self._reachable, source=lambda: config().source)
        self._history = HistoryAnswers(workspaces)
        self._started_at = time.time()
        self.news = News()

    async def answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request.  Raises :class:`AutosyncError`."""
        answers: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "peers": self._peers,
            "sync": self._sync,
            "pause": self._pause,
            "resume": self._resume,
            "activity": self.news.answer,
            "gc": self._gc,
            "conflicts": lambda arguments: list_conflicts(self._chosen(arguments)),
            "resolve": lambda arguments: resolve_conflict(self._chosen(arguments), arguments),
            "explain": self._explaining.explain,
            "release": self._explaining.release,
            "describe": lambda arguments: describe_commit(self._chosen(arguments), arguments),
            "history": self._history.history,
            "diff": self._history.diff,
            "show": self._history.show,
            "restore": self._history.restore,
            "undo": self._history.undo,
            "invite": self._invite,
            "devices": self._devices,
            "revoke": self._revoke,
            "uninvite": self._inviting.cancel,
            "reload": self._reload,
            "log": self._log,
        }
        answer = answers.get(command)
        if answer is None:
            raise AutosyncError(f"The agent does not know the command {command!r}", hint="Is it an older version?")
        if command in ("explain", "release"):
            self._refuse_commanded(arguments)
        return await answer(arguments)

    def _refuse_commanded(self, arguments: dict[str, Any]) -> None:
        """Raise :class:`AutosyncError` for a path in a working copy that is kept by commands."""
        asked = str(arguments.get("path"))
        for workspace in self._commanded:
            root = os.path.realpath(workspace.config.path)
            if os.path.commonpath((root, os.path.abspath(asked))) == root:
                raise AutosyncError(
                    f"{workspace.config.path} is kept by commands, of which no path is held back or explained",
                    hint="`autosync status` says what is waited for; of a single path its version control tells.",
                )

    async def _status(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        status = agent_status(
            device=self._config().device,
            started_at=self._started_at,
            channels=[c.status() for c in self._broadcaster.channels],
        )
        now = asyncio.get_running_loop().time()
        status["workspaces"] = [
            with_trust(
                w.member,
                workspace_status(
                    w.member,
                    w.runner,
                    path=w.config.path,
                    vcs=w.backend.vcs,
                    now=now,
                    linked=self._linked(w),
                    watch=asdict(w.watcher.status()),
                ),
            )
            for w in self._workspaces
        ]
        status["workspaces"] += [
            with_trust(w.member, commanded_status(w, now=now, linked=self._linked(w), watch=asdict(w.watcher.status())))
            for w in self._commanded
        ]
        for plain, entry in zip(self._workspaces, status["workspaces"], strict=False):
            add_accompaniment(entry, plain.accompaniment)
        kept: list[Workspace | CommandedWorkspace] = [*self._workspaces, *self._commanded]
        for workspace, entry in zip(kept, status["workspaces"], strict=True):
            entry["transfers"] = list_transfers(self._links, workspace.member)
            if isinstance(workspace, Workspace):
                tell_confirmed(entry["peers"], workspace.runner.confirmations)
        status["invitations"] = self._inviting.listed()
        status["workspaces"] += [absent_status(p, self._absent[p.path]) for p in self._missing(None)]
        return status

    async def _peers(self, arguments: dict[str, Any]) -> dict[str, Any]:
        chosen: list[Workspace | CommandedWorkspace] = [*self._chosen(arguments), *self._chosen_commanded(arguments)]
        return {
            "device": self._config().device,
            "workspaces": [
                {"name": w.config.workspace, "path": w.config.path, "peers": list_peers(self._links, w.member)}
                for w in chosen
            ],
        }

    async def _invite(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._chosen_commanded(arguments) and not self._chosen(arguments):
            raise AutosyncError(
                "A working copy that is kept by commands cannot be joined by an invitation",
                hint="Its commands are this device's own: configure them there too (docs/command-backend.md).",
            )
        refuse_revoked([w.member for w in self._chosen(arguments)])
        return await self._inviting.invite(self._chosen(arguments), arguments)

    async def _devices(self, arguments: dict[str, Any]) -> dict[str, Any]:
        every = self._both(arguments)
        linked = {w.config.path: self._linked(w) for w in every}
        return list_devices({w.config.path: w.member for w in every}, self._broadcaster, linked)

    async def _revoke(self, arguments: dict[str, Any]) -> dict[str, Any]:
        every = self._both(arguments)
        members = {w.config.path: w.member for w in every}
        return revoke_device(members, self._broadcaster, self._rekeying, arguments)

    async def _log(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {"records": LOGBOOK.rows()}

    async def _reload(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        # Whoever asked may go: what was begun is finished.
        return await asyncio.shield(asyncio.ensure_future(self.reload()))

    async def _sync(self, arguments: dict[str, Any]) -> dict[str, Any]:
        chosen = self._chosen(arguments)
        commanded = self._chosen_commanded(arguments)
        if arguments.get("look") is not False:
            for workspace in chosen:
                workspace.runner.post(ev.FlushAsked())
            steer_commanded(commanded, ev.FlushAsked())
        refuse_revoked([w.member for w in self._both(arguments)])
        if not arguments.get("wait"):
            return {"synced": True, "waiting": [], "detail": ""}
        timeout = finite(arguments, "timeout", 60.0)
        results = await asyncio.gather(
            *(self._wait_for_peers(w, timeout) for w in chosen),
            *(sync_commanded(w, self._linked(w), timeout) for w in commanded),
        )
        waited = {name: heard for _, names in results for name, heard in names.items()}
        waiting = sorted(waited)
        details = [detail for detail, _ in results if detail]
        details += [f"{p.workspace}: {self._absent[p.path].title}" for p in self._missing(arguments.get("path"))]
        return {
            "synced": not waiting and not details,
            "waiting": waiting,
            "last-heard": waited,
            "detail": "; ".join(details),
            "held": sum(len(w.runner.session.held) for w in chosen),
        }

    async def _wait_for_peers(self, workspace: Workspace, patience: float) -> tuple[str, Mapping[str, Heard]]:
        """Return what is in the way and who has not confirmed, both empty if all is well."""
        runner = workspace.runner
        started = asyncio.get_running_loop().time()
        has_peer = await runner.until(lambda: bool(self._reachable(workspace)), min(patience, FIRST_PEER))
        left = max(0.0, patience - (asyncio.get_running_loop().time() - started))
        await runner.until(lambda: self._is_in_sync(workspace), left)
        if not self._is_in_sync(workspace):
            halt = runner.session.halt
            detail = f"{runner.workspace}: {halt.title}" if halt else ""
            return detail, self._unconfirmed(workspace) or {"this device": None}
        if not has_peer and not self._reachable(workspace) and not runner.session.settings.hub:
            return f"{runner.workspace}: no other device can be reached, so nothing was exchanged", {}
        return "", {}

    def _is_in_sync(self, workspace: Workspace) -> bool:
        session = workspace.runner.session
        if not session.quiet() or self._unconfirmed(workspace):
            return False
        reachable = self._reachable(workspace)
        return bool(reachable) or not session.settings.hub or session.is_on_hub()

    def _reachable(self, workspace: Workspace) -> Sequence[str]:
        return list(self._here(workspace, workspace.runner.session.peers.all()))

    def _unconfirmed(self, workspace: Workspace) -> Mapping[str, Heard]:
        return self._here(workspace, workspace.runner.session.unconfirmed())

    def _here(self, workspace: Workspace, peers: Iterable[Peer]) -> Mapping[str, Heard]:
        """Return by name what was heard of those of ``peers`` that can be reached and were not revoked."""
        linked, left = self._linked(workspace), gone(workspace.member)
        now = asyncio.get_running_loop().time()
        here = [p for p in peers if is_reachable(p, now, linked) and fingerprint_of(p.device) not in left]
        return {p.name: last_heard(p, now) for p in here}

    async def _pause(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return self._steer(arguments, ev.Paused(), paused=True)

    async def _resume(self, arguments: dict[str, Any]) -> dict[str, Any]:
        refuse_revoked([w.member for w in self._both(arguments)])
        for workspace in self._chosen(arguments):
            if workspace.runner.session.root_gone:
                await asyncio.get_running_loop().run_in_executor(workspace.local, workspace.watch_again)
        return self._steer(arguments, ev.Resumed(), paused=False)

    def _steer(self, arguments: dict[str, Any], event: ev.Event, *, paused: bool) -> dict[str, Any]:
        chosen = self._chosen(arguments)
        commanded = self._chosen_commanded(arguments)
        for member in (*(w.member for w in chosen), *(w.member for w in commanded)):
            self._broadcaster.save(member, paused=paused)
        for workspace in chosen:
            workspace.runner.post(event)
        steer_commanded(commanded, event)
        return {"workspaces": [w.config.workspace for w in chosen] + [w.config.workspace for w in commanded]}

    async def _gc(self, arguments: dict[str, Any]) -> dict[str, Any]:
        rehearse = arguments.get("dry-run") is True
        loop = asyncio.get_running_loop()
        rows = []
        for workspace in self._chosen(arguments):
            result = await workspace.runner.tidy(thorough=True, rehearse=rehearse)
            shared = await loop.run_in_executor(None, workspace.backend.shared)
            rows.append(tidied(workspace.runner.workspace, workspace.config.path, result, shared))
        return {"dry-run": rehearse, "workspaces": rows}

    def _chosen(self, arguments: dict[str, Any]) -> list[Workspace]:
        path = arguments.get("path")
        chosen = [w for w in self._workspaces if path in (None, w.config.path)]
        if not chosen and path is not None and not self._chosen_commanded(arguments):
            if isinstance(path, str) and path in self._absent:
                raise self._absent[path]
            raise AutosyncError(
                f"The running agent does not keep {path}",
                hint="If it was added to the configuration: `autosync reload`",
            )
        return chosen

    def _chosen_commanded(self, arguments: dict[str, Any]) -> list[CommandedWorkspace]:
        return [w for w in self._commanded if arguments.get("path") in (None, w.config.path)]

    def _both(self, arguments: dict[str, Any]) -> list[Workspace | CommandedWorkspace]:
        return [*self._chosen(arguments), *self._chosen_commanded(arguments)]

    def _missing(self, path: object) -> list[PathConfig]:
        """Return the working copies that are waited for, of all or of the one at ``path``."""
        return [p for p in self._config().paths if p.path in self._absent and path in (None, p.path)]

    def _linked(self, workspace: Workspace | CommandedWorkspace) -> dict[str, str]:
        peers = self._links.peers(workspace.member.key.id)
        return {p.device: p.address for p in peers if p.connected and p.device is not None}


async def _not_yet() -> dict[str, Any]:
    raise TransientError("The agent is starting", hint="Try again in a moment.")
