"""When a working copy that is kept by commands is committed, pulled and pushed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core import events as ev
from autosync.core.commanded.session import (
    LAST_RETRY,
    MOST_PEERS,
    Command,
    CommandedEvent,
    CommandedSession,
    CommandedSettings,
    Finished,
    Opened,
    Perform,
    Say,
    Work,
)
from autosync.core.model import DeviceId, RelPath, Version
from autosync.core.session import Session
from autosync.core.settings import Halt, SessionSettings
from tests.announcements import said_by

ME, OTHER = DeviceId("me-1"), DeviceId("other-1")
RECORD, PULL, PUSH = Perform(Work.RECORD), Perform(Work.PULL), Perform(Work.PUSH)
WHOLE = Perform(Work.RECORD, whole=True)
OFFLINE = Halt(title="`vcs push` failed with exit code 1: no route", hint="It is tried again.")
HINT = ev.PathsChanged(hints=(ev.PathHint(path=RelPath(b"a"), touch=ev.Touch.WRITTEN),))
SETTINGS = CommandedSettings(device=ME, commit_after=10.0, poll=60.0, rescan=600.0)


def said(
    count: int, *, mine: int = 0, device: DeviceId = OTHER, remote: str | None = "hub", live: bool = True
) -> ev.Announced:
    announcement = said_by(
        device, name="other", state="watching", version=Version.of({device: count, ME: mine}), remote=remote
    )
    return ev.Announced(announcement=announcement, lane="lan", live=live)


class Scene:
    """A machine and its clock."""

    def __init__(self, settings: CommandedSettings = SETTINGS) -> None:
        self.machine = CommandedSession(settings, first=1000, draw=lambda: 1.0)
        self.now = 0.0

    def at(self, now: float, event: CommandedEvent) -> list[Command]:
        self.now = now
        return self.machine.handle(event, now)

    def then(self, event: CommandedEvent) -> list[Command]:
        return self.machine.handle(event, self.now)

    def wait(self) -> list[Command]:
        """Let time pass until something is due."""
        deadline = self.machine.deadline()
        assert deadline is not None
        return self.at(max(self.now, deadline), ev.TimePassed())


def begun(settings: CommandedSettings = SETTINGS) -> Scene:
    """Return a scene in which the start is over and nothing is left to be done."""
    scene = Scene(settings)
    assert scene.at(0.0, Opened()) == [WHOLE]
    assert scene.then(Finished(work=Work.RECORD)) == [PULL]
    assert scene.then(Finished(work=Work.PULL)) == [PUSH]
    assert scene.then(Finished(work=Work.PUSH)) == [Say("watching", Version.of({ME: 1001}))]
    assert scene.machine.quiet()
    return scene


def test_nothing_happens_before_the_working_copy_is_open() -> None:
    scene = Scene()
    assert scene.at(0.0, HINT) == []
    assert scene.at(5.0, said(3)) == []
    assert scene.machine.deadline() is None


def test_a_change_is_committed_when_it_has_settled_and_then_pushed_and_told() -> None:
    scene = begun()
    assert scene.at(20.0, HINT) == []
    assert scene.machine.status().phase == "settling"
    assert scene.machine.deadline() == 30.0
    assert scene.at(25.0, HINT) == []
    assert scene.at(34.9, ev.TimePassed()) == []
    assert scene.wait() == [RECORD]
    assert (scene.now, scene.machine.status().phase) == (35.0, "committing")
    assert scene.machine.deadline() is None
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PUSH]
    assert scene.then(Finished(work=Work.PUSH)) == [Say("watching", Version.of({ME: 1002}))]
    assert scene.machine.quiet()


def test_nothing_is_pushed_when_there_was_nothing_to_commit() -> None:
    scene = begun()
    scene.at(20.0, HINT)
    assert scene.wait() == [RECORD]
    assert scene.then(Finished(work=Work.RECORD)) == []
    assert scene.machine.quiet()


def test_who_never_rests_is_committed_all_the_same() -> None:
    scene = begun()
    committed = []
    for second in range(1, 300):
        if RECORD in scene.at(float(second), HINT):
            committed.append(second)
            scene.then(Finished(work=Work.RECORD))
        if scene.machine.busy is not None:
            scene.then(Finished(work=scene.machine.busy))
    # Each poll commits what is there before it pulls; without it ten times `commit-after` is the most.
    assert committed == [60, 120, 180, 240]


def test_who_never_rests_and_never_pulls_waits_ten_times_as_long() -> None:
    scene = Scene(replace(SETTINGS, can_pull=False, can_push=False))
    assert scene.at(0.0, Opened()) == [WHOLE]
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == []
    found = [second for second in range(1, 150) if scene.at(float(second), HINT)]
    assert found == [101]
    assert scene.machine.status().phase == "committing"


def test_news_of_a_peer_is_pulled_after_what_is_mine_was_committed() -> None:
    scene = begun()
    scene.at(20.0, HINT)
    assert scene.at(21.0, said(5)) == [RECORD]
    assert not scene.machine.quiet()
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PULL]
    have = Version.of({ME: 1001, OTHER: 5})
    # The files are other ones now: a look at everything finds what the user did meanwhile.
    told = scene.then(Finished(work=Work.PULL, touched=True))
    assert told == [Say("settling", have), WHOLE]
    assert scene.then(Finished(work=Work.RECORD)) == [PUSH]
    assert scene.then(Finished(work=Work.PUSH)) == [Say("watching", have.bump(ME))]
    assert scene.at(22.0, said(5)) == []


def test_what_was_said_while_it_pulled_is_pulled_again() -> None:
    scene = begun()
    assert scene.at(1.0, said(5)) == [PULL]
    assert scene.then(said(6)) == []
    assert scene.then(Finished(work=Work.PULL)) == [Say("watching", Version.of({ME: 1001, OTHER: 5})), PULL]
    assert scene.then(Finished(work=Work.PULL)) == [Say("watching", Version.of({ME: 1001, OTHER: 6}))]


def test_a_pull_that_brings_nothing_is_not_told() -> None:
    scene = begun()
    assert scene.wait() == [PULL]
    assert scene.now == 60.0
    assert scene.then(Finished(work=Work.PULL)) == []
    assert scene.machine.deadline() == 120.0


def test_conservative_looks_at_everything_after_each_pull() -> None:
    scene = begun(replace(SETTINGS, conservative=False))
    cautious = Scene(replace(SETTINGS, conservative=True))
    assert scene.machine.settings != cautious.machine.settings
    assert cautious.at(0.0, Opened()) == [WHOLE]
    assert cautious.then(Finished(work=Work.RECORD)) == [PULL]
    assert cautious.then(Finished(work=Work.PULL)) == [WHOLE]


def test_a_push_that_is_refused_pulls_and_pushes_again() -> None:
    scene = begun()
    scene.at(20.0, HINT)
    assert scene.wait() == [RECORD]
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PUSH]
    assert scene.then(Finished(work=Work.PUSH, problem=OFFLINE)) == [PULL]
    assert scene.machine.status().waiting_for == f"{OFFLINE.title} ({OFFLINE.hint})"
    assert scene.then(Finished(work=Work.PULL, touched=True)) == [WHOLE]
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PUSH]
    assert scene.then(Finished(work=Work.PUSH)) == [Say("watching", Version.of({ME: 1002}))]
    assert scene.machine.status().waiting_for == ""


def test_a_push_that_is_always_refused_is_tried_ever_less_often() -> None:
    scene = begun()
    assert scene.at(1.0, ev.FlushAsked()) == [PULL]
    scene.machine._unpushed = True
    scene.then(Finished(work=Work.PULL))
    waits, last = [], scene.now
    while len(waits) < 12:
        assert scene.machine.busy is Work.PUSH
        scene.then(Finished(work=Work.PUSH, problem=OFFLINE))
        while scene.machine.busy is not Work.PUSH:
            if scene.machine.busy is None:
                scene.wait()
            else:
                scene.then(Finished(work=scene.machine.busy))
        waits.append(scene.now - last)
        last = scene.now
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, LAST_RETRY]


def test_a_remote_that_is_away_delays_no_commit() -> None:
    scene = begun()
    assert scene.at(1.0, said(5)) == [PULL]
    assert scene.then(Finished(work=Work.PULL, problem=OFFLINE)) == []
    assert scene.machine.status().phase == "waiting"
    assert not scene.machine.quiet()
    assert scene.machine.deadline() == 1.5
    scene.at(1.1, HINT)
    # It is committed early, before what is then tried again.
    assert scene.wait() == [RECORD]
    assert scene.now == 1.5
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PULL]
    assert scene.then(Finished(work=Work.PULL, problem=OFFLINE)) == [PUSH]


def test_after_a_pull_that_failed_version_control_is_not_told_that_all_is_as_it_should_be() -> None:
    scene = begun(replace(SETTINGS, poll=1e6))
    assert scene.at(1.0, said(5)) == [PULL]
    scene.then(Finished(work=Work.PULL, problem=OFFLINE, touched=True))
    scene.machine._not_before[Work.PULL] = scene.machine._pull_at = 1e6
    assert scene.wait() == [RECORD]  # not whole: files may hold the marks of a conflict
    assert scene.now == 600.0


def test_what_cannot_be_committed_is_tried_again_and_nothing_is_pulled_over_it() -> None:
    scene = begun()
    scene.at(1.0, HINT)
    assert scene.at(2.0, said(5)) == [RECORD]
    assert scene.then(Finished(work=Work.RECORD, problem=OFFLINE, done=False)) == []
    assert scene.machine.deadline() == 2.5
    assert scene.wait() == [RECORD]
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PULL]


def test_nothing_is_pushed_while_a_conflict_is_open() -> None:
    scene = begun()
    scene.at(1.0, HINT)
    assert scene.at(2.0, said(5)) == [RECORD]
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PULL]
    assert scene.then(Finished(work=Work.PULL, touched=True))[1:] == [WHOLE]
    assert scene.then(Finished(work=Work.RECORD, problem=OFFLINE, done=False)) == []
    assert scene.wait() == [RECORD]
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PUSH]


def test_what_version_control_does_not_take_of_one_path_holds_nothing_up() -> None:
    scene = begun()
    scene.at(1.0, HINT)
    assert scene.at(2.0, said(5)) == [RECORD]
    assert scene.then(Finished(work=Work.RECORD, problem=OFFLINE, to_push=True)) == [PULL]
    scene.then(Finished(work=Work.PULL))
    scene.then(Finished(work=Work.PUSH))
    assert scene.machine.status().waiting_for != ""
    assert scene.wait() == [WHOLE]
    assert scene.now == 2.5


def test_a_halt_lasts_until_the_user_says_go_on() -> None:
    scene = begun()
    scene.at(1.0, HINT)
    scene.wait()
    gone = Halt(title="All files are gone", hint="Say so.")
    assert scene.then(Finished(work=Work.RECORD, problem=gone, done=False, halted=True)) == [
        Say("halted", Version.of({ME: 1001}))
    ]
    assert scene.machine.status().halt == gone
    assert scene.machine.deadline() is None
    assert scene.at(99.0, said(7)) == []
    assert scene.then(ev.Resumed()) == [
        Say("settling", Version.of({ME: 1001})),
        Perform(Work.RECORD, whole=True, forced=True),
    ]
    assert scene.then(Finished(work=Work.RECORD, to_push=True)) == [PULL]


def test_paused_it_does_nothing_and_says_so() -> None:
    scene = begun()
    assert scene.at(1.0, ev.Paused()) == [Say("paused", Version.of({ME: 1001}))]
    assert scene.then(HINT) == []
    assert scene.then(said(7)) == []
    assert scene.machine.deadline() is None
    assert scene.then(ev.Resumed()) == [Say("settling", Version.of({ME: 1001})), WHOLE]


def test_a_folder_that_is_gone_is_waited_for() -> None:
    scene = begun()
    assert scene.at(1.0, ev.RootVanished(title="", hint="h")) == [Say("halted", Version.of({ME: 1001}))]
    assert scene.machine.status().halt == Halt(title="The folder is gone", hint="h")
    assert scene.at(700.0, ev.TimePassed()) == []
    assert scene.then(ev.RootReturned(current=None)) == [Say("settling", Version.of({ME: 1001})), WHOLE]


def test_who_only_receives_never_commits_and_who_only_sends_never_pulls() -> None:
    receiver = Scene(replace(SETTINGS, can_record=False, can_push=False))
    assert receiver.at(0.0, Opened()) == [PULL]
    assert receiver.then(HINT) == []
    assert receiver.then(Finished(work=Work.PULL, touched=True)) == []
    assert receiver.machine.quiet()
    sender = Scene(replace(SETTINGS, can_pull=False))
    assert sender.at(0.0, Opened()) == [WHOLE]
    assert sender.then(Finished(work=Work.RECORD)) == [PUSH]
    assert sender.then(said(5)) == []
    assert sender.then(Finished(work=Work.PUSH, problem=OFFLINE)) == []
    assert sender.wait() == [PUSH]


def test_it_says_again_where_it_is_and_who_has_not_pulled_that() -> None:
    scene = begun()
    assert scene.at(1.0, ev.AnnouncementsAsked()) == [Say("watching", Version.of({ME: 1001}))]
    scene.then(said(0, mine=1000))
    assert [peer.name for peer in scene.machine.unconfirmed()] == ["other"]
    scene.then(said(0, mine=1001, live=False))
    assert scene.machine.unconfirmed() == ()
    assert scene.machine.status().peers[0].seen == 0.0


def test_a_clock_that_was_set_back_does_not_make_a_new_push_look_old() -> None:
    scene = Scene()
    scene.at(0.0, said(0, mine=5000))
    scene.then(Opened())
    for work in (Work.RECORD, Work.PULL):
        scene.then(Finished(work=work))
    assert scene.then(Finished(work=Work.PUSH)) == [Say("watching", Version.of({ME: 5001}))]


def test_it_flushes_at_once_what_waits() -> None:
    scene = begun()
    scene.at(1.0, HINT)
    assert scene.at(2.0, ev.FlushAsked()) == [RECORD]
    assert scene.then(Finished(work=Work.RECORD)) == [PULL]


def test_agents_of_both_kinds_leave_each_other_alone() -> None:
    scene = begun()
    assert scene.at(1.0, said(5, remote=None)) == []
    assert scene.then(ev.MetadataChanged()) == []
    assert scene.machine.status().peers == ()
    session = Session(SessionSettings(device=ME, name="me"))
    session.handle(ev.Started(current=None), 0.0)
    asked = session.handle(said(5), 1.0)
    assert [type(command).__name__ for command in asked if type(command).__name__ in ("Fetch", "Integrate")] == []


def test_no_more_peers_are_remembered_than_fit_into_an_announcement() -> None:
    scene = begun()
    for n in range(MOST_PEERS + 3):
        scene.then(said(0, device=DeviceId(f"d{n}-1")))
    assert len(scene.machine.status().peers) == MOST_PEERS


@given(st.lists(st.sampled_from(["hint", "news", "fail", "done", "time", "flush", "pause", "resume"]), max_size=60))
@pytest.mark.parametrize("conservative", [False, True])
def test_whatever_happens_it_does_one_thing_at_a_time_and_comes_to_rest(
    conservative: bool,
    deeds: list[str],
) -> None:
    scene = Scene(replace(SETTINGS, conservative=conservative))
    performing: list[Work] = []
    news = 0

    def heed(commands: list[Command]) -> None:
        begun = [command.work for command in commands if isinstance(command, Perform)]
        assert len(begun) <= 1
        assert not (begun and performing)
        performing.extend(begun)

    def finish(problem: Halt | None, *, to_push: bool) -> None:
        work = performing.pop()
        done = problem is None
        heed(scene.then(Finished(work=work, problem=problem, done=done, to_push=to_push, touched=to_push)))

    heed(scene.at(0.0, Opened()))
    for deed in deeds:
        scene.now += 0.25
        if deed in ("fail", "done") and performing:
            finish(OFFLINE if deed == "fail" else None, to_push=deed == "done")
        elif deed == "news":
            news += 1
            heed(scene.then(said(news)))
        elif deed == "time" and scene.machine.deadline() is not None:
            heed(scene.wait())
        else:
            event = {"hint": HINT, "flush": ev.FlushAsked(), "pause": ev.Paused(), "resume": ev.Resumed()}.get(deed)
            heed(scene.then(event or ev.TimePassed()))
    heed(scene.then(ev.Resumed()))
    for _ in range(20):
        if performing:
            finish(None, to_push=False)
        elif not scene.machine.quiet():
            heed(scene.wait())
    assert scene.machine.quiet()
    assert scene.machine.version.count(OTHER) == news
