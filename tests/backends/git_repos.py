"""Real git repositories for tests, their user being git itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autosync.backends.git.ignore import Ignore
from autosync.backends.git.reading import Reader
from autosync.backends.git.repository import Repository, open_repository
from autosync.backends.git.settings import SettingsWatch
from autosync.backends.git.snapshots import Snapshots
from autosync.backends.git.store import Store
from autosync.backends.git.trees import Trees
from autosync.core.model import Base, CommitId, DeviceId, RelPath, Snapshot, TreeId, Version
from autosync.ports import Reading

Listing = dict[bytes, tuple[str, str]]


def isolate(home: Path) -> dict[str, str]:
    """Return the environment variables that keep this machine's git config away from a test."""
    home.mkdir(exist_ok=True)
    (home / ".gitconfig").write_text(
        "[user]\n\tname = User\n\temail = user@example.org\n[init]\n\tdefaultBranch = main\n"
    )
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "GIT_CONFIG_NOSYSTEM": "1"}


def git(root: bytes, *args: str | bytes, input: bytes | None = None, check: bool = True, **env: str) -> bytes:
    """Run git as the user would and return its output."""
    done = subprocess.run(
        ["git", *args], cwd=root, input=input, capture_output=True, env={**os.environ, **env}, check=False
    )
    assert not (check and done.returncode), (args, done.stderr.decode())
    return done.stdout


def put(root: bytes, path: str | bytes, content: bytes | str = b"", *, executable: bool = False) -> RelPath:
    """Write a file below ``root``, with the directories it needs."""
    name = os.fsencode(path)
    full = os.path.join(root, name)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(os.fsencode(content))
    os.chmod(full, 0o755 if executable else 0o644)
    return RelPath(name)


def make_repository(root: Path, files: Mapping[str, bytes] | None = None, *, hash_name: str = "sha1") -> bytes:
    """Make a repository with one commit of ``files`` (none: no commit) and return its root."""
    subprocess.run(["git", "init", "-q", "-b", "main", f"--object-format={hash_name}", root], check=True)
    path = os.fsencode(root)
    for name, content in (files or {}).items():
        put(path, name, content)
    if files:
        commit_all(path)
    return path


def commit_all(root: bytes, message: str = "work") -> CommitId:
    """Commit everything as the user would."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", message)
    return head(root)


def head(root: bytes) -> CommitId:
    """Return the commit that is checked out."""
    return CommitId(git(root, "rev-parse", "HEAD").decode().strip())


def base_of(root: bytes) -> Base:
    """Return what git says is checked out."""
    commit = git(root, "rev-parse", "--verify", "-q", "HEAD", check=False).decode().strip()
    branch = git(root, "symbolic-ref", "-q", "HEAD", check=False).decode().strip()
    return Base(commit=CommitId(commit) if commit else None, branch=branch or None)


def added(root: bytes, *, without: Collection[bytes] = ()) -> tuple[TreeId, Listing]:
    """Return tree and listing that `git add -A` makes of the files, on a private copy of the repository."""
    copy = root + b".copy"
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", root, copy], check=True)
    for path in (b".git/index.lock", b".git/HEAD.lock"):
        if os.path.exists(os.path.join(copy, path)):
            os.unlink(os.path.join(copy, path))
    for path in without:
        shutil.rmtree(os.path.join(copy, path))
    git(copy, "add", "-A")
    tree = TreeId(git(copy, "write-tree").decode().strip())
    listing = parse_listing(git(copy, "ls-tree", "-r", "-z", tree))
    shutil.rmtree(copy)
    return tree, listing


def parse_listing(output: bytes) -> Listing:
    """Return path -> (mode, id) of what `git ls-tree -r -z` prints."""
    found: Listing = {}
    for line in output.split(b"\0")[:-1]:
        entry, _, path = line.partition(b"\t")
        mode, _, oid = entry.decode().split(" ")
        found[path] = (mode, oid)
    return found


def fingerprint(root: bytes) -> dict[bytes, tuple[str, int, int]]:
    """Return content, mtime and mode of all that is the user's in .git, objects included by name."""
    seen: dict[bytes, tuple[str, int, int]] = {}
    git_dir = os.path.join(root, b".git")
    for directory, directories, names in os.walk(git_dir):
        if directory == git_dir:
            directories[:] = [name for name in directories if name not in {b"autosync", b"lfs"}]
        for name in names:
            full = os.path.join(directory, name)
            found = os.lstat(full)
            with open(full, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            seen[os.path.relpath(full, git_dir)] = (digest, found.st_mtime_ns, found.st_mode)
    return seen


@dataclass
class Looking:
    """The parts of the backend that look and record, on one repository."""

    root: bytes
    patterns: tuple[str, ...] = ()
    repo: Repository = field(init=False)
    last: Reading | None = None

    def __post_init__(self) -> None:
        self.repo = open_repository(self.root)
        self.root = self.repo.root
        self.store = Store(self.repo)
        self.trees = Trees(self.store)
        self.settings = SettingsWatch(self.repo)
        self.ignore = Ignore(self.repo, self.settings, self.patterns)
        self.reader = Reader(self.trees, self.settings, self.ignore, lambda: base_of(self.root))
        self.snapshots = Snapshots(self.store)

    def __enter__(self) -> Looking:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()
        self.ignore.close()
        self.store.close()

    def read(self, *paths: str | bytes) -> TreeId:
        """Read these paths on top of the last reading, or everything if none are given."""
        hints = [RelPath(os.fsencode(path)) for path in paths] if paths else None
        previous = (self.last.base, self.last.tree) if self.last else None
        self.last = self.reader.read(hints, previous)
        return self.last.tree

    def record(self, *, time: int = 1_700_000_000) -> Snapshot:
        """Record the last reading."""
        assert self.last is not None
        version = Version.of({DeviceId("laptop-00000001"): 1})
        return self.snapshots.record(
            tree=self.last.tree, base=self.last.base, version=version, parents=(), device="laptop", time=time
        )

    def listing(self, tree: TreeId) -> Listing:
        """Return path -> (mode, id) of a tree, as git lists it."""
        self.store.flush()
        return parse_listing(self.repo.store.run("ls-tree", "-r", "-z", tree))

    def content(self, tree: TreeId, path: str | bytes) -> bytes:
        """Return what is stored at ``path``."""
        return self.store.blob(self.listing(tree)[os.fsencode(path)][1])
