"""Lets go, in the end, of the snapshots of worktrees that are gone."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from autosync.backends.git.leftlocks import sole_writer
from autosync.backends.git.repository import Repository, name_of_pins
from autosync.core.model import SnapshotId
from autosync.core.retention import Retention, kept_by

_WORKTREES = "refs/autosync/pins/worktrees/"


def drop_orphans(repo: Repository, *, now: float) -> None:
    """Let go of what worktrees that are gone had pinned, once it is older than any history; seconds since the epoch.

    A worktree is gone when git knows it no more (`git worktree remove`, `prune`), wherever its folder is.
    Raises :class:`Busy` if another agent moves refs of the store.
    """
    pins = _pins(repo)
    gone = pins.keys() - _living(repo) if pins else frozenset()
    horizon = now - Retention().hourly_for
    dropped = [
        f"{_WORKTREES}{name}/{pin}"
        for name in gone
        if max((kept.wall for kept in kept_by(pins[name])), default=0) < horizon
        for pin in pins[name]
    ]
    if dropped:
        with sole_writer(repo, [os.path.join(repo.store_dir, b"packed-refs.lock")]):
            orders = b"".join(b"delete %s\n" % os.fsencode(ref) for ref in dropped)
            repo.store.run("update-ref", "--stdin", input=orders)


def _pins(repo: Repository) -> Mapping[str, Mapping[str, SnapshotId]]:
    """Return by the worktree's name all that worktrees have pinned."""
    listed = os.fsdecode(repo.store.run("for-each-ref", "--format=%(objectname) %(refname)", _WORKTREES))
    found: dict[str, dict[str, SnapshotId]] = {}
    for line in listed.splitlines():
        oid, _, ref = line.partition(" ")
        name, _, pin = ref.removeprefix(_WORKTREES).partition("/")
        found.setdefault(name, {})[pin] = SnapshotId(oid)
    return found


def _living(repo: Repository) -> Collection[str]:
    directory = os.path.join(repo.common_dir, b"worktrees")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return frozenset()
    return {name_of_pins(os.path.join(directory, name)) for name in names}
