"""Three devices that merge crosswise, each with a different third state, agree on what was deleted."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import permutations

from autosync.backends.memory import MemoryWorkingCopy
from autosync.core import events as ev
from autosync.core.commands import Fetch, Integrate, Source, SourceKind, TakeSnapshot
from autosync.core.model import DeviceId, Order, RelPath, Snapshot, SnapshotId, relate
from autosync.perform import Performer

A, B, OURS = RelPath(b"a.txt"), RelPath(b"b.txt"), RelPath(b"ours.txt")


class Copy:
    """One device, told by the test what it hears of and when."""

    def __init__(self, files: MemoryWorkingCopy, number: int) -> None:
        self.files = files
        self.device = DeviceId(f"d{number}-{number:08x}")
        self.performer = Performer(backend=files, tree=files, device=self.device, name=f"d{number}")
        self.current: Snapshot | None = None
        self.look()

    def look(self) -> Snapshot:
        event = self.performer.local(TakeSnapshot(paths=None, current=self.current, above=0))
        assert isinstance(event, ev.SnapshotTaken), event
        assert event.snapshot is not None
        self.current = event.snapshot
        return event.snapshot

    def save(self, path: RelPath) -> Snapshot:
        self.files.user.write(path, b"by %s\n" % self.device.encode())
        return self.look()

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

    def merge(self, source: Copy, *others: Copy) -> Snapshot:
        """Bring in where ``source`` is; what is missing in between is looked for at ``others`` too."""
        assert source.current is not None
        assert self.current is not None
        theirs = self.fetch(source.current.id, source)
        assert theirs is not None
        if relate(self.current, theirs) in (Order.AFTER, Order.EQUAL):
            return self.current
        command = Integrate(current=self.current, theirs=theirs, exact=True, above=0)
        while isinstance(event := self.performer.local(command), ev.AncestorMissing):
            if self.fetch(event.ancestor, source, *others) is None:
                command = replace(command, without=command.without | {event.ancestor})
        assert isinstance(event, ev.Integrated), event
        assert event.complete
        self.current = event.current
        return event.current


def three() -> tuple[Copy, Copy, Copy]:
    origin = MemoryWorkingCopy("origin")
    origin.user.write(RelPath(b"start.txt"), b"start\n")
    origin.user.commit("start")
    one, two, three = (Copy(origin.clone(f"d{number}"), number) for number in range(3))
    for each, other in 2 * tuple(permutations((one, two, three), 2)):
        each.merge(other)
    assert one.current == two.current == three.current
    return one, two, three


def test_what_its_only_writer_deleted_stays_deleted_after_merges_that_crossed() -> None:
    """d0 and d1 both merged d0's and d1's first saves, each together with something else.

    d0 has them through d2's state and knows neither d1's first state nor its merge.
    """
    d0, d1, d2 = three()
    d1.save(OURS)
    d2.merge(d1)
    d0.save(A)
    d2.save(B)
    d1.merge(d0)
    d0.merge(d2)
    assert OURS in d0.files.files
    d1.files.user.remove(OURS)
    d1.look()
    merged = d0.merge(d1, d2)
    assert set(d0.files.files) == {RelPath(b"start.txt"), A, B}
    assert d1.merge(d0) == merged


def test_a_merge_whose_common_past_nobody_has_any_more_keeps_both() -> None:
    d0, d1, d2 = three()
    d1.save(OURS)
    d2.merge(d1)
    d0.save(A)
    d2.save(B)
    d1.merge(d0)
    d0.merge(d2)
    for copy in (d1, d2):
        for snapshot in list(copy.files.store.snapshots.values()):
            if copy.current is not None and snapshot.id != copy.current.id:
                del copy.files.store.snapshots[snapshot.id]
    d1.save(A)
    d0.merge(d1, d2)
    assert d0.files.files[A][1] == b"by d1-00000001\n"
    assert {OURS, B} <= set(d0.files.files)
