"""Where a snapshot is asked for first, and what becomes of it when those who have it are busy."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import FrameType

from autosync.core.commands import Command, Fetch, Source, SourceKind
from autosync.core.events import AncestorMissing, Announced, PeersRanked, SnapshotFetched
from autosync.core.fetches import Fetches
from autosync.core.integration import Integration
from autosync.core.model import Base, DeviceId, Snapshot, SnapshotId, TreeId, Version
from autosync.core.session import Session
from autosync.core.settings import SessionSettings
from autosync.core.sources import Peers
from tests.announcements import said_by

WANTED = SnapshotId("wanted")
NEAR, FAR, OTHER = DeviceId("near"), DeviceId("far"), DeviceId("another")


def heard(device: DeviceId, *, same_store: bool = False, inline: bytes = b"", on_hub: bool = False) -> Announced:
    said = said_by(
        device,
        snapshot=WANTED,
        tree=TreeId("t"),
        version=Version.of({device: 1}),
        inline=inline,
        on_hub=on_hub,
    )
    return Announced(announcement=said, lane="lan", same_store=same_store)


def peers_at_wanted(*devices: DeviceId) -> Peers:
    peers = Peers()
    for device in devices:
        peers.announced(heard(device), 0.0)
    return peers


def asked(peers: Peers, now: float = 0.0) -> list[DeviceId]:
    return [source.device for source in peers.sources(WANTED, now)]


def at(device: str, snapshot: str, count: int, *, state: str = "ok") -> Announced:
    said = heard(DeviceId(device)).announcement
    version = Version.of({NEAR: count})
    said = replace(said, snapshot=SnapshotId(snapshot), version=version, state=state)
    return Announced(announcement=said, lane="lan")


def test_what_peers_have_reached_is_the_oldest_and_the_newest_of_their_states() -> None:
    peers = Peers()
    assert peers.reached() == ()
    peers.announced(at("one", "fifth", 5), 0.0)
    assert peers.reached() == (SnapshotId("fifth"),)
    peers.announced(at("two", "third", 3), 0.0)
    peers.announced(at("three", "fourth", 4), 0.0)
    assert peers.reached() == (SnapshotId("third"), SnapshotId("fifth"))
    peers.announced(at("away", "first", 1, state="stopped"), 0.0)
    assert peers.reached() == (SnapshotId("first"), SnapshotId("fifth"))
    peers.announced(at("away", "fifth", 5, state="stopped"), 0.0)
    peers.announced(at("two", "fifth", 5), 0.0)
    peers.announced(at("three", "fifth", 5), 0.0)
    assert peers.reached() == (SnapshotId("fifth"),)


def test_what_was_compared_once_is_not_compared_again_until_somebody_moves_on() -> None:
    devices = [DeviceId(f"d{n}") for n in range(40)]
    peers = peers_at_wanted(*devices)
    current = Snapshot(
        id=SnapshotId("ours"),
        tree=TreeId("t"),
        base=Base(commit=None, branch=None),
        version=Version.of(dict.fromkeys(devices[1:], 1)),
        parents=(),
        device="us",
        time=0,
    )
    calls = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code is Version.compare.__code__

    def asked_for(current: Snapshot) -> tuple[list[DeviceId], int]:
        nonlocal calls
        calls = 0
        sys.setprofile(count)
        found = peers.news(current)
        sys.setprofile(None)
        return [peer.device for peer in found], calls

    assert asked_for(current) == ([devices[0]], 40)
    assert asked_for(current) == ([devices[0]], 0)
    moved = replace(heard(devices[5]).announcement, snapshot=SnapshotId("newer"), version=Version.of({devices[5]: 2}))
    peers.announced(Announced(announcement=moved, lane="lan"), 1.0)
    assert asked_for(current) == ([devices[0], devices[5]][::-1], 1)
    peers.fetched(replace(current, id=SnapshotId("newer"), version=Version.of({devices[5]: 1})))
    assert asked_for(current) == ([devices[0]], 1)
    assert asked_for(replace(current, version=Version()))[1] == 40


def source_of(commands: list[Command]) -> Source:
    (fetch,) = commands
    assert isinstance(fetch, Fetch)
    return fetch.source


def busy(seconds: float) -> SnapshotFetched:
    return SnapshotFetched(wanted=WANTED, source="", snapshot=None, reason="serves others first", busy_for=seconds)


FAILED = SnapshotFetched(wanted=WANTED, source="", snapshot=None, reason="gone")


def test_the_nearest_is_asked_first_and_who_is_not_linked_last() -> None:
    peers = peers_at_wanted(FAR, NEAR, OTHER)
    assert asked(peers) == [OTHER, FAR, NEAR]
    peers.ranked((NEAR, FAR))
    assert asked(peers) == [NEAR, FAR, OTHER]
    assert [source.device for source in peers.direct(WANTED, 0.0)] == [NEAR, FAR, OTHER]


def test_a_session_learns_who_is_near() -> None:
    session = Session(SessionSettings(device=DeviceId("me"), name="me"))
    session.handle(heard(FAR), 0.0)
    session.handle(heard(NEAR), 0.0)
    assert session.handle(PeersRanked(order=(NEAR, FAR)), 0.0) == []
    assert asked(session.peers) == [NEAR, FAR]


def test_what_is_in_the_store_in_common_is_fetched_from_nobody() -> None:
    peers = Peers()
    peers.announced(heard(FAR, inline=b"pack", on_hub=True), 0.0)
    peers.announced(heard(NEAR, same_store=True), 0.0)
    sources = peers.sources(WANTED, 0.0)
    kinds = [SourceKind.STORE, SourceKind.INLINE, SourceKind.PEER, SourceKind.PEER, SourceKind.HUB]
    assert [source.kind for source in sources] == kinds
    assert [str(source) for source in sources[:2]] == ["the store in common", "inline over lan"]
    assert sources[0].device == NEAR


def test_no_content_is_announced_if_all_have_it_at_hand() -> None:
    peers = Peers()
    assert not peers.share_store()
    peers.announced(heard(NEAR, same_store=True), 0.0)
    assert peers.share_store()
    peers.announced(heard(FAR), 0.0)
    assert not peers.share_store()


def test_who_is_busy_is_asked_after_the_others_and_again_in_time() -> None:
    peers = peers_at_wanted(NEAR, FAR)
    peers.ranked((NEAR, FAR))
    fetches = Fetches(peers, Integration())
    news = list(peers.all())
    assert source_of(fetches.commands(news, 1.0)).device == NEAR
    assert source_of(fetches.ended(busy(3.0), 1.0)).device == FAR
    assert fetches.ended(busy(2.0), 1.5) == []
    assert [(p.device, p.failures, p.misses, p.reason) for p in news] == [(FAR, 0, 0, ""), (NEAR, 0, 0, "")]
    assert fetches.commands(news, 2.0) == []
    assert set(fetches.times(news)) == {3.5}
    assert source_of(fetches.commands(news, 3.5)).device == FAR


def test_a_failure_beside_a_busy_source_is_no_reason_to_wait_longer() -> None:
    peers = peers_at_wanted(NEAR, FAR)
    peers.ranked((NEAR, FAR))
    fetches = Fetches(peers, Integration())
    news = list(peers.all())
    fetches.commands(news, 1.0)
    fetches.ended(busy(2.0), 1.0)
    assert fetches.ended(FAILED, 1.1) == []
    assert {p.retry_at for p in news} == {3.0}


def test_only_what_nobody_has_time_for_waits() -> None:
    peers = peers_at_wanted(NEAR)
    elsewhere = heard(FAR)
    peers.announced(replace(elsewhere, announcement=replace(elsewhere.announcement, snapshot=SnapshotId("x"))), 0.0)
    peers.postponed(WANTED, 5.0)
    assert {p.device: p.retry_at for p in peers.all()} == {NEAR: 5.0, FAR: 0.0}


def test_whoever_has_it_next_is_asked_at_once() -> None:
    peers = peers_at_wanted(NEAR)
    fetches = Fetches(peers, Integration())
    fetches.commands(list(peers.all()), 1.0)
    fetches.ended(busy(5.0), 1.0)
    peers.announced(heard(OTHER), 1.2)
    assert source_of(fetches.commands(list(peers.all()), 1.2)).device == OTHER
    # The one that was busy comes after it, however near it is.
    peers.ranked((NEAR, OTHER))
    assert asked(peers, 1.2) == [OTHER, NEAR]
    assert source_of(fetches.ended(FAILED, 1.3)).device == NEAR


def test_who_was_busy_once_is_near_again_when_its_time_is_over() -> None:
    peers = peers_at_wanted(NEAR, FAR)
    peers.ranked((NEAR, FAR))
    peers.busy(NEAR, 5.0)
    assert asked(peers, 4.9) == [FAR, NEAR]
    assert asked(peers, 5.0) == [NEAR, FAR]


def test_who_fails_to_give_what_it_has_is_asked_after_the_others_for_longer_and_longer() -> None:
    peers = peers_at_wanted(NEAR, FAR)
    peers.ranked((NEAR, FAR))
    fetches = Fetches(peers, Integration())
    now = 1.0
    for wait in (30.0, 60.0, 120.0):
        assert source_of(fetches.commands(list(peers.all()), now)).device == NEAR
        assert source_of(fetches.ended(FAILED, now)).device == FAR
        fetches.ended(busy(0.1), now)
        assert asked(peers, now + wait - 0.1) == [FAR, NEAR]
        now += wait
        assert asked(peers, now) == [NEAR, FAR]
    peers.lapsed(NEAR, now)
    peers.gave(NEAR)
    assert asked(peers, now) == [NEAR, FAR]
    fetches.commands(list(peers.all()), now)
    fetches.ended(replace(FAILED, hint="Make room"), now)
    assert asked(peers, now) == [NEAR, FAR], "what this machine did not allow is no fault of a peer"


def test_a_fetch_that_succeeds_makes_up_for_those_that_failed() -> None:
    peers = peers_at_wanted(NEAR, FAR)
    peers.ranked((NEAR, FAR))
    peers.lapsed(NEAR, 1.0)
    peers.lapsed(FAR, 2.0)
    fetches = Fetches(peers, Integration())
    assert source_of(fetches.commands(list(peers.all()), 3.0)).device == NEAR
    here = Snapshot(
        id=WANTED,
        tree=TreeId("t"),
        base=Base(commit=None, branch=None),
        version=Version.of({NEAR: 1}),
        parents=(),
        device="near",
        time=0,
    )
    fetches.ended(replace(FAILED, snapshot=here, reason=""), 4.0)
    assert {p.device: p.lapses for p in peers.all()} == {NEAR: 0, FAR: 1}


def test_a_merge_waits_for_a_state_that_a_busy_device_has() -> None:
    peers = peers_at_wanted(NEAR)
    integration = Integration()
    fetches = Fetches(peers, integration)
    missing = AncestorMissing(theirs=WANTED, ancestor=SnapshotId("between"))
    integration.ancestor_missing(missing)
    assert source_of(fetches.commands([], 1.0)).device == NEAR
    assert fetches.for_ancestor
    assert fetches.ended(replace(busy(2.0), wanted=missing.ancestor), 1.0) == []
    assert fetches.commands([], 2.9) == []
    assert integration.missing == missing
    assert fetches.times([]) == [3.0]
    assert source_of(fetches.commands([], 3.0)).device == NEAR
    assert fetches.ended(replace(FAILED, wanted=missing.ancestor), 3.1) == []
    assert integration.missing is None


def test_what_came_with_an_announcement_does_not_wait_for_a_transfer() -> None:
    peers = peers_at_wanted(NEAR)
    fetches = Fetches(peers, Integration())
    assert source_of(fetches.commands(list(peers.all()), 1.0)).kind is SourceKind.PEER
    assert fetches.commands(list(peers.all()), 1.0) == [], "at most one transfer"
    small = replace(heard(FAR, inline=b"pack").announcement, snapshot=SnapshotId("small"))
    peers.announced(Announced(announcement=small, lane="lan"), 1.0)
    large = replace(heard(OTHER).announcement, snapshot=SnapshotId("another"))
    peers.announced(Announced(announcement=large, lane="lan"), 1.0)
    news = list(peers.all())
    (beside,) = fetches.commands(news, 1.0)
    source = Source(kind=SourceKind.INLINE, device=FAR, pack=b"pack", lane="lan")
    assert beside == Fetch(wanted=SnapshotId("small"), source=source)
    assert fetches.commands(news, 1.0) == []
    assert fetches.ended(replace(FAILED, wanted=SnapshotId("small")), 1.0) == []
    assert fetches.under_way
    assert fetches.commands(news, 1.5) == [], "what failed is not tried again at once"
    assert fetches.commands(news, 9.0) == [beside]
    here = Snapshot(
        id=SnapshotId("small"),
        tree=TreeId("t"),
        base=Base(commit=None, branch=None),
        version=Version.of({FAR: 1}),
        parents=(),
        device="far",
        time=0,
    )
    assert fetches.ended(replace(FAILED, wanted=here.id, snapshot=here, reason=""), 9.0) == []
    assert {p.device: p.here for p in peers.all()} == {NEAR: None, FAR: here, OTHER: None}
    assert fetches.ended(replace(FAILED, wanted=here.id), 9.0) == []
    assert fetches.under_way, "that it could not be kept is not the end of the transfer"
    assert fetches.commands([p for p in news if p.here is None], 9.1) == []
    fetches.ended(FAILED, 9.2)
    assert not fetches.under_way


def test_nothing_goes_beside_what_is_at_hand_or_what_a_merge_needs() -> None:
    peers = Peers()
    peers.announced(heard(NEAR, inline=b"pack"), 0.0)
    small = replace(heard(FAR, inline=b"pack").announcement, snapshot=SnapshotId("small"))
    peers.announced(Announced(announcement=small, lane="lan"), 0.0)
    news = list(peers.all())
    fetches = Fetches(peers, Integration())
    assert source_of(fetches.commands(news, 1.0)).kind is SourceKind.INLINE
    assert fetches.commands(news, 1.0) == []
    integration = Integration()
    integration.ancestor_missing(AncestorMissing(theirs=WANTED, ancestor=SnapshotId("between")))
    fetches = Fetches(peers, integration)
    assert source_of(fetches.commands(news, 1.0)).kind is SourceKind.PEER
    assert fetches.commands(news, 1.0) == []
