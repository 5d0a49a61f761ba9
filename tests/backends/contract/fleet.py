"""What the contract needs of a backend's working copies, users and hub, and the steps its tests share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from autosync.core.model import (
    Base,
    Change,
    CommitId,
    DeviceId,
    Entry,
    Kind,
    RelPath,
    Snapshot,
    SnapshotId,
    TreeId,
    Version,
)
from autosync.core.operations import Operation, operations
from autosync.ports import Backend, Reading, Tree

_ATTEMPTS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a backend calls things, and which of them it has no name for.

    ``main`` and ``topic`` are what a base calls the branches ``main`` and ``topic``, ``detached``
    what it calls none of them; ``absent`` is a branch that is nowhere.  No path can hold a byte of
    ``forbidden``.  ``nested`` says whether the commit of a nested repository is versioned.
    """

    main: str = "refs/heads/main"
    topic: str = "refs/heads/topic"
    odd: str = "refs/heads/feature/ünï"
    absent: str = "refs/heads/no-such"
    detached: str | None = None
    forbidden: bytes = b""
    nested: bool = True

    def fit(self, path: bytes) -> RelPath:
        """Return ``path`` without what no path can hold here."""
        return RelPath(path.translate(None, self.forbidden))


def rel(text: str | bytes) -> RelPath:
    """Return a path from a literal."""
    return RelPath(text.encode() if isinstance(text, str) else text)


class Site(Protocol):
    """A working copy, the agent's view of it, and its user."""

    name: str
    names: Names
    backend: Backend
    tree: Tree

    def write(self, path: str | bytes, content: bytes) -> None: ...
    def chmod(self, path: str | bytes, *, executable: bool) -> None: ...
    def symlink(self, path: str | bytes, target: bytes) -> None: ...
    def remove(self, path: str | bytes) -> None: ...
    def rename(self, old: str | bytes, new: str | bytes) -> None: ...
    def ignore(self, name: bytes) -> None:
        """Ignore every file or directory of this name."""

    def nest(self, path: str | bytes) -> None:
        """Make a repository of its own at ``path``, with one commit and one file ``inner``."""

    def commit(self, message: str) -> Base:
        """Commit everything that is not ignored."""

    def amend(self, message: str) -> Base: ...
    def branch(self, name: str) -> None: ...
    def checkout(self, name: str) -> None: ...
    def begin_operation(self) -> None:
        """Be in the middle of something that forbids to move HEAD."""

    def end_operation(self) -> None: ...
    def files(self) -> dict[RelPath, tuple[Kind, bytes]]:
        """Return what stands where: content, target of a symlink, commit of a nested repository."""

    def status(self) -> object:
        """Return what the version control system itself calls modified, added and removed."""

    def tip(self, branch: str) -> CommitId | None:
        """Return where the user's ``branch`` is."""

    def reopen(self) -> None:
        """End the agent's view and open it again."""


class Fleet(Protocol):
    """Makes working copies that share a hub.

    ``examples`` is how many made-up stories a test may try.
    """

    examples: int

    def new(self, name: str) -> Site:
        """Return one without a commit, on the branch ``main``."""

    def clone(self, of: Site, name: str) -> Site:
        """Return one with the committed history of ``of``."""

    def cut_hub(self) -> None:
        """Let the hub not answer."""

    def close_hub(self) -> None:
        """Let the hub say no."""

    def open_hub(self) -> None:
        """Let the hub answer again."""


def pair(fleet: Fleet, files: Mapping[str, bytes] | None = None) -> tuple[Site, Site]:
    """Return two working copies of one commit."""
    one = fleet.new("one")
    for path, content in (files or {"a.txt": b"a\n", "d/b.txt": b"b\n", "d/c.txt": b"c\n"}).items():
        one.write(path, content)
    one.commit("first")
    return one, fleet.clone(one, "two")


def look(site: Site, paths: Iterable[str | bytes] | None = None, previous: Snapshot | Reading | None = None) -> Reading:
    """Return what stands there, looked at until nothing is torn."""
    named = None if paths is None else [rel(path) for path in paths]
    before = None if previous is None else (previous.base, previous.tree)
    for _ in range(_ATTEMPTS):
        reading = site.backend.read(named, before)
        if not reading.torn:
            return reading
    raise AssertionError(f"always torn: {reading.torn!r}")


def snap(site: Site, *parents: Snapshot, count: int = 1) -> Snapshot:
    """Return a recorded snapshot of the working copy."""
    return record(site, look(site).tree, *parents, count=count)


def record(site: Site, tree: TreeId, *parents: Snapshot, count: int = 1, base: Base | None = None) -> Snapshot:
    """Return a recorded snapshot of ``tree``."""
    version = Version.of({DeviceId(f"{site.name}-00000000"): count})
    for parent in parents:
        version = version.join(parent.version)
    return site.backend.record(
        tree=tree,
        base=site.backend.base() if base is None else base,
        version=version,
        parents=tuple(parent.id for parent in parents),
        device=site.name,
        time=1_700_000_000 + count,
    )


def send(snapshot: Snapshot, source: Site, target: Site) -> Snapshot:
    """Carry a snapshot inline from one to the other."""
    packed = source.backend.pack(snapshot.id, limit=1 << 24)
    assert packed is not None
    return target.backend.absorb(snapshot.id, packed)


def go(site: Site, current: Snapshot, target: Snapshot) -> None:
    """Bring the working copy from ``current`` to ``target``, base included."""
    applied = site.tree.apply(operations(site.backend.changes(current.tree, target.tree)))
    assert applied.refused == {}
    if current.base != target.base or site.backend.marks(current.tree) != site.backend.marks(target.tree):
        site.backend.land(current.base, target.base, tree=target.tree, message="contract")


def entries(site: Site, tree: TreeId | None) -> dict[RelPath, Entry]:
    """Return everything in ``tree``."""
    return {change.path: change.new for change in site.backend.changes(None, tree) if change.new is not None}


def kinds(site: Site, tree: TreeId) -> dict[bytes, Kind]:
    """Return what each path of ``tree`` is."""
    return {bytes(path): entry.kind for path, entry in entries(site, tree).items()}


def contents(site: Site, tree: TreeId) -> dict[RelPath, tuple[Kind, bytes]]:
    """Return everything in ``tree`` with its content, as staging writes it."""
    named = [(path, entry) for path, entry in entries(site, tree).items() if entry.kind is not Kind.NESTED]
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        site.backend.stage(named, os.fsencode(directory))
        for index, (path, entry) in enumerate(named):
            name = os.path.join(directory, str(index))
            found[path] = (entry.kind, staged(name))
    return found


def staged(name: str) -> bytes:
    """Return the content of a staged file or the target of a staged symlink."""
    if os.path.islink(name):
        return os.readlink(os.fsencode(name))
    with open(name, "rb") as file:
        return file.read()


def brief(changes: Iterable[Change]) -> list[tuple[bytes, Kind | None, Kind | None]]:
    """Return path, old and new kind of each change."""
    return [(bytes(c.path), c.old.kind if c.old else None, c.new.kind if c.new else None) for c in changes]


def operation(path: str | bytes, expected: Entry | None, new: Entry | None, source: str | None = None) -> Operation:
    """Return an operation from literals."""
    return Operation(path=rel(path), expected=expected, new=new, source=None if source is None else rel(source))


def unknown(snapshot: Snapshot) -> SnapshotId:
    """Return a well-formed id that stands for nothing."""
    return SnapshotId("0" * len(snapshot.id))
