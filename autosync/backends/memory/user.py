"""What a user does in a working copy in memory: files, commits, checkouts."""

from __future__ import annotations

import fnmatch
from collections.abc import Container, Iterable

from autosync.backends.memory.objects import Changeset, Listing, ObjectStore, text_id
from autosync.core.model import Base, CommitId, Entry, Kind, ObjectId, RelPath, TreeId, parent_directories
from autosync.errors import AutosyncError

MAIN = "refs/heads/main"


class UserSide:
    """The directory, HEAD and branches of one working copy, changed as its user would.

    ``files`` holds what stands at each path: for a symlink its target, for a
    nested repository its commit id; directories exist while something is in
    them.  ``inodes`` gives each write a number.  ``operation``, if set, says what the user's own commands are in the
    middle of; ``writing`` are files that change whenever they are looked at.
    """

    def __init__(self, name: str, store: ObjectStore) -> None:
        self.name = name
        self.store = store
        self.files: dict[RelPath, tuple[Kind, bytes]] = {}
        self.branches: dict[str, CommitId] = {}
        self.branch: str | None = MAIN
        self.detached: CommitId | None = None
        self.operation: str | None = None
        self.writing: set[RelPath] = set()
        self.ignore_patterns: list[bytes] = []
        self.inodes: dict[RelPath, int] = {}
        self._last_inode = 0
        self._commits = 0

    # -- files -------------------------------------------------------------------------
    def write(self, path: RelPath, content: bytes) -> None:
        """Write a file; one that is executable stays so."""
        executable = self.files.get(path, (None, b""))[0] is Kind.EXECUTABLE
        self._put(path, Kind.EXECUTABLE if executable else Kind.FILE, content)

    def chmod(self, path: RelPath, *, executable: bool) -> None:
        """Set or clear a file's executable bit."""
        self._put(path, Kind.EXECUTABLE if executable else Kind.FILE, self.files[path][1])

    def symlink(self, path: RelPath, target: bytes) -> None:
        """Make a symlink."""
        self._put(path, Kind.SYMLINK, target)

    def nest(self, path: RelPath) -> CommitId:
        """Start a repository of its own at ``path`` and return its first commit."""
        commit = ObjectStore().add_changeset(
            Changeset(tree=ObjectStore().add_tree({}), parents=(), message="nested", author=self.name, number=0)
        )
        self._put(path, Kind.NESTED, commit.encode())
        return commit

    def remove(self, path: RelPath) -> None:
        """Remove a file or a whole directory."""
        for each in self.below(path):
            del self.files[each], self.inodes[each]

    def rename(self, old: RelPath, new: RelPath) -> None:
        """Rename a file or a whole directory."""
        moved = {RelPath(new + each[len(old) :]): self.files[each] for each in self.below(old)}
        self.remove(old)
        for path, (kind, content) in moved.items():
            self._put(path, kind, content)

    def ignore(self, pattern: bytes) -> None:
        """Ignore every file or directory whose name matches the shell ``pattern``."""
        self.ignore_patterns.append(pattern)

    # -- history -------------------------------------------------------------------------
    def commit(self, message: str) -> Base:
        """Commit everything that is not ignored on the current branch."""
        head = self.head().commit
        return self.advance(message, () if head is None else (head,), self._write_tree())

    def amend(self, message: str) -> Base:
        """Replace the last commit by one of everything that is not ignored."""
        head = self.head().commit
        if head is None:
            raise AutosyncError("There is no commit to amend.", hint="Commit first.")
        return self.advance(message, self.store.changesets[head].parents, self._write_tree())

    def advance(self, message: str, parents: tuple[CommitId, ...], tree: TreeId) -> Base:
        """Commit ``tree`` on the current branch and return the new base."""
        self._commits += 1
        commit = self.store.add_changeset(
            Changeset(tree=tree, parents=parents, message=message, author=self.name, number=self._commits)
        )
        self.move_head(Base(commit=commit, branch=self.branch))
        return self.head()

    def create_branch(self, name: str) -> None:
        """Start a branch at HEAD without going to it."""
        head = self.head().commit
        if head is None:
            raise AutosyncError(f"The branch {name} needs a commit to start at.", hint="Commit first.")
        self.branches[f"refs/heads/{name}"] = head

    def checkout(self, name: str) -> None:
        """Go to a branch or commit; local changes come along unless they are in the way."""
        branch = f"refs/heads/{name}"
        target = self.branches.get(branch)
        commit = CommitId(name) if target is None else target
        before, after = self.head_listing(), self.store.listing(self.store.tree_of(commit))
        changing = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
        for path in changing:
            around = {*self.below(path), *(up for up in parent_directories(path) if up in self.files)}
            if self.entry_at(path) != before.get(path) or (path in after and around - before.keys()):
                raise AutosyncError(f"The local changes to {path!r} would be lost.", hint="Commit them first.")
        for path in changing:
            if path in before:
                self.remove(path)
        for path in changing:
            if path in after:
                self.put_entry(path, after[path], self.store)
        self.branch, self.detached = (branch, None) if target is not None else (None, commit)

    def head(self) -> Base:
        """Return what is checked out."""
        if self.branch is None:
            return Base(commit=self.detached, branch=None)
        return Base(commit=self.branches.get(self.branch), branch=self.branch)

    def start(self, base: Base) -> None:
        """Check ``base`` out into a directory that is still empty."""
        for path, entry in self.store.listing(self.store.tree_of(base.commit)).items():
            self.put_entry(path, entry, self.store)
        self.move_head(base)

    def move_head(self, base: Base) -> None:
        """Let HEAD, and the branch it is on, be ``base``."""
        self.branch, self.detached = base.branch, None if base.branch else base.commit
        if base.branch is not None:
            if base.commit is None:
                self.branches.pop(base.branch, None)
            else:
                self.branches[base.branch] = base.commit

    # -- what stands where -----------------------------------------------------------------
    def below(self, path: RelPath) -> list[RelPath]:
        """Return ``path`` itself if it is a file, and the files below it."""
        if path in self.files:
            nested = self.files[path][0] is Kind.NESTED
            return [path, *self._inside(path)] if nested else [path]
        return self._inside(path)

    def entry_at(self, path: RelPath) -> Entry | None:
        """Return what stands at ``path``; its content is not stored anywhere."""
        standing = self.files.get(path)
        if standing is None:
            return None
        kind, content = standing
        oid = ObjectId(content.decode()) if kind is Kind.NESTED else text_id(content)
        return Entry(kind=kind, oid=oid)

    def put_entry(self, path: RelPath, entry: Entry, store: ObjectStore) -> None:
        """Bring ``entry``, whose content is in ``store``, to ``path``."""
        self._put(path, entry.kind, entry.oid.encode() if entry.kind is Kind.NESTED else store.texts[entry.oid])

    def is_ignored(self, path: RelPath) -> bool:
        """Return whether a pattern names ``path`` or a directory above it; tracked or not."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.ignore_patterns for name in path.split(b"/"))

    def versioned(self, paths: Iterable[RelPath], known: Container[RelPath]) -> list[RelPath]:
        """Return those of ``paths`` that are ``known``, or neither ignored nor inside a nested repository."""
        return [p for p in paths if (p in known or not self.is_ignored(p)) and not self._is_nested(p)]

    def head_listing(self) -> Listing:
        """Return what is tracked."""
        return self.store.listing(self.store.tree_of(self.head().commit))

    def _is_nested(self, path: RelPath) -> bool:
        return any(self.files.get(up, (None,))[0] is Kind.NESTED for up in parent_directories(path))

    def _inside(self, path: RelPath) -> list[RelPath]:
        prefix = path + b"/" if path else b""
        return [each for each in self.files if each.startswith(prefix)]

    # -- changing ------------------------------------------------------------------------------
    def _put(self, path: RelPath, kind: Kind, content: bytes) -> None:
        for up in parent_directories(path):
            if up in self.files and self.files[up][0] is not Kind.NESTED:
                raise NotADirectoryError(up)
        if path not in self.files and self._inside(path):
            raise IsADirectoryError(path)
        self._last_inode += 1
        self.inodes[path] = self._last_inode
        self.files[path] = (kind, content)

    def _write_tree(self) -> TreeId:
        listing: dict[RelPath, Entry] = {}
        for path in self.versioned(self.files, self.head_listing()):
            entry = self.entry_at(path)
            if entry is not None:
                listing[path] = entry
                if entry.kind is not Kind.NESTED:
                    self.store.add_text(self.files[path][1])
        return self.store.add_tree(listing)
