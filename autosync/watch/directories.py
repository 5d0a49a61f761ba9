"""Which watched directory stands where: numbers of watches to paths and back."""

from __future__ import annotations

from collections.abc import Iterator

from autosync.core.model import RelPath


class Directory:
    """A directory of the working copy; ``wd`` is its watch, ``None`` if it has none.

    A node knows its name and its parent only, so that a moved directory is one change
    however much is below it.
    """

    __slots__ = ("children", "name", "parent", "wd")

    def __init__(self, name: bytes, parent: Directory | None) -> None:
        self.name = name
        self.parent = parent
        self.children: dict[bytes, Directory] | None = None
        self.wd: int | None = None

    def path(self) -> RelPath:
        """Return the path from the root."""
        names = []
        node = self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return RelPath(b"/".join(reversed(names)))

    def below(self, name: bytes) -> RelPath:
        """Return the path of ``name`` in this directory."""
        path = self.path()
        return RelPath(path + b"/" + name if path else name)

    def child(self, name: bytes) -> Directory | None:
        """Return the directory ``name`` in this one, if it is known."""
        return None if self.children is None else self.children.get(name)

    def walk(self) -> Iterator[Directory]:
        """Yield this directory and all known below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            if node.children:
                stack.extend(node.children.values())


class Directories:
    """The known directories of one working copy."""

    def __init__(self) -> None:
        self.root = Directory(b"", None)
        self._by_wd: dict[int, Directory] = {}

    def __len__(self) -> int:
        """Return the number of watched directories."""
        return len(self._by_wd)

    def watched_by(self, wd: int) -> Directory | None:
        """Return the directory with this watch."""
        return self._by_wd.get(wd)

    def is_attached(self, node: Directory) -> bool:
        """Return whether ``node`` still is part of the tree."""
        while node.parent is not None:
            if node.parent.child(node.name) is not node:
                return False
            node = node.parent
        return node is self.root

    def find(self, path: RelPath) -> Directory | None:
        """Return the directory at ``path``, if it is known."""
        node: Directory | None = self.root
        for name in path.split(b"/") if path else ():
            node = None if node is None else node.child(name)
        return node

    def enter(self, parent: Directory, name: bytes) -> Directory:
        """Return the directory ``name`` in ``parent``, made known if it is not."""
        node = parent.child(name)
        if node is None:
            node = Directory(name, parent)
            self._put(node)
        return node

    def detach(self, node: Directory) -> None:
        """Take ``node`` out of its parent; its watches stay known."""
        # A node that was moved away is out already, and another directory may have its name.
        if node.parent is not None and node.parent.children is not None and node.parent.child(node.name) is node:
            del node.parent.children[node.name]
            if not node.parent.children:
                node.parent.children = None

    def attach(self, node: Directory, parent: Directory, name: bytes) -> None:
        """Put a detached ``node`` under another name."""
        node.parent, node.name = parent, name
        self._put(node)

    def bind(self, node: Directory, wd: int) -> int | None:
        """Take note that ``wd`` watches ``node``; return the watch that has become useless.

        A watch belongs to an inode: if another node had this one, the directory was moved
        from there and the event is still to come, or was lost.
        """
        if node.wd == wd:
            return None
        useless = self.unbind(node)
        other = self._by_wd.get(wd)
        if other is not None:
            other.wd = None
        self._by_wd[wd] = node
        node.wd = wd
        return useless

    def unbind(self, node: Directory) -> int | None:
        """Take note that nothing watches ``node``; return the watch that did."""
        wd, node.wd = node.wd, None
        if wd is not None:
            del self._by_wd[wd]
        return wd

    @staticmethod
    def _put(node: Directory) -> None:
        if node.parent is not None:
            if node.parent.children is None:
                node.parent.children = {}
            node.parent.children[node.name] = node
