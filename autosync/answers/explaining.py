"""Answers why a path is, or is not, in sync, and lets go what the brakes hold."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from autosync.answers.departed import what_became_of
from autosync.answers.evidence import entry_at, file_evidence
from autosync.answers.places import count_of, in_thread, trail_of
from autosync.answers.report import iso
from autosync.answers.rules import Rule, find_rule
from autosync.broadcast import Broadcaster
from autosync.config import Mode
from autosync.core import events as ev
from autosync.core.brakes import Brake, Held
from autosync.core.model import Order, RelPath, Snapshot, TreeId, parent_directories
from autosync.core.settings import SessionStatus
from autosync.core.sources import Peer
from autosync.errors import AutosyncError, TransientError
from autosync.integrate import is_occupied
from autosync.ports import Backend
from autosync.runner import Runner
from autosync.vocabulary import vocabulary
from autosync.workspace import Workspace

_METADATA = frozenset({b".git", b".hg"})
_NOT_SYNCED = frozenset({"metadata", "nested", "ignored", "special", "directory", "absent", "deleted", "renamed"})
_READ = "Give the user who runs autosync the right to (chmod u+r); it is synced then."

Found = tuple[str, str, str]
"""A state in one word, the reason in a sentence, and what to do next (or empty)."""


class Explaining:
    """The commands ``explain`` and ``release`` of the control socket.

    ``workspaces`` may grow after construction; ``reachable`` names the devices of one that answer now;
    ``source`` is the file of the configuration.
    """

    def __init__(
        self,
        broadcaster: Broadcaster,
        workspaces: Sequence[Workspace],
        reachable: Callable[[Workspace], Sequence[str]],
        *,
        source: Callable[[], str],
    ) -> None:
        self._source = source
        self._broadcaster = broadcaster
        self._workspaces = workspaces
        self._reachable = reachable

    async def explain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return ``{path, workspace, state, reason, next, rule, devices, conflicts}`` for the file ``path`` (absolute).

        ``state`` is one of metadata, halted, paused, held, unreadable, nested, ignored, waiting, pending,
        synced, alone, deleted, renamed, absent, directory, special.  ``rule`` is that of
        :meth:`autosync.answers.rules.Rule.row`, ``devices`` those of :func:`autosync.answers.evidence.file_evidence`.
        """
        workspace, path = self._find(arguments)
        session = workspace.runner.session
        found = self._without_looking(workspace, session.status(), path)
        if found is None:
            assert session.current is not None  # noqa: S101  (else it is pending)
            look = _look_up if workspace.config.mode is Mode.STORE else _look
            found = await asyncio.get_running_loop().run_in_executor(
                workspace.local, look, workspace.backend, session.current.tree, path, session.status().waiting_for
            )
            if found and found[0] == "absent" and path:
                found = await in_thread(workspace, lambda: what_became_of(trail_of(workspace), path)) or found
            if found and found[0] == "absent" and (names := _newer(session.peers.all(), session.current)):
                found = "absent", f"There is no such file here; what {', '.join(names)} has is not all here yet.", ""
        devices = await self._devices(workspace, path, found)
        state, reason, following = found or self._synced(workspace, devices)
        rule = await self._rule(workspace, path) if state == "ignored" else None
        if rule is not None:
            reason = f"An ignore rule names it: {rule.words()}"
        return {
            "path": arguments["path"],
            "workspace": workspace.runner.workspace,
            "state": state,
            "reason": reason,
            "next": following,
            "rule": None if rule is None else rule.row(),
            "devices": devices,
            "conflicts": _conflicts(workspace, path),
        }

    async def _rule(self, workspace: Workspace, path: RelPath) -> Rule | None:
        look = partial(find_rule, workspace.config, self._source(), workspace.backend.vcs, path)
        return await asyncio.get_running_loop().run_in_executor(None, look)

    @staticmethod
    async def _devices(workspace: Workspace, path: RelPath, found: Found | None) -> list[dict[str, Any]]:
        """Return what the others have of a path, given what stands in its way; nothing of what is not synced."""
        session, backend = workspace.runner.session, workspace.backend
        current = session.current
        if current is None or (found is not None and found[0] in _NOT_SYNCED):
            return []
        peers, confirmations = list(session.peers.all()), workspace.runner.confirmations

        def look() -> list[dict[str, Any]]:
            recorded = found is None or found[0] == "unreadable" or workspace.config.mode is Mode.STORE
            if not recorded and found is not None and found[0] in ("halted", "paused"):
                recorded = _look(backend, current.tree, path, "") is None
            if recorded and path and not is_occupied(backend, current.tree, path):
                return []
            return file_evidence(backend, current, path, peers, confirmations, recorded=recorded)

        return await asyncio.get_running_loop().run_in_executor(workspace.local, look)

    async def release(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Let what is held at or below ``path`` go, or with ``restore`` undo what deletions are held.

        Returns ``{workspace, released, refused}``: how many, and which could not be restored and why.
        ``expected`` is how many the user has agreed to: if others are held by then, an error tells so and
        nothing is done.
        """
        workspace, path = self._find(arguments)
        runner, loop = workspace.runner, asyncio.get_running_loop()
        chosen, current = frozenset({path}), runner.session.current
        expected = count_of(arguments, "expected", 0, sys.maxsize)
        released, refused = 0, dict[str, str]()
        if not arguments.get("restore"):
            let_go = partial(_let_go, runner, path, expected)
            released = len(await loop.run_in_executor(workspace.local, let_go))
            self._broadcaster.save(workspace.member, released=tuple(sorted(runner.performer.brakes.released)))
        elif current is not None:
            applied = await loop.run_in_executor(workspace.local, runner.performer.bring_back, chosen, current)
            released, refused = len(applied.done), {os.fsdecode(p): why for p, why in applied.refused.items()}
        runner.post(ev.FlushAsked())
        return {"workspace": runner.workspace, "released": released, "refused": refused}

    def _find(self, arguments: dict[str, Any]) -> tuple[Workspace, RelPath]:
        path = arguments.get("path")
        if not isinstance(path, str) or not os.path.isabs(path):
            raise AutosyncError("explain and release need an absolute path", hint="Is the command an older version?")
        full = os.fsencode(path)
        for workspace in self._workspaces:
            root = os.path.realpath(os.fsencode(workspace.config.path))
            if full == root:
                return workspace, RelPath(b"")
            if full.startswith(root.rstrip(b"/") + b"/"):
                return workspace, RelPath(full[len(root.rstrip(b"/")) + 1 :])
        raise AutosyncError(
            f"The running agent does not keep {path}", hint="Restart the agent after adding a path to its config."
        )

    @staticmethod
    def _without_looking(workspace: Workspace, status: SessionStatus, path: RelPath) -> Found | None:
        """Return what can be said of a path without reading it, ``None`` if that is nothing."""
        if status.halt is not None:
            return "halted", status.halt.title, status.halt.hint
        if workspace.runner.session.paused:
            return "paused", "This working copy is paused.", "`autosync resume` goes on."
        if path.split(b"/")[0] in _METADATA:
            return "metadata", "It belongs to the repository itself; only commits and branches travel.", ""
        if path and any(p == path or path.startswith(p + b"/") for p in workspace.runner.performer.unreadable):
            return "unreadable", "It may not be read here, so the others keep what they had.", _READ
        if (nested := _nested_in(workspace.backend, path)) is not None:
            shown = os.path.join(workspace.config.path, os.fsdecode(nested))
            reason = f"It belongs to a repository of its own, {shown}, whose files do not travel with this one."
            return "nested", reason, f"`autosync init {shlex.quote(shown)}` keeps that one too."
        held = [h for h in status.held if not path or h.path == path or h.path.startswith(path + b"/")]
        if held:
            return "held", *_held(held)
        if status.current is None:
            return "pending", "The working copy is being looked at for the first time.", ""
        name = path.decode("utf-8", "backslashreplace")
        if name and name in status.waiting_for:
            return "waiting", status.waiting_for, "It is tried again every few seconds."
        return None

    def _synced(self, workspace: Workspace, devices: Sequence[dict[str, Any]]) -> Found:
        reachable = self._reachable(workspace)
        same = [device["device"] for device in devices if device["has"] == "same"]
        if same:
            return "synced", f"It is the same on {', '.join(same)}.", ""
        if not reachable:
            return (
                "alone",
                "It is recorded here; no other device can be reached now.",
                "It is sent when one comes back.",
            )
        return "pending", f"It is recorded here and on its way to {', '.join(reachable)}.", ""


def _nested_in(backend: Backend, path: RelPath) -> RelPath | None:
    """Return the folder with a repository of its own that ``path`` lies in, ``None`` if there is none."""
    for folder in parent_directories(path):
        if folder and any(os.path.lexists(os.path.join(backend.root, folder, mark)) for mark in _METADATA):
            return folder
    return None


def _conflicts(workspace: Workspace, path: RelPath) -> list[dict[str, Any]]:
    """Return the conflicts that are about ``path``: it is the file, or the copy beside it."""
    return [
        {"file": os.fsdecode(c.original), "copy": os.fsdecode(c.copy), "device": c.device, "time": iso(float(c.time))}
        for c in workspace.runner.conflicts.copies.values()
        if path in (c.original, c.copy)
    ]


def _newer(peers: Iterable[Peer], current: Snapshot) -> list[str]:
    """Return the names of those who have something that ``current`` does not contain."""
    known = [(peer.name, peer.version) for peer in peers if peer.tree != current.tree]
    news = (Order.BEFORE, Order.CONCURRENT)
    return [name for name, version in known if version and current.version.compare(version) in news]


def _look(backend: Backend, tree: TreeId, path: RelPath, waiting_for: str) -> Found | None:
    """Return what keeps the file at ``path`` from being what ``tree`` has there, ``None`` if it is that."""
    entry = entry_at(backend, tree, path)
    if entry is None and path and _is_folder_of(backend, tree, path):
        return None
    if entry is None and path and (special := _special(backend, path)) is not None:
        return special
    try:
        standing = backend.standing(path).entry if path else None
    except TransientError as torn:
        return "pending", torn.title, torn.hint
    if standing == entry:
        return None
    if waiting_for:
        return "waiting", waiting_for, "It is tried again every few seconds."
    return "pending", "It has changed and is taken in as soon as it is quiet.", ""


def _look_up(backend: Backend, tree: TreeId, path: RelPath, _waiting_for: str) -> Found | None:
    """Return that a store has nothing at ``path``, ``None`` if it has."""
    if not path or is_occupied(backend, tree, path):
        return None
    return "absent", "There is no such file in what the devices exchange.", ""


def _is_folder_of(backend: Backend, tree: TreeId, path: RelPath) -> bool:
    """Return whether a folder stands at ``path`` that ``tree`` has files in."""
    full = os.path.join(backend.root, path)
    return os.path.isdir(full) and not os.path.islink(full) and is_occupied(backend, tree, path)


def _let_go(runner: Runner, path: RelPath, expected: int) -> Collection[RelPath]:
    """Let go what is held at or below ``path`` if it is as many as ``expected``, where that is not 0; return it."""
    held = len(runner.performer.brakes.held_within({path}))
    if expected and held != expected:
        raise AutosyncError(
            f"{held} paths are held back in {runner.workspace} by now, not {expected}: nothing was released",
            hint="Look at them again, then release them: `autosync explain` lists them.",
        )
    return runner.performer.release({path})


def _held(held: Sequence[Held]) -> tuple[str, str]:
    reasons = Counter(h.brake for h in held)
    texts = "; ".join(f"{number} because each {brake.value}" for brake, number in reasons.items())
    reason = f"It is held back, for it {held[0].brake.value}." if len(held) == 1 else f"Held back: {texts}."
    following = "`autosync release PATH` lets go what is held"
    if Brake.DELETION in reasons:
        following += ", `autosync release --restore PATH` brings deleted files back"
    return reason, f"{following}."


def _special(backend: Backend, path: RelPath) -> tuple[str, str, str] | None:
    """Return why nothing is recorded for what stands at ``path``, ``None`` if a file stands there."""
    full = os.path.join(backend.root, path)
    if not os.path.lexists(full):
        return "absent", "There is no such file, neither here nor in what the devices exchange.", ""
    if any(backend.ignored([p]) for p in (path, *parent_directories(path)) if p):
        asked = vocabulary(backend.vcs).ask_why_ignored(backend.root, path)
        following = f"{asked} tells which one; or see `ignore:`." if asked else "See `ignore:`."
        return "ignored", "An ignore rule names it.", following
    if os.path.islink(full) or os.path.isfile(full):
        return None
    if os.path.isdir(full):
        return "directory", "Directories travel with the files in them, and no file in it is synced.", ""
    return "special", "Pipes, sockets and devices are not synced.", ""
