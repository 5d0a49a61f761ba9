"""The agent's state directory: who this device is, how far each workspace has come, and that one agent runs."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, TypeVar

import msgspec

from autosync.causes import shortage_of
from autosync.core.model import DeviceId, SnapshotId, WorkspaceId
from autosync.durable import replacing
from autosync.errors import StateError
from autosync.pidlock import Held, PidLock
from autosync.trust.identity import DamagedIdentity, create_identity, load_or_create_identity
from autosync.trust.keyring import Trust
from autosync.trust.roster import Roster

log = logging.getLogger(__name__)

SCHEMA = 1
"""Version of the files' layout.  A file of a newer one is refused, never rewritten."""

T = TypeVar("T")


def _first_seq() -> int:
    """Return where a device without a memory begins to number its announcements.

    Peers drop numbers they have seen; milliseconds since the epoch are beyond whatever a
    lost state file had reached, as no device announces a thousand times a second for long.
    """
    return time.time_ns() // 1_000_000


_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What an announcement can carry as its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """What the agent remembers of a workspace from one run to the next.

    ``snapshot`` is the last one recorded.  ``seq`` is the highest announcement number that
    may have been used: reserve numbers in blocks, so that not every announcement writes a
    file.  ``seen`` maps each device to the highest number taken from it (replay guard).
    ``released`` are the paths that the brakes let pass.  ``store`` is what the private store was
    known by (:func:`autosync.foothold.identify_store`), 0 before the first time.  ``trust`` is what
    is known of changes of the key, ``roster`` who has proved to be a device of the workspace.
    """

    snapshot: SnapshotId | None = None
    seq: _Number = field(default_factory=_first_seq)
    seen: Mapping[DeviceId, _Number] = field(default_factory=dict)
    paused: bool = False
    released: tuple[bytes, ...] = ()
    store: _Number = 0
    trust: Trust = field(default_factory=Trust)
    roster: Roster = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _WorkspaceFile:
    schema: int
    state: WorkspaceState


@dataclass(frozen=True, slots=True, kw_only=True)
class _DeviceFile:
    """``inode`` is this very file's: in a copied or restored state directory it is another."""

    schema: int
    id: str
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """The part of a file that every schema has."""

    schema: int


class AgentLock:
    """Held by the one agent that runs on a state directory; a context manager."""

    def __init__(self, lock: PidLock) -> None:
        self._lock = lock

    def release(self) -> None:
        """Let another agent in."""
        self._lock.release()

    def __enter__(self) -> AgentLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


