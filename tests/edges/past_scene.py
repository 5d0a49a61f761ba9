"""A working copy of git's or hg's whose states are recorded, found again and brought back, without an agent."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Literal

from autosync.apply import WorkingTree
from autosync.backends.git.backend import open_git
from autosync.backends.hg.backend import open_hg
from autosync.core import events as ev
from autosync.core.commands import TakeSnapshot
from autosync.core.model import DeviceId, RelPath, Snapshot, Version, WorkspaceId
from autosync.history import History
from autosync.past.restoring import Restorer, plan_of
from autosync.past.trail import ROOT, At, Trail
from autosync.perform import Performer
from autosync.ports import Applied, Backend
from tests.backends.gitdevice import git
from tests.backends.hg_repos import hg

Vcs = Literal["git", "hg"]
Files = dict[bytes, tuple[str, bytes]]
"""What stands at each path: file, executable or link, and its content."""

WORKSPACE = WorkspaceId("ab" * 16)
START = 1_795_000_000.0
"""When the first state is recorded, in seconds since the epoch."""


class PastScene:
    """The laptop's working copy, as its agent has it; its clock goes on when it is told to."""

    def __init__(self, root: Path, vcs: Vcs, *, make: bool = True) -> None:
        self.root, self.vcs = root, vcs
        self.now = START
        if make:
            root.mkdir(parents=True)
            if vcs == "git":
                git(root.parent, "init", "-q", "-b", "main", str(root))
                git(root, "commit", "-q", "--allow-empty", "-m", "empty")
            else:
                hg(os.fsencode(root), "init")
        self.backend: Backend = (
            open_git(os.fsencode(root), workspace=WORKSPACE, remote=None)
            if vcs == "git"
            else open_hg(os.fsencode(root), workspace=WORKSPACE, remote=None)
        )
        backend = self.backend
        self.tree = WorkingTree(
            backend.root, backend.metadata, standing=backend.standing, standings=backend.standings, stage=backend.stage
        )
        history = History(backend, clock=lambda: self.now, elapsed=lambda: self.now)
        self.performer = Performer(
            backend=backend,
            tree=self.tree,
            device=DeviceId("laptop-00000001"),
            name="laptop",
            history=history,
            clock=lambda: self.now,
        )
        self.current = self.performer.open()

    def close(self) -> None:
        self.tree.close()
        self.backend.close()

    # -- files ---------------------------------------------------------------------------
    def path(self, name: str | bytes) -> bytes:
        return os.path.join(os.fsencode(self.root), os.fsencode(name))

    def put(self, name: str | bytes, content: str | bytes, *, executable: bool = False) -> None:
        full = self.path(name)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(full, 0o755 if executable else 0o644)

    def files(self) -> Files:
        """Return all that stands there."""
        top = os.fsencode(self.root)
        found: Files = {}
        for directory, names, files in os.walk(top):
            names[:] = [name for name in names if name not in (b".git", b".hg")]
            for name in [*files, *(n for n in names if os.path.islink(os.path.join(directory, n)))]:
                full = os.path.join(directory, name)
                mode = os.lstat(full).st_mode
                if stat.S_ISLNK(mode):
                    found[os.path.relpath(full, top)] = ("link", os.readlink(full))
                else:
                    kind = "executable" if mode & 0o100 else "file"
                    with open(full, "rb") as file:
                        found[os.path.relpath(full, top)] = (kind, file.read())
        return found

    # -- states ----------------------------------------------------------------------------
    def record(self, *, after: float = 1.0) -> Snapshot:
        """Let ``after`` seconds pass and record what stands there."""
        self.now += after
        for _ in range(100):
            event = self.performer.local(TakeSnapshot(paths=None, current=self.current, above=0))
            assert isinstance(event, ev.SnapshotTaken), event
            assert event.snapshot is not None
            self.current = event.snapshot
            if not event.torn:
                return event.snapshot
        raise AssertionError("torn again and again")

    def came(self, device: str, edits: dict[str, str | None], *, onto: Snapshot | None = None) -> Snapshot:
        """Keep a snapshot of another device: ``onto`` with some files changed, their content that of others here."""
        onto = onto or self.current
        assert onto is not None
        there = {c.path: c.new for c in self.backend.changes(None, onto.tree)}
        tree = self.backend.splice(
            onto.tree,
            {RelPath(os.fsencode(p)): None if c is None else there[RelPath(os.fsencode(c))] for p, c in edits.items()},
        )
        self.now += 1
        made = self.backend.record(
            tree=tree,
            base=onto.base,
            version=onto.version.join(Version()).bump(DeviceId(f"{device}-00000002")),
            parents=(onto.id,),
            device=device,
            time=int(self.now),
        )
        self.performer.keep(made)
        return made

    @property
    def trail(self) -> Trail:
        return Trail(self.backend, "laptop")

    def restore(self, at: At, path: bytes = ROOT, *, after: float = 1.0) -> Applied:
        """Bring ``path`` back and record that."""
        self.record(after=after)
        trail = self.trail
        plan = plan_of(trail, trail.find(at), RelPath(path))
        applied = self.restorer().restore(plan)
        self.record(after=after)
        return applied

    def undo(self, *, after: float = 1.0) -> Applied:
        self.record(after=after)
        trail = self.trail
        applied = self.restorer().restore(plan_of(trail, trail.before_last_change(), ROOT))
        self.record(after=after)
        return applied

    def restorer(self) -> Restorer:
        return Restorer(backend=self.backend, tree=self.tree, brakes=self.performer.brakes, still_there=lambda: None)
