"""What the machine does not allow halts a session until it is allowed again."""

from __future__ import annotations

from autosync.core import events as ev
from autosync.core.commands import Fetch, Source, SourceKind, Tell
from autosync.core.model import Base, DeviceId, Snapshot, SnapshotId, TreeId, Version
from autosync.core.retry import FAILED_MOST
from autosync.core.session import Session
from autosync.core.settings import SessionSettings
from autosync.core.sources import RETRY_MOST
from tests.announcements import said_at
from tests.core.test_session import A, content, pair

TITLE, HINT = "The disk / is full", "Make room there."


def state(device: DeviceId) -> Snapshot:
    """Return the first state of a device."""
    return Snapshot(
        id=SnapshotId(f"{device} 1"),
        tree=TreeId(f"tree of {device}"),
        base=Base(commit=None, branch=None),
        version=Version.of({device: 1}),
        parents=(),
        device=device,
        time=0,
    )


def said_of(theirs: Snapshot, *, inline: bytes = b"pack") -> ev.Announcement:
    return said_at(theirs, DeviceId("d1-1"), name="d1", inline=inline)


def test_a_fetch_that_finds_no_room_halts_until_one_succeeds() -> None:
    world, one, two = pair()
    world.run(1)
    world.write(two, A, b"new\n")
    world.part(one, two)
    session = one.session
    session.handle(ev.ShortageNoticed(what="announce", title="", hint=""), world.now)
    assert session.halt is None
    world.run(1)
    assert two.session.current is not None
    wanted = two.session.current.id
    said = said_of(two.session.current, inline=b"")
    session.handle(ev.Announced(announcement=said, lane="lan", live=True), world.now)
    fetched = ev.SnapshotFetched(wanted=wanted, source="peer", snapshot=None, reason=TITLE, hint=HINT)
    told = [c for c in session.handle(fetched, world.now) if isinstance(c, Tell)]
    assert told == [Tell(title=TITLE, hint=HINT)]
    assert session.status().phase == "halted"
    assert session.halt is not None
    assert (session.halt.title, session.halt.hint) == (TITLE, HINT)
    assert not [c for c in session.handle(fetched, world.now) if isinstance(c, Tell)]
    world.join()
    world.run(30)
    assert content(one) == b"new\n"
    assert session.halt is None


def test_a_fetch_that_finds_no_room_is_told_even_if_another_source_is_asked_next() -> None:
    session = Session(SessionSettings(device=DeviceId("d0-0"), name="d0"))
    session.handle(ev.Started(current=None), 0.0)
    session.handle(ev.SnapshotTaken(snapshot=state(DeviceId("d0-0")), changed=True), 0.0)
    theirs = state(DeviceId("d1-1"))
    said = said_of(theirs)
    inline = Source(kind=SourceKind.INLINE, device=said.device, pack=b"pack", lane="lan")
    announced = ev.Announced(announcement=said, lane="lan", live=True)
    assert session.handle(announced, 1.0) == [Fetch(wanted=theirs.id, source=inline)]
    failed = ev.SnapshotFetched(wanted=theirs.id, source="inline", snapshot=None, reason=TITLE, hint=HINT)
    direct = Fetch(wanted=theirs.id, source=Source(kind=SourceKind.PEER, device=said.device))
    assert session.handle(failed, 1.0)[:2] == [Tell(title=TITLE, hint=HINT), direct]


def test_what_cannot_be_told_halts_until_it_is() -> None:
    world, one, _two = pair()
    world.run(1)
    noticed = ev.ShortageNoticed(what="announce", title=TITLE, hint=HINT)
    assert Tell(title=TITLE, hint=HINT) in one.session.handle(noticed, world.now)
    assert one.session.status().phase == "halted"
    one.session.handle(ev.ShortageNoticed(what="announce", title="", hint=""), world.now)
    assert one.session.status().phase == "watching"


def test_a_folder_that_is_back_is_looked_at_whole() -> None:
    world, one, two = pair()
    world.write(one, A, b"hello\n")
    world.run(2)
    current = one.session.current
    gone = ev.RootVanished()
    assert Tell(title=gone.title, hint=gone.hint) in one.session.handle(gone, world.now)
    assert not [c for c in one.session.handle(gone, world.now) if isinstance(c, Tell)]
    other = ev.RootVanished(title="Another one stands there", hint="Put it back.")
    assert Tell(title=other.title, hint=other.hint) in one.session.handle(other, world.now)
    world.write(two, A, b"meanwhile\n")
    world.run(5)
    assert content(one) == b"hello\n"
    world.post(one, ev.RootReturned(current=current))
    world.run(5)
    assert one.session.halt is None
    assert not one.session.root_gone
    assert content(one) == b"meanwhile\n"


def test_a_fetch_is_tried_again_within_ten_seconds() -> None:
    world, one, two = pair()
    world.write(two, A, b"new\n")
    world.run(5)
    peers, current = one.session.peers, one.session.current
    assert current is not None
    for _ in range(12):
        peers.failed(current.id, TITLE, 1000.0, most=FAILED_MOST)
    (peer,) = peers.all()
    assert peer.retry_at == 1000.0 + FAILED_MOST
    peers.failed(current.id, TITLE, 1000.0)
    assert peer.retry_at == 1000.0 + RETRY_MOST


def test_an_apply_that_finds_no_room_halts_until_it_does() -> None:
    world, one, two = pair()
    world.run(1)
    current = one.session.current
    assert current is not None
    stuck = ev.Integrated(theirs=current.id, current=current, complete=False, reason=TITLE, hint=HINT)
    commands = one.session.handle(stuck, world.now)
    assert Tell(title=TITLE, hint=HINT) in commands
    assert one.session.status().phase == "halted"
    world.write(two, A, b"new\n")
    world.run(15)
    assert content(one) == b"new\n"
    assert one.session.halt is None


def test_what_could_not_be_fetched_and_came_otherwise_halts_nothing_any_more() -> None:
    session = Session(SessionSettings(device=DeviceId("d0-0"), name="d0"))
    session.handle(ev.Started(current=None), 0.0)
    session.handle(ev.SnapshotTaken(snapshot=state(DeviceId("d0-0")), changed=True), 0.0)
    theirs = state(DeviceId("d1-1"))
    session.handle(ev.Announced(announcement=said_of(theirs), lane="lan", live=True), 1.0)
    failed = ev.SnapshotFetched(wanted=theirs.id, source="inline", snapshot=None, reason=TITLE, hint=HINT)
    session.handle(failed, 1.0)
    assert session.halt is not None
    session.handle(ev.SnapshotTaken(snapshot=theirs, changed=True), 2.0)
    assert session.halt is None
