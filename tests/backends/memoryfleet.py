"""Working copies in memory for the contract."""

from __future__ import annotations

from contract.fleet import Names, rel

from autosync.backends.memory import MemoryHub, MemoryWorkingCopy
from autosync.core.model import Base, CommitId, Kind, RelPath


class MemorySite:
    """One working copy in memory and its user."""

    names = Names()

    def __init__(self, copy: MemoryWorkingCopy) -> None:
        self.copy = copy
        self.name = copy.user.name
        self.backend = copy
        self.tree = copy

    def write(self, path: str | bytes, content: bytes) -> None:
        self.copy.user.write(rel(path), content)

    def chmod(self, path: str | bytes, *, executable: bool) -> None:
        self.copy.user.chmod(rel(path), executable=executable)

    def symlink(self, path: str | bytes, target: bytes) -> None:
        self.copy.user.symlink(rel(path), target)

    def remove(self, path: str | bytes) -> None:
        self.copy.user.remove(rel(path))

    def rename(self, old: str | bytes, new: str | bytes) -> None:
        self.copy.user.rename(rel(old), rel(new))

    def ignore(self, name: bytes) -> None:
        self.copy.user.ignore(name)

    def nest(self, path: str | bytes) -> None:
        self.copy.user.nest(rel(path))
        self.copy.user.write(rel(rel(path) + b"/inner"), b"inner\n")

    def commit(self, message: str) -> Base:
        return self.copy.user.commit(message)

    def amend(self, message: str) -> Base:
        return self.copy.user.amend(message)

    def branch(self, name: str) -> None:
        self.copy.user.create_branch(name)

    def checkout(self, name: str) -> None:
        self.copy.user.checkout(name)

    def begin_operation(self) -> None:
        self.copy.user.operation = "a bisection"

    def end_operation(self) -> None:
        self.copy.user.operation = None

    def files(self) -> dict[RelPath, tuple[Kind, bytes]]:
        return dict(self.copy.files)

    def status(self) -> object:
        base = self.copy.base()
        return self.copy.changes(self.copy.tree_of(base.commit), self.copy.read(None, None).tree)

    def tip(self, branch: str) -> CommitId | None:
        return self.copy.user.branches.get(branch)

    def reopen(self) -> None:
        self.copy.crash()


class MemoryFleet:
    """Working copies around one hub in memory."""

    examples = 60

    def __init__(self) -> None:
        self.hub = MemoryHub()

    def new(self, name: str) -> MemorySite:
        return MemorySite(MemoryWorkingCopy(name, hub=self.hub))

    def clone(self, of: MemorySite, name: str) -> MemorySite:
        return MemorySite(of.copy.clone(name))

    def cut_hub(self) -> None:
        self.hub.cut_off = True

    def close_hub(self) -> None:
        self.hub.refuses = True

    def open_hub(self) -> None:
        self.hub.cut_off = self.hub.refuses = False