class StateDirectory:
    """The state directory at ``path``; made, for this user alone, if it is not there.

    Raises :class:`StateError` if it cannot be used or if others can write to it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._workspaces = os.path.join(path, "workspaces")
        with _explained(path):
            os.makedirs(path, mode=0o700, exist_ok=True)
            info = os.stat(path)
            if info.st_uid != os.geteuid() or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise StateError(
                    f"state-dir {path}: belongs to another user, or others can write to it",
                    hint=f"Run `chmod 700 {path}`, or choose a directory of your own with `state-dir:`.",
                )
            os.makedirs(self._workspaces, mode=0o700, exist_ok=True)

    def lock(self) -> AgentLock:
        """Return the lock that says "an agent runs here".

        Raises :class:`StateError` naming the process that holds it.
        """
        name = os.path.join(self.path, "agent.lock")
        try:
            with _explained(name):
                return AgentLock(PidLock(name))
        except Held as held:
            raise StateError(
                f"another autosync agent (pid {held.pid}) uses {self.path}",
                hint=f"`autosync status` shows what it does. To run a second one, give it its own `state-dir:`; "
                f"to end the first one: kill {held.pid}",
            ) from None

    def device(self, name: str) -> DeviceId:
        """Return this device's id, made from ``name`` and a new key at the first call.

        The key is the one of :func:`autosync.link.load_or_create_identity`.  The id stays when the
        device is renamed.  A copy of the directory (a restored backup, a cloned machine) gets a
        key and an id of its own: two devices counting under one id would lose changes.  So does
        a device whose key is lost, or is not the one that its id names.
        """
        path = os.path.join(self.path, "device.json")
        known = self._known_device(path)
        if known is not None:
            return known
        # The key first: an id without its key is made anew at the next start, and nobody has heard of it.
        device = create_identity(self.path).device_id(_slug(name))
        _write(path, lambda inode: msgspec.json.encode(_DeviceFile(schema=SCHEMA, id=device, inode=inode)))
        return device

    def _known_device(self, path: str) -> DeviceId | None:
        """Return the id that this device has and can prove, ``None`` if a new one is needed."""
        content = self._read(path)
        if content is None:
            return None
        known = self._decode(path, content, _DeviceFile, set_aside=True)
        if known.inode != os.stat(path).st_ino:
            log.warning("%s is a copy: this device gets a new id", path)
            return None
        try:
            if load_or_create_identity(self.path).is_of(DeviceId(known.id)):
                return DeviceId(known.id)
        except DamagedIdentity as damaged:
            log.warning("%s", damaged.title)
        log.warning("%s: the key of %s is not here: this device gets a new id", self.path, known.id)
        return None

    def forget_device(self) -> None:
        """Let the next call of :meth:`device` make a new id: what was counted under this one is not known any more."""
        path = os.path.join(self.path, "device.json")
        with _explained(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def workspace(self, workspace: WorkspaceId, *, set_aside: bool = True) -> WorkspaceState:
        """Return what was saved; a fresh state if nothing was.

        Raises :class:`StateError` for a file that cannot be read.  With ``set_aside`` a
        corrupt one is renamed first, so that the next start begins afresh.
        """
        path = self._workspace_file(workspace)
        content = self._read(path)
        if content is None:
            return WorkspaceState()
        return self._decode(path, content, _WorkspaceFile, set_aside=set_aside).state

    def knows(self, workspace: WorkspaceId) -> bool:
        """Return whether this device has kept the workspace before."""
        return os.path.exists(self._workspace_file(workspace))

    def save(self, workspace: WorkspaceId, state: WorkspaceState) -> None:
        """Save what the agent remembers; on return it is on the disk.  Raises :class:`StateError`."""
        content = msgspec.json.format(msgspec.json.encode(_WorkspaceFile(schema=SCHEMA, state=state)), indent=1)
        _write(self._workspace_file(workspace), lambda _inode: content)

    def _workspace_file(self, workspace: WorkspaceId) -> str:
        if not re.fullmatch(r"[0-9a-f]{32}", workspace):
            raise ValueError(f"no workspace id: {workspace!r}")
        return os.path.join(self._workspaces, f"{workspace}.json")

    def _read(self, path: str) -> bytes | None:
        with _explained(path):
            try:
                with open(path, "rb") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def _decode(self, path: str, content: bytes, kind: type[T], *, set_aside: bool) -> T:
        try:
            schema = msgspec.json.decode(content, type=_Version).schema
            if schema <= SCHEMA:
                return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise self._corrupt(path, str(error), set_aside=set_aside) from None
        raise StateError(
            f"{path}: was written by a newer autosync (schema {schema}, this one knows {SCHEMA})",
            hint="Install that version again, or remove the file: the working copy is then looked at afresh.",
        )

    def _corrupt(self, path: str, reason: str, *, set_aside: bool) -> StateError:
        if not set_aside:
            return StateError(f"{path}: is corrupt ({reason})", hint="The next `autosync run` moves it aside.")
        aside = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}"
        with _explained(path):
            os.replace(path, aside)
        return StateError(
            f"{path}: is corrupt ({reason}); it was moved to {os.path.basename(aside)}",
            hint="No file of yours is touched: start the agent again, it then looks at the whole working copy afresh.",
        )


def _slug(name: str) -> str:
    """Return ``name`` as it may stand in a ref: ASCII letters, digits, and - inside."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:40] or "device"


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn an operating system's error into one that names ``path``."""
    try:
        yield
    except OSError as error:
        shortage = shortage_of(error, os.fsencode(path))
        if shortage is not None:
            raise StateError(f"state-dir {path}: {shortage.title}", hint=shortage.hint) from error
        raise StateError(
            f"{error.filename or path}: {error.strerror}",
            hint="The agent keeps its state there: check rights and free space, or set `state-dir:`.",
        ) from error


def _write(path: str, content_of: Callable[[int], bytes]) -> None:
    """Replace ``path`` atomically and durably by what ``content_of`` makes of the new file's inode number."""
    with _explained(path), replacing(path) as file:
        file.write(content_of(os.fstat(file.fileno()).st_ino))
