"""Devices in memory that are told by a test, one step after the other, what they hear of."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import permutations

from autosync.backends.memory import MemoryWorkingCopy
from autosync.core import events as ev
from autosync.core.commands import Fetch, Integrate, Source, SourceKind, TakeSnapshot
from autosync.core.model import DeviceId, Order, RelPath, Snapshot, SnapshotId, relate
from autosync.perform import Performer

START = RelPath(b"start.txt")


class Copy:
    """One device: a performer on a working copy, and where it is."""

    def __init__(self, files: MemoryWorkingCopy, number: int) -> None:
        self.files = files
        self.device = DeviceId(f"d{number}-{number:08x}")
        self.current: Snapshot | None = None
        self.start()

    def start(self) -> None:
        """Start the agent, again if it ran."""
        self.files.crash()
        name = self.device.partition("-")[0]
        self.performer = Performer(backend=self.files, tree=self.files, device=self.device, name=name)
        self.current = self.performer.open()

    def look(self) -> Snapshot:
        """Record what stands here."""
        event = self.performer.local(TakeSnapshot(paths=None, current=self.current, above=0))
        assert isinstance(event, ev.SnapshotTaken | ev.Integrated), event
        found = event.snapshot if isinstance(event, ev.SnapshotTaken) else event.current
        assert found is not None
        self.current = found
        return found

    def save(self, path: RelPath, content: bytes = b"") -> Snapshot:
        """Save a file and look."""
        self.files.user.write(path, content or b"by %s\n" % self.device.encode())
        return self.look()

    def content(self, path: RelPath) -> bytes | None:
        """Return what stands at ``path``."""
        return self.files.files[path][1] if path in self.files.files else None

    def fetch(self, wanted: SnapshotId, *sources: Copy) -> Snapshot | None:
        """Get a snapshot from the first of ``sources`` that has it."""
        for source in sources:
            command = Fetch(wanted=wanted, source=Source(kind=SourceKind.PEER, device=source.device))
            fetched = self.performer.receive(command, lambda source=source: self._receive(source, wanted))  # type: ignore[misc]  # bound now
            if fetched.snapshot is not None:
                return fetched.snapshot
        return None

    def _receive(self, source: Copy, wanted: SnapshotId) -> Snapshot:
        pipe = io.BytesIO()
        source.files.serve(wanted, self.files.haves(), pipe)
        pipe.seek(0)
        return self.files.receive(wanted, pipe)

    def merge(self, source: Copy, *others: Copy, complete: bool = True, at: Snapshot | None = None) -> Snapshot:
        """Bring in where ``source`` is, or was ``at``; what is missing in between is looked for at ``others`` too."""
        at = at or source.current
        assert at is not None
        assert self.current is not None
        theirs = self.fetch(at.id, source)
        assert theirs is not None
        if relate(self.current, theirs) in (Order.AFTER, Order.EQUAL):
            return self.current
        command = Integrate(current=self.current, theirs=theirs, exact=True, above=0)
        while isinstance(event := self.performer.local(command), ev.AncestorMissing):
            if self.fetch(event.ancestor, source, *others) is None:
                command = replace(command, without=command.without | {event.ancestor})
        assert isinstance(event, ev.Integrated), event
        assert event.complete == complete, event
        assert (event.unfinished is None) == complete
        self.current = event.current
        return event.current


def equal_copies(count: int) -> list[Copy]:
    """Return so many devices that are at the same state."""
    origin = MemoryWorkingCopy("origin")
    origin.user.write(START, b"start\n")
    origin.user.commit("start")
    copies = [Copy(origin.clone(f"d{number}"), number) for number in range(count)]
    for each in copies:
        each.look()
    for each, other in 2 * tuple(permutations(copies, 2)):
        each.merge(other)
    assert len({each.current for each in copies}) == 1
    return copies
