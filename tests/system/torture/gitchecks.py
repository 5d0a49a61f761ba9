"""Judges what a run left in the git repositories: whole, tidy, and nothing that the user does not know of."""

from __future__ import annotations

import contextlib

from tests.system.fleet import Device
from tests.system.torture.checks import count_needless_copies
from tests.waiting import until


def kept(device: Device) -> set[str]:
    """Return the ids of all that a device still has: by a snapshot that is pinned, or in the user's repository."""
    store = str(device.root / ".git/autosync/store.git")
    listed = device.git("-C", store, "rev-list", "--objects", "--no-object-names", "--all").split()
    own = device.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    return {*listed, *own}


def check(device: Device, *, conflicts: bool, commits: bool) -> None:
    """Nothing is broken or left over, and nothing is in the repository that the user does not know of."""
    private = device.root / ".git/autosync"
    assert _broken(device.git("fsck", "--no-dangling", "--no-progress")) == []
    assert _broken(device.git("-C", str(private / "store.git"), "fsck", "--no-dangling", "--no-progress")) == []
    until(lambda: not any((private / "limbo").iterdir()), why=lambda: list((private / "limbo").rglob("*")))
    until(lambda: not locks(device), why=lambda: locks(device))  # a running agent may be at work under one
    assert "Traceback" not in device.log
    moves = device.git("reflog", "--all", "--format=%gs").splitlines()
    landings = [line for line in moves if line.startswith("autosync: ")]
    assert landings == [] if commits else set(moves) - set(landings) <= {line for line in moves if "clone: " in line}
    if not conflicts:
        count_needless_copies(device)


def locks(device: Device) -> list[str]:
    """Return the lock files of git's kind that there are, each with its inode number and what it holds."""
    found = []
    for path in sorted((device.root / ".git").rglob("*.lock")):
        with contextlib.suppress(FileNotFoundError):
            if path.name != "autosync-tidy.lock":  # stays, and is locked by flock(2)
                found.append(f"{path.relative_to(device.root)} ({path.stat().st_ino}: {path.read_bytes()[:80]!r})")
    return found


def _broken(said: str) -> list[str]:
    return [line for line in said.splitlines() if line and not line.startswith("notice: ")]
