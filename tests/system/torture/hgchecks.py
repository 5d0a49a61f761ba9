"""Judges what a run left in the hg repositories: whole, tidy, and nothing that the user does not know of."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path
from typing import cast

from autosync.backends.hg.store import Store
from autosync.core.model import ObjectId
from tests.system.fleet import Device
from tests.system.hgfleet import HgDevice, servers_of
from tests.system.torture.checks import count_needless_copies
from tests.system.torture.trouble import children
from tests.waiting import until

_LOCKS = (".hg/wlock", ".hg/store/lock")
_CONTENTS = """
import hashlib, sys
from mercurial import hg, ui
repo = hg.repository(ui.ui.load(), sys.argv[1].encode()).unfiltered()
files = {(path, node) for number in repo for path, node in repo[number].manifest().items()}
for path, node in sorted(files):
    content = repo.file(path).read(node)
    print(hashlib.sha256(b"blob %d\\0" % len(content) + content).hexdigest())
"""
"""Prints the ids that our store has for all contents of all changesets."""


def kept(device: Device) -> set[str]:
    """Return the ids of all that a device still has: by a snapshot that is pinned, or in the user's repository."""
    script = ["/usr/bin/python3", "-c", _CONTENTS, os.fspath(device.root)]
    own = set(subprocess.run(script, env=device.environment, capture_output=True, check=True).stdout.decode().split())
    store = Store(os.fsencode(device.root) + b"/.hg/autosync")
    try:
        pinned = {snapshot.tree for snapshot in store.load_many(set(store.pins().values()))}
        listed = {entry.oid for tree in pinned for _, entry in store.entries(tree)}
        return own | {oid for oid in listed if store.content(ObjectId(oid)) is not None}
    finally:
        store.close()


def check(device: Device, *, conflicts: bool, commits: bool) -> None:
    """Nothing is broken or left over, and nothing is in the repository that the user does not know of."""
    private = device.root / ".hg/autosync"
    verified = cast(HgDevice, device).hg_process("verify")
    assert verified.returncode == 0, verified
    with sqlite3.connect(f"file:{private}/store.sqlite?mode=ro", uri=True) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()
    until(lambda: not any((private / "limbo").iterdir()), why=lambda: list((private / "limbo").rglob("*")))
    assert [name for name in _LOCKS if _is_held(device.root / name)] == []
    assert not (private / "landing").exists()
    assert device.process is not None
    agent = device.process.pid
    until(lambda: set(servers_of(device.root)) <= set(children(agent)), why=lambda: servers_of(device.root))
    assert "Traceback" not in device.log
    history = cast(HgDevice, device).hg("log", "--hidden", "-r", "all()", "-T", "{desc}|{join(extras, ' ')}\n")
    assert "autosync" not in history
    if not commits:  # what arrived is what the other user made
        assert not (device.root / ".hg/strip-backup").exists()
    if not conflicts:
        count_needless_copies(device)


def _is_held(lock: Path) -> bool:
    """Return whether anybody holds a lock of hg's; that of a process that was killed is broken by the next one."""
    return os.path.lexists(lock) and os.path.lexists(f"/proc/{os.readlink(lock).rpartition(':')[2]}")
