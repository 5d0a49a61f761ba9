"""What the machine does not allow halts a session until it is allowed again."""

from __future__ import annotations

from autosync.core import events as ev
from autosync.core.commands import Tell
from autosync.core.session import FAILED_MOST
from autosync.core.sources import RETRY_MOST
from tests.core.test_session import A, content, pair

TITLE, HINT = "The disk / is full", "Make room there."


def test_a_fetch_that_finds_no_room_halts_until_one_succeeds() -> None:
    world, one, two = pair()
    world.run(1)
    world.write(two, A, b"new\n")
    two.linked = False
    session = one.session
    session.handle(ev.ShortageNoticed(what="announce", title="", hint=""), world.now)
    assert session.halt is None
    assert two.session.current is not None
    wanted = two.session.current.id
    fetched = ev.SnapshotFetched(wanted=wanted, source="peer", snapshot=None, reason=TITLE, hint=HINT)
    told = [c for c in session.handle(fetched, world.now) if isinstance(c, Tell)]
    assert told == [Tell(title=TITLE, hint=HINT)]
    assert session.status().phase == "halted"
    assert session.halt is not None
    assert (session.halt.title, session.halt.hint) == (TITLE, HINT)
    assert not [c for c in session.handle(fetched, world.now) if isinstance(c, Tell)]
    two.linked = True
    world.run(30)
    assert content(one) == b"new\n"
    assert session.halt is None


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
