"""Agents of git working copies in this process, which can be killed in the middle of what they do."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from autosync.apply import WorkingTree
from autosync.backends.git.backend import open_git
from autosync.core import events as ev
from autosync.core.commands import Fetch, Integrate, Source, SourceKind, TakeSnapshot
from autosync.core.model import DeviceId, RelPath, Snapshot, SnapshotId
from autosync.perform import Performer
from autosync.ports import Applied, Operation
from tests.backends.gitdevice import WORKSPACE, clone, new_repository


class Killed(BaseException):
    """The agent ends here, and nothing of it goes on."""


class Mortal(WorkingTree):
    """Applies a half of what it is told, if the agent is to be killed."""

    dies = False

    def apply(self, operations: Sequence[Operation]) -> Applied:
        if not self.dies:
            return super().apply(operations)
        super().apply(operations[: len(operations) // 2])
        raise Killed


class Agent:
    """The agent of one device."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start()

    def start(self) -> None:
        """Start it, after a kill too: all that was in memory only is gone."""
        self.backend = open_git(os.fsencode(self.root), workspace=WORKSPACE, remote=None)
        backend = self.backend
        self.tree = Mortal(
            backend.root, backend.metadata, standing=backend.standing, standings=backend.standings, stage=backend.stage
        )
        name = self.root.name
        self.performer = Performer(backend=backend, tree=self.tree, device=DeviceId(f"{name}-00000001"), name=name)
        self.current = self.performer.open()

    def end(self) -> None:
        self.tree.close()
        self.backend.close()

    def stand(self, event: ev.Event) -> Snapshot:
        """Take note of where ``event`` has led; return it."""
        assert isinstance(event, ev.SnapshotTaken | ev.Integrated), event
        found = event.snapshot if isinstance(event, ev.SnapshotTaken) else event.current
        assert found is not None
        self.current = found
        return found

    def look(self, *at: RelPath) -> Snapshot:
        """Record what stands at some paths, or everywhere."""
        paths = frozenset(at) or None
        return self.stand(self.performer.local(TakeSnapshot(paths=paths, current=self.current, above=0)))

    def integrate(self, event: ev.SnapshotFetched) -> None:
        assert event.snapshot is not None, event
        assert self.current is not None
        self.stand(self.performer.local(Integrate(current=self.current, theirs=event.snapshot, exact=False, above=0)))

    def hear(self, other: Agent, *, early: bool) -> None:
        """Bring in the state of ``other``, which came with its announcement."""
        assert other.current is not None
        known: Collection[SnapshotId] = [self.current.id] if self.current else []
        pack = other.backend.pack(other.current.id, limit=1 << 20, reached=list(known))
        assert pack
        source = Source(kind=SourceKind.INLINE, device=other.performer.device, pack=pack)
        fetched = self.performer.absorb(
            Fetch(wanted=other.current.id, source=source), self.integrate if early else None
        )
        assert fetched.snapshot == other.current, fetched
        if not early:
            self.integrate(fetched)

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.root.iterdir() if path.name != ".git"}


@contextmanager
def laptop_and_desktop(place: Path, files: Mapping[str, bytes]) -> Iterator[tuple[Agent, Agent]]:
    """Start two agents at one state, in which ``files`` are committed."""
    origin = new_repository(place / "origin", files)
    laptop, desktop = (Agent(clone(origin, place / name)) for name in ("laptop", "desktop"))
    laptop.look()
    desktop.look()
    laptop.hear(desktop, early=False)
    desktop.hear(laptop, early=False)
    yield laptop, desktop
    laptop.end()
    desktop.end()
