"""One hg working copy with the parts of the backend that change its state, and what its user sees of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hg_repos import Vanilla, put

from autosync.backends.hg.branches import split
from autosync.backends.hg.committing import Committing
from autosync.backends.hg.content import Content
from autosync.backends.hg.head import Head
from autosync.backends.hg.history import History
from autosync.backends.hg.landing import Landing
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.staging import Staging
from autosync.backends.hg.store import Store
from autosync.backends.hgext.frames import Value
from autosync.core.model import Base, CommitId, Entry, Kind, ObjectId, RelPath, TreeId

_KINDS = {b"": Kind.FILE, b"x": Kind.EXECUTABLE, b"l": Kind.SYMLINK}
_ALL = 1 << 31


class Desk:
    """A working copy; ``by`` is the hg of its agent."""

    def __init__(self, root: bytes, by: Sequence[str]) -> None:
        self.root = root
        self.repo = Repository(root, by)
        self.store = Store(os.path.join(root, b".hg", b"autosync"))
        self.head = Head(root)
        server = self.repo.server
        self.history = History(server, self.store)
        self.landing = Landing(server, self.store, self.history, base=self.head.base)
        self.committing = Committing(
            server, self.store, self.history, open=self.open, tree_of=self.tree_of, base=self.head.base
        )
        self.staging = Staging(server, open=self.open)
        self._user: Vanilla | None = None

    def close(self) -> None:
        if self._user is not None:
            self._user.close()
        self.repo.close()
        self.store.close()

    def open(self, oid: ObjectId) -> Content:
        content = self.store.open(oid)
        assert content is not None
        return content

    def tree_of(self, commit: CommitId | None) -> TreeId:
        """Return the tree of a changeset, all of it read."""
        if commit is None:
            return self.store.empty_tree
        node = bytes.fromhex(commit)
        found = self.repo.contents(list(self.repo.manifest(node)), node)
        return self.store.splice(
            None,
            {path: Entry(kind=_KINDS[file.flags], oid=self.store.put(file.content)) for path, file in found.items()},
        )

    def look(self) -> TreeId:
        """Return what stands in the working copy, with what hg was told of it."""
        status = self.repo.status()
        edits: dict[RelPath, Entry | None] = {
            path: self.standing(path) for path in (*status.modified, *status.added, *status.unknown, *status.missing)
        }
        edits |= {path: self.standing(path) for path in status.removed}
        tree = self.store.splice(self.tree_of(self.base().commit), edits)
        marks = dict.fromkeys(status.added, b"a") | dict.fromkeys(status.removed, b"r")
        for path, source in status.copies.items():
            marks[path] = (b"a" if path in status.added else b"m") + b"\0" + source
        return self.store.with_marks(tree, marks)

    def standing(self, path: RelPath) -> Entry | None:
        full = os.path.join(self.root, path)
        if os.path.islink(full):
            return Entry(kind=Kind.SYMLINK, oid=self.store.put(os.readlink(full)))
        if not os.path.isfile(full):
            return None
        with open(full, "rb") as file:
            oid = self.store.put(file.read())
        return Entry(kind=Kind.EXECUTABLE if os.access(full, os.X_OK) else Kind.FILE, oid=oid)

    def base(self) -> Base:
        return self.head.base()

    def land(self, new: Base, tree: TreeId) -> None:
        """Land, after a rehearsal that must change nothing."""
        old = self.base()
        self.landing.check_landing(old, new)
        assert self.base() == old
        self.landing.land(old, new, tree=tree)
        assert self.base() == new

    def send_history(self, tip: CommitId, to: Desk, common: Sequence[CommitId] = ()) -> None:
        """Have the other keep a bundle of ``tip`` and what it needs beyond ``common``."""
        place = os.path.join(self.store.metadata, b"sent")
        os.makedirs(self.store.metadata, exist_ok=True)
        nodes = [bytes.fromhex(commit) for commit in common]
        question: dict[bytes, Value] = {b"tip": bytes.fromhex(tip), b"common": nodes, b"into": place, b"most": _ALL}
        self.repo.server.ask("history", question)
        with open(place, "rb") as file:
            to.store.keep_bundle(tip, file)
        os.unlink(place)

    def send_tree(self, tree: TreeId, to: Desk) -> TreeId:
        """Have the other know a tree as well."""
        for _, entry in self.store.entries(tree):
            to.store.put(self.open(entry.oid).whole())
        edits: dict[RelPath, Entry | None] = dict(self.store.entries(tree))
        return to.store.with_marks(to.store.splice(None, edits), self.store.marks(tree))

    def hg(self, *args: str | bytes, check: bool = True) -> bytes:
        """Return what hg printed when the user ran it."""
        if self._user is None:
            self._user = Vanilla(self.root, extensions=("share",))
        return self._user(*args, check=check)

    def seen(self) -> dict[str, bytes]:
        """Return what the user's own hg tells of the working copy."""
        return {
            "status": self.hg("status", "-C"),
            "diff": self.hg("diff", "--git"),
            "where": self.hg("log", "-r", "wdir()", "-T", "{p1node} {p2node} {branch} {activebookmark}"),
            "files": self.hg("files", check=False),
        }

    def mirror(self, other: Desk) -> None:
        """Make the files of the working copy those of another one."""
        for name in os.listdir(self.root):
            if name != b".hg":
                full = os.path.join(self.root, name)
                shutil.rmtree(full) if os.path.isdir(full) and not os.path.islink(full) else os.unlink(full)
        for name in os.listdir(other.root):
            if name != b".hg":
                here, there = (os.fsdecode(os.path.join(desk.root, name)) for desk in (self, other))
                if os.path.isdir(there) and not os.path.islink(there):
                    shutil.copytree(there, here, symlinks=True)
                else:
                    shutil.copy2(there, here, follow_symlinks=False)

    def put(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            put(self.root, name, content)


@contextmanager
def desks(by: Sequence[str], *roots: bytes) -> Iterator[list[Desk]]:
    """Open working copies, and close them again."""
    found = [Desk(root, by) for root in roots]
    try:
        yield found
    finally:
        for desk in found:
            desk.close()


def bookmark_of(base: Base) -> str:
    """Return the active bookmark."""
    return split(base.branch or "")[1]
