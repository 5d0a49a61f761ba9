"""What peers get of one working copy over a direct link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from autosync.broadcast import Broadcaster
from autosync.commanded.workspace import CommandedWorkspace
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import Refused
from autosync.trust.sealing import WorkspaceKey
from autosync.workspace import Workspace


class Served:
    """A :class:`autosync.link.WorkspaceHandle` of a working copy of this agent."""

    def __init__(self, workspace: Workspace | CommandedWorkspace, broadcaster: Broadcaster) -> None:
        self.device = broadcaster.device
        self.name = broadcaster.name
        self.workspace = workspace.member.runner.workspace
        self._workspace = workspace
        self._broadcaster = broadcaster

    @property
    def key(self) -> WorkspaceKey:
        """The key that the workspace has now."""
        return self._workspace.member.key

    def announced(self, sealed: bytes, peer: DeviceId) -> None:  # noqa: ARG002  # the seal tells who
        """Take an announcement."""
        self._broadcaster.sealed_received(self.key.tag, sealed, "lan")

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """As :meth:`autosync.ports.Backend.serve`.  Raises :class:`Refused` if this device was revoked."""
        if self._workspace.member.is_out():
            raise Refused("this device was revoked", hint="It serves nobody.")
        self._workspace.serve(want, have, out)
