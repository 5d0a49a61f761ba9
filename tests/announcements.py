"""What a device says, for tests that are about a few fields of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autosync.core.events import Announcement
from autosync.core.model import Base, DeviceId, Snapshot, Version


def said_by(device: DeviceId, **fields: Any) -> Announcement:
    """Return what ``device`` says: that it has nothing yet, but for these ``fields``."""
    nothing = Announcement(
        device=device,
        name=device,
        seq=1,
        state="ok",
        snapshot=None,
        tree=None,
        base=Base(commit=None, branch=None),
        version=Version(),
        candidates=(),
        certificate=b"",
    )
    return replace(nothing, **fields)


def said_at(snapshot: Snapshot, device: DeviceId, **fields: Any) -> Announcement:
    """Return what ``device`` says that is at ``snapshot``, but for these ``fields``."""
    there = {"snapshot": snapshot.id, "tree": snapshot.tree, "base": snapshot.base, "version": snapshot.version}
    return said_by(device, **(there | fields))
