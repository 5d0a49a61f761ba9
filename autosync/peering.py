"""Tells the sessions which peers are near, and those who watch what is moved to and from them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable

from autosync.activities import Activity
from autosync.core.events import PeersRanked
from autosync.core.model import DeviceId, WorkspaceId
from autosync.link import Links
from autosync.link.transfers import Transfer
from autosync.link.ways import FILE_NAME, Ways
from autosync.membership import Membership
from autosync.runner import Runner

log = logging.getLogger(__name__)

SAVED_AFTER = 30.0
"""Seconds that a change waits to be written down, so that many are written at once."""


def remembered_ways(state_dir: str) -> Ways:
    """Return what an earlier run has learnt of the ways to other devices."""
    return Ways(os.path.join(state_dir, FILE_NAME))


class Peering:
    """The peers of all workspaces, as the links know them."""

    def __init__(
        self, links: Links, members: Callable[[], Iterable[Membership]], happened: Callable[[Activity], None]
    ) -> None:
        self._links = links
        self._happened = happened
        links.traffic.transfers.progress = self._progress
        self._members = members
        self._saving: asyncio.TimerHandle | None = None
        links.ranked = self._ranked

    def stop(self) -> None:
        """Write down what was learnt."""
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        self._links.ways.save()

    def _ranked(self, workspace: WorkspaceId, order: tuple[DeviceId, ...]) -> None:
        for member in self._members():
            if member.key.id == workspace and isinstance(member.runner, Runner):
                member.runner.post(PeersRanked(order=order))
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(SAVED_AFTER, self._save)

    def _save(self) -> None:
        self._saving = None
        self._links.ways.save()

    def _progress(self, transfer: Transfer) -> None:
        for member in self._members():
            if member.key.id == transfer.workspace:
                way = "from" if transfer.incoming else "to"
                text = f"{transfer.skipped + transfer.moved} bytes {way} {self._name_of(transfer)}"
                if (rate := transfer.rate(asyncio.get_running_loop().time())) is not None:
                    text += f", {rate:.0f} per second"
                log.info("%s: %s", member.runner.workspace, text)
                kind = "moving" if transfer.took is None else "moved"
                activity = Activity(
                    kind=kind,
                    workspace=member.runner.workspace,
                    device=transfer.peer,
                    at_ms=time.time() * 1000,
                    snapshot=transfer.snapshot,
                    text=text,
                )
                self._happened(activity)

    def _name_of(self, transfer: Transfer) -> str:
        peers = self._links.peers(transfer.workspace)
        return next((peer.name for peer in peers if peer.device == transfer.peer), transfer.peer)
