"""Remembers from one agent to the next what `on-update` was run for, and what was told of it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from autosync.core.model import DeviceId, Snapshot, SnapshotId, Version, WorkspaceId
from autosync.core.remarks import HookReport
from autosync.durable import replacing
from autosync.onupdate.process import Identity

log = logging.getLogger(__name__)

SCHEMA = 1
TOLD = 64
"""Devices of which it is remembered what of them was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A state of the working copy: the snapshot, and what it contains of each device."""

    snapshot: SnapshotId
    counters: Mapping[DeviceId, int]

    @classmethod
    def of(cls, snapshot: Snapshot) -> Point:
        """Return the point of ``snapshot``."""
        return cls(snapshot=snapshot.id, counters=dict(snapshot.version.counters))

    @property
    def version(self) -> Version:
        """Return what it contains."""
        return Version.of(self.counters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of one workspace.

    ``succeeded`` is the state for which the last run that succeeded was begun, ``tried`` that of the last run that
    ended.  ``running`` is the process of a run that has not ended, ``report`` how the last one did.  ``told`` has of
    other devices the moment of the failure that was told here, 0 once it was told that it is over.
    """

    succeeded: Point | None = None
    tried: Point | None = None
    running: Identity | None = None
    report: HookReport | None = None
    told: Mapping[DeviceId, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    schema: int
    memory: Memory


class Journal:
    """The memory of ``workspace`` in the state directory; it may be noted in any thread.

    What is written survives a kill of the agent; after a power cut it may be older: then something is run, or told,
    once more.  What cannot be read or written is logged.
    """

    def __init__(self, state_dir: str, workspace: WorkspaceId) -> None:
        self.lost = False
        """Whether something was remembered that cannot be used."""
        self._writing = threading.Lock()
        self._path = os.path.join(state_dir, "workspaces", f"{workspace}.on-update.json")
        self.memory = self._read()

    def note(self, **changes: object) -> None:
        """Remember these fields of :class:`Memory`."""
        with self._writing:
            self.memory = replace(self.memory, **changes)  # type: ignore[arg-type]  # names are fields
            content = msgspec.json.encode(_File(schema=SCHEMA, memory=self.memory))
            first = not os.path.lexists(self._path)  # without any, nothing could be known to be missing
            try:
                with replacing(self._path, sole_writer=True, durable=first) as file:
                    file.write(content)
            except OSError as error:
                log.warning("%s: cannot be written: %s", self._path, error.strerror)

    def note_told(self, device: DeviceId, at_ms: int) -> None:
        """Remember what was told of another device."""
        told = {**{d: at for d, at in self.memory.told.items() if d != device}, device: at_ms}
        self.note(told=dict(list(told.items())[-TOLD:]))

    def _read(self) -> Memory:
        try:
            with open(self._path, "rb") as file:
                found = msgspec.json.decode(file.read(), type=_File)
            if found.schema == SCHEMA:
                return found.memory
            self.lost = True
            log.warning("%s: is of another version of autosync, and not used", self._path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            self.lost = True
            log.warning("%s: cannot be used: %s", self._path, error)
        return Memory()
