"""What a session does when a command fails, is put back or has to wait."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autosync.core import events as ev
from autosync.core.commands import (
    Announce,
    Command,
    Commit,
    Fetch,
    Integrate,
    ListHub,
    MergeBranch,
    Push,
    SyncBranch,
    TakeSnapshot,
    Tell,
)
from autosync.core.events import PathHint, Touch
from autosync.core.integration import ANCESTORS
from autosync.core.model import Base, CommitId, DeviceId, RelPath, Snapshot, SnapshotId, TreeId, Version
from autosync.core.session import PATIENCE_WITH_PASSING, Session
from autosync.core.settings import Mode, SessionSettings
from tests.announcements import said_at

ME, OTHER = DeviceId("me-00000001"), DeviceId("you-00000002")
BASE = Base(commit=None, branch="refs/heads/main")
A = RelPath(b"a.txt")


def snapshot(name: str, mine: int, yours: int = 0, *, device: str = "me") -> Snapshot:
    return Snapshot(
        id=SnapshotId(name),
        tree=TreeId("t" + name),
        base=BASE,
        version=Version.of({ME: mine, OTHER: yours}),
        parents=(),
        device=device,
        time=0,
    )


def announcement(theirs: Snapshot, *, seq: int = 1, inline: bytes = b"pack", on_hub: bool = False) -> ev.Announced:
    return ev.Announced(
        announcement=said_at(theirs, OTHER, name="you", seq=seq, inline=inline, on_hub=on_hub),
        lane="lan",
    )


def of(commands: list[Command], kind: type) -> list[Command]:
    return [c for c in commands if isinstance(c, kind)]


def started(settings: SessionSettings | None = None) -> Session:
    """Return a session that is at its first snapshot and has nothing to do."""
    session = Session(settings or SessionSettings(device=ME, name="me"))
    assert session.status().phase == "stopped"
    (look,) = of(session.handle(ev.Started(current=None), 0.0), TakeSnapshot)
    assert look == TakeSnapshot(paths=None, current=None, above=0)
    session.handle(ev.HubListed(snapshots=()), 0.5)
    assert session.status().phase == "snapshotting"
    session.handle(ev.SnapshotTaken(snapshot=snapshot("s1", 1), changed=True), 1.0)
    assert session.status().phase == "watching"
    return session


def touch(session: Session, now: float) -> list[Command]:
    hints = (PathHint(path=A, touch=Touch.CLOSED),)
    return session.handle(ev.PathsChanged(hints=hints), now)


def failed(command: str, *, transient: bool) -> ev.CommandFailed:
    return ev.CommandFailed(command=command, title="The disk is full", hint="Make room.", transient=transient)


def test_a_failure_that_lasts_halts_and_is_told_once() -> None:
    session = started()
    touch(session, 2.0)
    assert session.handle(failed("TakeSnapshot", transient=False), 2.1)[0] == Tell(
        title="The disk is full", hint="Make room."
    )
    assert session.halt is not None
    assert session.status().phase == "halted"
    (again,) = of(session.handle(ev.TimePassed(), 10.0), TakeSnapshot)
    assert again == TakeSnapshot(paths=frozenset({A}), current=session.current, above=0)
    assert not of(session.handle(failed("TakeSnapshot", transient=False), 10.1), Tell)
    session.handle(ev.TimePassed(), 20.0)
    session.handle(ev.SnapshotTaken(snapshot=session.current, changed=False), 20.1)
    assert session.halt is None
    assert session.status().phase == "watching"


def test_a_failure_that_passes_is_told_when_it_does_not() -> None:
    session = started()
    told: list[Command] = []
    touch(session, 2.0)
    now = 2.0
    for _ in range(PATIENCE_WITH_PASSING + 3):
        now += 100
        session.handle(ev.TimePassed(), now)
        told += of(session.handle(failed("TakeSnapshot", transient=True), now), Tell)
    assert told == [Tell(title="The disk is full", hint="Make room.")]
    assert session.status().phase == "waiting"
    assert session.status().waiting_for == "The disk is full"


def test_a_whole_look_that_failed_is_a_whole_look_again() -> None:
    session = started()
    session.handle(ev.FlushAsked(), 2.0)
    session.handle(ev.UserBusy(reason="a rebase is in progress"), 2.1)
    assert session.status().phase == "waiting"
    (again,) = of(session.handle(ev.TimePassed(), 9.0), TakeSnapshot)
    assert again == TakeSnapshot(paths=None, current=session.current, above=0)


def test_phases_say_what_is_going_on() -> None:
    session = started()
    session.handle(ev.PathsChanged(hints=(PathHint(path=A, touch=Touch.WRITTEN),)), 2.0)
    assert session.status().phase == "settling"
    session.handle(ev.TimePassed(), 3.0)
    session.handle(ev.SnapshotTaken(snapshot=session.current, changed=False), 3.1)
    theirs = snapshot("s2", 1, 1, device="you")
    (fetch,) = of(session.handle(announcement(theirs), 4.0), Fetch)
    assert session.status().phase == "fetching"
    assert isinstance(fetch, Fetch)
    assert str(fetch.source) == "inline over lan"
    (integrate,) = of(
        session.handle(ev.SnapshotFetched(wanted=theirs.id, source="inline", snapshot=theirs), 4.1), Integrate
    )
    assert integrate == Integrate(current=snapshot("s1", 1), theirs=theirs, exact=True, above=1)
    assert session.status().phase == "applying"


def test_sources_are_tried_in_order_and_again_later() -> None:
    session = started()
    theirs = snapshot("s2", 1, 1, device="you")
    (first,) = of(session.handle(announcement(theirs, on_hub=True), 2.0), Fetch)
    nothing = ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=None, reason="no route")
    (second,) = of(session.handle(nothing, 2.1), Fetch)
    (third,) = of(session.handle(nothing, 2.2), Fetch)
    assert [str(c.source) for c in (first, second, third) if isinstance(c, Fetch)] == [
        "inline over lan",
        f"peer {OTHER}",
        f"hub {OTHER}",
    ]
    assert not of(session.handle(nothing, 2.3), Fetch)
    assert session.peers.all()[0].reason == "no route"
    assert session.status().waiting_for == "no route"
    deadline = session.deadline()
    assert deadline == pytest.approx(3.3)
    assert of(session.handle(ev.TimePassed(), 3.4), Fetch) == [first]


def test_replaced_files_are_looked_at_as_long_as_they_are_kept() -> None:
    session = started()
    (look,) = touch(session, 2.0)
    kept = ev.SnapshotTaken(snapshot=session.current, changed=False, keeps=True)
    now, waits = 2.0, []
    for _ in range(7):
        assert not session.handle(kept, now)
        due = session.deadline()
        assert due is not None
        (look,) = session.handle(ev.TimePassed(), due)
        assert look == TakeSnapshot(paths=frozenset(), current=session.current, above=0)
        waits.append(due - now)
        now = due
    assert waits == [3.0, 6.0, 12.0, 24.0, 48.0, 60.0, 60.0]
    session.handle(replace(kept, keeps=False), now)
    assert session.deadline() == 600.0


def test_a_fetch_that_nobody_waits_for_is_no_harm() -> None:
    session = started()
    assert not session.handle(ev.SnapshotFetched(wanted=SnapshotId("x"), source="", snapshot=None), 2.0)


def test_a_missing_ancestor_is_fetched_from_a_peer_and_done_without_if_nobody_has_it() -> None:
    session = started()
    theirs = snapshot("s2", 0, 1, device="you")
    session.handle(announcement(theirs), 2.0)
    session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), 2.1)
    wanted = SnapshotId("between")
    (fetch,) = of(session.handle(ev.AncestorMissing(theirs=theirs.id, ancestor=wanted), 2.2), Fetch)
    assert isinstance(fetch, Fetch)
    assert (fetch.wanted, str(fetch.source)) == (wanted, f"peer {OTHER}")
    (integrate,) = of(
        session.handle(ev.SnapshotFetched(wanted=wanted, source="", snapshot=None, reason="gone"), 2.3), Integrate
    )
    assert isinstance(integrate, Integrate)
    assert integrate.exact
    assert integrate.without == {wanted}


def test_a_missing_ancestor_waits_for_the_fetch_that_is_under_way() -> None:
    session = started()
    theirs, later = snapshot("s2", 0, 1, device="you"), snapshot("s4", 0, 2, device="you")
    session.handle(announcement(theirs), 2.0)
    session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), 2.1)
    assert of(session.handle(announcement(later, seq=2), 2.2), Fetch)
    wanted = SnapshotId("between")
    assert not session.handle(ev.AncestorMissing(theirs=theirs.id, ancestor=wanted), 2.3)
    (fetch,) = session.handle(ev.SnapshotFetched(wanted=later.id, source="", snapshot=later), 2.4)
    assert isinstance(fetch, Fetch)
    assert fetch.wanted == wanted


def test_not_every_state_in_between_is_asked_for() -> None:
    session = started()
    theirs = snapshot("s2", 0, 1, device="you")
    session.handle(announcement(theirs), 2.0)
    session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), 2.1)
    for number in range(ANCESTORS):
        between = snapshot(f"between {number}", 0, 1, device="you")
        (fetch,) = session.handle(ev.AncestorMissing(theirs=theirs.id, ancestor=between.id), 2.2)
        assert isinstance(fetch, Fetch)
        (integrate,) = session.handle(ev.SnapshotFetched(wanted=between.id, source="", snapshot=between), 2.3)
        assert isinstance(integrate, Integrate)
        assert integrate.exact
    (integrate,) = session.handle(ev.AncestorMissing(theirs=theirs.id, ancestor=SnapshotId("one more")), 2.4)
    assert isinstance(integrate, Integrate)
    assert not integrate.exact


def test_without_a_peer_to_ask_the_nearest_ancestor_at_hand_will_do() -> None:
    session = started(SessionSettings(device=ME, name="me", hub=True))
    theirs = snapshot("s2", 0, 1, device="you")
    session.handle(ev.HubListed(snapshots=((OTHER, theirs.id),)), 2.0)
    session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), 2.1)
    (integrate,) = of(
        session.handle(ev.AncestorMissing(theirs=theirs.id, ancestor=SnapshotId("between")), 2.2), Integrate
    )
    assert isinstance(integrate, Integrate)
    assert not integrate.exact


@pytest.mark.parametrize("how", ["incomplete", "failed"])
def test_what_the_others_saved_does_not_hold_back_what_is_saved_here(how: str) -> None:
    session = started()
    theirs = snapshot("s2", 0, 1, device="you")
    session.handle(announcement(theirs), 2.0)
    now = 2.1
    session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), now)
    for _ in range(7):
        session.handle(
            failed("Integrate", transient=True)
            if how == "failed"
            else ev.Integrated(theirs=theirs.id, current=snapshot("s1", 1), complete=False, reason="a.txt: busy"),
            now,
        )
        due = session.deadline()
        assert due is not None
        before, now = now, due
        assert of(session.handle(ev.TimePassed(), now), Integrate)
    assert now - before > 5
    session.handle(failed("Integrate", transient=True), now)
    assert session.status().phase == "waiting"
    assert of(touch(session, now + 5), TakeSnapshot)
    mine = snapshot("s3", 2)
    assert of(session.handle(ev.SnapshotTaken(snapshot=mine, changed=True), now + 5.1), Announce)
    assert session.deadline() == pytest.approx(now + 6.1)


def test_an_incomplete_integration_is_tried_again_later() -> None:
    session = started()
    theirs = snapshot("s2", 1, 1, device="you")
    session.handle(announcement(theirs), 2.0)
    session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), 2.1)
    mixed = snapshot("s3", 2)
    event = ev.Integrated(
        theirs=theirs.id, current=mixed, complete=False, again=frozenset({A}), changed_paths=1, reason="a.txt: busy"
    )
    assert not of(session.handle(event, 2.2), Integrate)
    assert session.status().waiting_for == "a.txt: busy"
    (look,) = of(session.handle(ev.TimePassed(), 6.0), TakeSnapshot)
    assert isinstance(look, TakeSnapshot)
    assert look.paths == {A}
    (again,) = of(session.handle(ev.SnapshotTaken(snapshot=mixed, changed=False), 6.1), Integrate)
    assert isinstance(again, Integrate)
    assert again.current == mixed


def test_replaced_files_are_looked_at_for_late_writers() -> None:
    session = started()
    theirs = snapshot("s2", 1, 1, device="you")
    session.handle(announcement(theirs), 2.0)
    session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), 2.1)
    session.handle(ev.Integrated(theirs=theirs.id, current=theirs, complete=True, changed_paths=1), 2.2)
    assert session.deadline() == pytest.approx(5.2)
    assert session.handle(ev.TimePassed(), 5.3) == [TakeSnapshot(paths=frozenset(), current=theirs, above=1)]


def test_the_conservative_way_looks_at_everything_after_an_apply() -> None:
    session = started(SessionSettings(device=ME, name="me", conservative=True))
    theirs = snapshot("s2", 1, 1, device="you")
    session.handle(announcement(theirs), 2.0)
    session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), 2.1)
    commands = session.handle(ev.Integrated(theirs=theirs.id, current=theirs, complete=True), 2.2)
    assert of(commands, TakeSnapshot) == [TakeSnapshot(paths=None, current=theirs, above=1)]


def test_a_hub_that_says_no_is_told_once_and_asked_rarely() -> None:
    session = started(SessionSettings(device=ME, name="me", hub=True))
    assert of(session.handle(ev.TimePassed(), 4.0), Push) == [Push(snapshot=SnapshotId("s1"))]
    no = ev.CommandFailed(command="Push", title="The hub refuses", hint="Ask its owner.", transient=False)
    assert session.handle(no, 4.1) == [Tell(title="The hub refuses", hint="Ask its owner.")]
    assert session.handle(no, 4.2) == []
    assert not of(session.handle(ev.TimePassed(), 200.0), Push)
    session.handle(ev.FlushAsked(), 201.0)
    session.handle(ev.SnapshotTaken(snapshot=session.current, changed=False), 201.1)
    assert session.status().waiting_for == ""


def test_a_flush_hurries_the_hub() -> None:
    session = started(SessionSettings(device=ME, name="me", hub=True))
    commands = session.handle(ev.FlushAsked(), 1.5)
    assert of(commands, Push) == [Push(snapshot=SnapshotId("s1"))]
    session.handle(ev.Pushed(snapshot=SnapshotId("s1")), 1.6)
    assert session.is_on_hub()
    assert not of(session.handle(ev.FlushAsked(), 1.7), Push)


def test_a_hub_listing_that_fails_is_tried_again() -> None:
    session = started(SessionSettings(device=ME, name="me", hub=True))
    gone = ev.CommandFailed(command="ListHub", title="The hub is away", hint="", transient=True)
    session.handle(ev.AnnouncementsAsked(), 2.0)
    assert session.handle(gone, 2.1) == []
    assert session.status().waiting_for == "The hub is away"
    assert of(session.handle(ev.TimePassed(), 3.5), ListHub) == [ListHub()]


def test_without_a_hub_its_events_do_nothing() -> None:
    session = started()
    assert session.handle(ev.Pushed(snapshot=SnapshotId("s1")), 2.0) == []
    assert session.handle(ev.HubListed(snapshots=()), 2.0) == []
    assert not session.is_on_hub()


AUTO = SessionSettings(device=ME, name="me", auto_commit=True, commit_after=5.0)


def test_commits_come_after_quiet_and_are_put_back_when_git_is_busy() -> None:
    session = started(AUTO)
    (commit,) = of(session.handle(ev.TimePassed(), 7.0), Commit)
    assert commit == Commit(current=snapshot("s1", 1), above=0)
    session.handle(ev.UserBusy(reason="a merge is in progress"), 7.1)
    assert of(session.handle(ev.TimePassed(), 9.0), Commit) == [commit]
    session.handle(ev.BranchSettled(current=snapshot("s2", 2)), 9.1)
    assert session.current == snapshot("s2", 2)
    assert not of(session.handle(ev.TimePassed(), 500.0), Commit)


def test_after_a_commit_the_branch_goes_to_the_hub_and_once_more_if_it_moved() -> None:
    session = started(replace(AUTO, hub=True))
    assert of(session.handle(ev.TimePassed(), 7.0), Commit)
    (sync,) = of(session.handle(ev.BranchSettled(current=snapshot("s2", 2)), 7.1), SyncBranch)
    assert sync == SyncBranch(current=snapshot("s2", 2), above=0)
    assert not of(session.handle(ev.BranchSettled(current=snapshot("s2", 2), behind=True), 7.2), SyncBranch)
    assert of(session.handle(ev.TimePassed(), 13.0), SyncBranch) == [sync]


def test_a_commit_that_may_be_described_waits_with_its_push() -> None:
    session = started(replace(AUTO, hub=True))
    session.handle(ev.TimePassed(), 7.0)
    session.handle(ev.DescriptionAwaited(seconds=30.0), 7.1)
    assert not of(session.handle(ev.BranchSettled(current=snapshot("s2", 2)), 7.1), SyncBranch)
    assert not of(session.handle(ev.TimePassed(), 36.0), SyncBranch)
    assert of(session.handle(ev.DescriptionAwaited(seconds=0.0), 36.1), SyncBranch)
    assert started().handle(ev.DescriptionAwaited(seconds=30.0), 7.1) == []  # who makes no commits waits for none


def test_a_failed_commit_waits_for_the_next_turn() -> None:
    session = started(AUTO)
    session.handle(ev.TimePassed(), 7.0)
    session.handle(failed("Commit", transient=True), 7.1)
    assert not of(session.handle(ev.TimePassed(), 9.0), Commit)
    assert of(session.handle(ev.TimePassed(), 13.0), Commit)


def test_of_two_diverged_devices_the_first_by_id_merges() -> None:
    theirs = snapshot("s2", 0, 1, device="you")
    merging: list[list[Command]] = []
    for device in (DeviceId("a-00000000"), DeviceId("z-00000000")):
        session = started(replace(AUTO, device=device))
        session.handle(announcement(theirs), 2.0)
        session.handle(ev.SnapshotFetched(wanted=theirs.id, source="", snapshot=theirs), 2.1)
        commands = session.handle(ev.BranchesDiverged(theirs=theirs.id, reason="diverged", hint="merge"), 2.2)
        merging.append(of(commands, MergeBranch))
        if merging[-1]:
            told = session.handle(ev.BranchesDiverged(theirs=theirs.id, reason="diverged", hint="merge"), 2.3)
            assert told == []
    assert [len(m) for m in merging] == [1, 0]


def test_divergence_without_a_state_of_our_own_is_nothing() -> None:
    session = Session(SessionSettings(device=ME, name="me"))
    assert session.handle(ev.BranchesDiverged(theirs=SnapshotId("x"), reason="r", hint="h"), 0.0) == []


def test_a_listing_of_what_was_announced_adds_the_hub_as_a_source() -> None:
    session = started(SessionSettings(device=ME, name="me", hub=True))
    theirs = snapshot("s2", 1, 1, device="you")
    session.handle(announcement(theirs, inline=b""), 2.0)
    session.handle(ev.HubListed(snapshots=((OTHER, theirs.id), (ME, SnapshotId("s0")))), 2.1)
    assert session.status().hub == "s0"
    assert [p.on_hub for p in session.peers.all()] == [True]


def test_versions_know_what_they_contain() -> None:
    assert Version.of({ME: 1, OTHER: 2}).count(OTHER) == 2
    assert Version.of({ME: 1}).count(OTHER) == 0
    assert Version.of({ME: 3}).bump(ME, above=7).count(ME) == 8


def test_whoever_says_hello_is_answered_once() -> None:
    session = started()
    (hello,) = of(session.handle(ev.AnnouncementsAsked(), 2.0), Announce)
    assert isinstance(hello, Announce)
    assert hello.state == "hello"
    theirs = announcement(snapshot("s1", 1))
    greeting = replace(theirs, announcement=replace(theirs.announcement, state="hello"))
    (answer,) = of(session.handle(greeting, 3.0), Announce)
    assert isinstance(answer, Announce)
    assert answer.state == "ok"
    assert [(p.state, p.seen) for p in session.peers.all()] == [("ok", 3.0)]
    assert not of(session.handle(theirs, 4.0), Announce)


def test_kept_words_do_not_make_a_device_present() -> None:
    session = started()
    theirs = announcement(snapshot("s2", 1, 1, device="you"), inline=b"")
    greeting = replace(theirs, announcement=replace(theirs.announcement, state="hello"), live=False)
    commands = session.handle(greeting, 3.0)
    assert not of(commands, Announce)
    assert [str(c.source) for c in of(commands, Fetch) if isinstance(c, Fetch)] == [f"peer {OTHER}"]
    assert [p.seen for p in session.peers.all()] == [0.0]


def test_polling_of_git_does_not_hold_a_save_back_for_long() -> None:
    session = started()
    touch(session, 2.0)
    session.handle(ev.SnapshotTaken(snapshot=session.current, changed=False), 2.001)
    session.handle(ev.PathsChanged(hints=(PathHint(path=RelPath(b"b.txt"), touch=Touch.WRITTEN),)), 2.01)
    now, looks = 2.02, []
    while now < 4.0 and not looks:
        looks = of(session.handle(ev.MetadataChanged(), now), TakeSnapshot)
        looks += of(session.handle(ev.TimePassed(), now), TakeSnapshot)
        now += 0.02
    assert now == pytest.approx(3.06, abs=0.05)


@pytest.mark.parametrize(
    ("mode", "theirs", "waiting"),
    [
        (Mode.TWO_WAY, snapshot("s1", 1), 0),
        (Mode.TWO_WAY, snapshot("s2", 1, 1), 1),
        (Mode.SEND, snapshot("s2", 1, 1), 0),
        (Mode.SEND, snapshot("s2", 0, 1), 1),
        (Mode.RECEIVE, snapshot("s2", 1, 1), 1),
        (Mode.RECEIVE, snapshot("s0", 0), 0),
    ],
)
def test_what_counts_as_confirmed_depends_on_the_mode(mode: Mode, theirs: Snapshot, waiting: int) -> None:
    session = started(SessionSettings(device=ME, name="me", mode=mode))
    session.handle(announcement(theirs, inline=b""), 2.0)
    assert len(session.unconfirmed()) == waiting


@pytest.mark.parametrize(("base", "waiting"), [("c0", 1), ("c1", 0)])
def test_a_peer_with_the_same_files_has_confirmed_once_it_has_our_commit(base: str, waiting: int) -> None:
    """One that only sends never has all that we have."""
    session = started()
    assert session.current is not None
    session.current = replace(session.current, base=Base(commit=CommitId("c1"), branch=None))
    theirs = replace(snapshot("s1", 1), id=SnapshotId("s0"), base=Base(commit=CommitId(base), branch=None))
    session.handle(announcement(replace(theirs, version=Version())), 2.0)
    assert theirs.tree == session.current.tree
    assert len(session.unconfirmed()) == waiting


def test_a_peer_that_keeps_its_edits_to_itself_is_not_waited_for() -> None:
    session = started()
    said = announcement(snapshot("s2", 1, 1))
    session.handle(replace(said, announcement=replace(said.announcement, snapshot=None)), 2.0)
    assert session.unconfirmed() == ()


def test_before_the_first_look_nobody_has_confirmed() -> None:
    session = Session(SessionSettings(device=ME, name="me"))
    session.handle(announcement(snapshot("s2", 0, 1)), 0.0)
    assert len(session.unconfirmed()) == 1


def test_a_settled_branch_is_the_new_state_whoever_asked_for_it() -> None:
    session = started()
    session.handle(ev.BranchSettled(current=snapshot("s2", 2)), 2.0)
    assert session.current == snapshot("s2", 2)


def test_a_save_does_not_put_off_the_look_at_replaced_files() -> None:
    session = started()
    touch(session, 2.0)
    session.handle(ev.SnapshotTaken(snapshot=session.current, changed=False, keeps=True), 2.1)
    due = session.deadline()
    touch(session, 3.0)
    session.handle(ev.SnapshotTaken(snapshot=session.current, changed=False, keeps=True), 3.1)
    assert session.deadline() == due


def test_the_bases_of_peers_are_known() -> None:
    session = started()
    said = announcement(snapshot("s2", 1, 1))
    there = Base(commit=CommitId("c" * 40), branch="refs/heads/main")
    session.handle(replace(said, announcement=replace(said.announcement, base=there)), 2.0)
    assert session.peers.bases() == {there.commit}


def test_what_is_saved_does_not_wait_for_a_branch_that_cannot_be_pushed() -> None:
    session = started(replace(AUTO, hub=True, rescan=1e9))
    session.handle(ev.TimePassed(), 7.0)
    (_sync,) = of(session.handle(ev.BranchSettled(current=snapshot("s2", 2)), 7.1), SyncBranch)
    for number in range(1, 9):
        now = 100.0 * number
        session.handle(failed("SyncBranch", transient=True), now)
        assert session.status().waiting_for == failed("SyncBranch", transient=True).title
        said = session.handle(ev.PathsChanged(hints=(PathHint(path=A, touch=Touch.CLOSED),)), now)
        assert of(said + session.handle(ev.TimePassed(), now + 0.1), TakeSnapshot)
        assert not of(
            session.handle(ev.SnapshotTaken(snapshot=snapshot("s2", 2), changed=False), now + 0.2), SyncBranch
        )
        assert of(session.handle(ev.TimePassed(), now + 50.0), SyncBranch)


def test_a_branch_is_tried_again_at_once_when_the_user_asks() -> None:
    session = started(AUTO)
    session.handle(ev.TimePassed(), 7.0)
    for _ in range(4):
        session.handle(failed("Commit", transient=True), 7.1)
    assert of(session.handle(ev.FlushAsked(), 7.2), TakeSnapshot)
    session.handle(ev.SnapshotTaken(snapshot=snapshot("s1", 1), changed=False), 7.3)
    assert of(session.handle(ev.TimePassed(), 7.1 + AUTO.commit_after), Commit)
