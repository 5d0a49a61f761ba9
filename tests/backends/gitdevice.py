"""One git working copy with our store beside it, and what the tests of exchange and upkeep do with it."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from autosync.backends.git.exchange import Exchange
from autosync.backends.git.maintenance import Maintenance
from autosync.backends.git.network import Patience
from autosync.backends.git.objects import Slot
from autosync.backends.git.refnames import RefNames
from autosync.backends.git.repository import open_repository
from autosync.backends.git.snapshots import Snapshots
from autosync.backends.git.store import Store
from autosync.backends.git.trees import Trees
from autosync.core.model import (
    Base,
    CommitId,
    DeviceId,
    Entry,
    Kind,
    ObjectId,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    Version,
    WorkspaceId,
)
from autosync.trust.sealing import WorkspaceKey

WORKSPACE = WorkspaceId("0123456789abcdef" * 2)
KEY = WorkspaceKey(bytes(range(32)), workspace=WORKSPACE)
LAPTOP = DeviceId("laptop-00000001")


def git(directory: Path | bytes, *args: str | bytes, accept: tuple[int, ...] = (0,), input: str = "") -> str:
    """Return what the user's git printed."""
    who = {f"GIT_{role}_{what}": "u@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *args],
        cwd=directory,
        env={**os.environ, **who},
        input=input.encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode in accept, (args, done.returncode, done.stderr.decode(errors="replace"))
    return os.fsdecode(done.stdout).strip()


def new_repository(path: Path, files: Mapping[str, bytes] | None = None, *options: str) -> Path:
    """Make a repository with one commit of ``files`` on main."""
    git(path.parent, "init", "-q", "-b", "main", *options, str(path))
    for name, content in (files or {"a.txt": b"one\ntwo\nthree\n", "d/b.txt": b"b\n"}).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    git(path, "add", "-A")
    git(path, "commit", "-qm", "first")
    return path


def clone(source: Path, target: Path, *options: str) -> Path:
    """Clone without sharing objects; ``origin`` is not kept."""
    git(source.parent, "clone", "-q", "--no-local", *options, source.as_uri(), str(target))
    git(target, "remote", "remove", "origin")
    return target


class Device:
    """The parts that exchange and upkeep consist of, over one repository."""

    def __init__(
        self,
        root: Path,
        remote: str | None = None,
        *,
        prefix: str = "refs/autosync",
        workspace: WorkspaceId = WORKSPACE,
        patience: Patience | None = None,
        receive_limit: int = 1 << 30,
        key: WorkspaceKey = KEY,
        keys: Sequence[WorkspaceKey] = (),
    ) -> None:
        self.root = root
        self.repo = open_repository(os.fsencode(root))
        self.store = Store(self.repo)
        self.trees = Trees(self.store)
        self.snapshots = Snapshots(self.store)
        self.exchange = Exchange(
            self.repo,
            self.store,
            workspace,
            remote,
            prefix,
            names=RefNames(lambda: keys or (key,)),
            patience=patience or Patience(silence=20, total=60),
            receive_limit=receive_limit,
        )
        self.maintenance = Maintenance(self.repo, self.store)
        self.count = 0

    def close(self) -> None:
        self.exchange.close()
        self.store.close()

    def base(self) -> Base:
        head = git(self.root, "rev-parse", "-q", "--verify", "HEAD", accept=(0, 1))
        branch = git(self.root, "symbolic-ref", "-q", "HEAD", accept=(0, 1))
        return Base(commit=CommitId(head) if head else None, branch=branch or None)

    def blob(self, content: bytes) -> Entry:
        return Entry(kind=Kind.FILE, oid=ObjectId(self.store.put(b"blob", content)))

    def snap(self, edits: Mapping[str, bytes | None], *, on: TreeId | None = None, pin: str | None = None) -> Snapshot:
        """Record HEAD (or the tree ``on``) with ``edits``."""
        base = self.base()
        tree = self.trees.splice(
            self.store.tree_of(base.commit) if on is None else on,
            {RelPath(os.fsencode(p)): None if c is None else self.blob(c) for p, c in edits.items()},
        )
        return self.record(tree, pin=pin)

    def record(self, tree: TreeId, *, base: Base | None = None, pin: str | None = None) -> Snapshot:
        self.count += 1
        snapshot = self.snapshots.record(
            tree=tree,
            base=base or self.base(),
            version=Version.of({LAPTOP: self.count}),
            parents=(),
            device="laptop",
            time=1_700_000_000 + self.count,
        )
        if pin is not None:
            self.snapshots.pin(pin, snapshot.id)
        return snapshot

    def tree(self, slots: Mapping[bytes, Slot]) -> TreeId:
        """Keep a tree object of any names."""
        return TreeId(self.store.put_tree(slots))

    def served(self, want: SnapshotId, have: list[str]) -> bytes:
        out = io.BytesIO()
        self.exchange.serve(want, have, out)
        return out.getvalue()

    def packs(self) -> list[str]:
        return sorted(os.listdir(os.path.join(os.fsdecode(self.repo.store_dir), "objects", "pack")))

    def leftovers(self) -> list[str]:
        """Return what a transfer may have left lying about."""
        objects = Path(os.fsdecode(self.repo.store_dir)) / "objects"
        return [p.name for p in objects.iterdir() if p.name not in {"info", "pack"}] + [
            name for name in self.packs() if not name.startswith("pack-")
        ]

    def fsck(self) -> str:
        """Check the store; return the complaints."""
        store = Path(os.fsdecode(self.repo.store_dir))
        done = subprocess.run(
            ["git", "-C", store, "fsck", "--strict", "--no-dangling", "--no-progress", "--connectivity-only"],
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if done.returncode == 0 else done.stdout + done.stderr
