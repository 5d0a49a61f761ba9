"""What a session does in the situations that users know by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autosync.core import events as ev
from autosync.core.commands import ListHub
from autosync.core.hubtalk import HubTalk
from autosync.core.model import CommitId, RelPath
from autosync.core.session import Session
from autosync.core.settings import Mode
from autosync.simulation.device import Device
from tests.core.scene import Scene

A = RelPath(b"a.txt")


def content(device: Device, path: bytes = A) -> bytes | None:
    held = device.copy.files.get(RelPath(path))
    return held[1] if held else None


def pair(**settings: object) -> tuple[Scene, Device, Device]:
    world = Scene(1, devices=2, **settings)  # type: ignore[arg-type]  # settings of the session
    world.run(2)
    return world, world.devices[0], world.devices[1]


def test_a_save_arrives() -> None:
    world, one, two = pair()
    world.write(one, A, b"hello\n")
    world.run(1)
    assert content(two) == b"hello\n"
    assert one.session.current == two.session.current
    assert one.session.quiet()
    assert two.session.quiet()


def test_an_echo_makes_no_new_snapshot() -> None:
    world, one, two = pair()
    world.write(one, A, b"hello\n")
    world.run(1)
    assert one.session.current is not None
    made = one.session.current
    world.run(30)
    assert one.session.current == made
    assert two.session.current == made


def test_both_edit_apart_and_both_edits_are_merged() -> None:
    world, one, two = pair()
    lines = [b"line %d\n" % n for n in range(12)]
    world.write(one, b"shared.txt", b"".join([b"top\n", *lines]))
    world.write(two, b"shared.txt", b"".join([*lines, b"bottom\n"]))
    world.run(5)
    assert content(one, b"shared.txt") == b"".join([b"top\n", *lines, b"bottom\n"])
    assert world.trees()[0] == world.trees()[1]


def test_both_edit_one_line_and_both_versions_are_kept_under_the_same_names() -> None:
    world, one, two = pair()
    world.write(one, A, b"one\n")
    world.write(two, A, b"two\n")
    world.run(5)
    assert world.trees()[0] == world.trees()[1]
    assert sorted(v for k, (_, v) in one.copy.files.items() if k != b"shared.txt") == [b"one\n", b"two\n"]
    (copy,) = [k for k in one.copy.files if b"conflict" in k]
    assert copy.startswith(b"a (conflict, d")


def test_a_sender_takes_nothing_and_a_receiver_gives_nothing() -> None:
    world = Scene(2, devices=2)
    sender, receiver = world.devices
    for device, mode in ((sender, Mode.SEND), (receiver, Mode.RECEIVE)):
        device.settings = replace(device.settings, mode=mode)
        device.session = Session(device.settings)
        world.restart(device)
    world.run(2)
    world.write(receiver, b"mine.txt", b"stays here\n")
    world.run(2)
    world.write(sender, A, b"for all\n")
    world.run(2)
    assert content(receiver) == b"for all\n"
    assert content(receiver, b"mine.txt") == b"stays here\n"
    assert content(sender, b"mine.txt") is None


def test_a_commit_arrives_as_a_commit() -> None:
    world, one, two = pair()
    world.write(one, A, b"hello\n")
    world.commit(one)
    world.run(2)
    assert two.copy.base() == one.copy.base()
    assert two.copy.tree_of(two.copy.base().commit) == two.session.current.tree  # type: ignore[union-attr]


def test_diverged_branches_are_left_alone_until_one_device_merges_them() -> None:
    world, one, two = pair()
    world.part(one, two)
    world.write(one, b"one.txt", b"1\n")
    world.commit(one)
    world.write(two, b"two.txt", b"2\n")
    world.commit(two)
    world.run(2)
    heads = one.copy.base(), two.copy.base()
    world.join()
    world.run(30)
    assert (one.copy.base(), two.copy.base()) == heads
    assert one.session.halt is not None
    assert "main has commits here that d1 lacks" in one.session.halt.title
    assert f"git merge {heads[1].commit}" in one.session.halt.hint
    assert one.told == [one.session.halt.title]
    assert one.session.status().phase == "halted"

    tip, other = heads[0].commit, heads[1].commit
    assert tip is not None
    assert other is not None
    one.copy.user.write(RelPath(b"two.txt"), b"2\n")
    merged = one.copy.user.commit("merge")
    assert merged.commit is not None
    one.copy.user.move_head(heads[0])
    one.copy.user.advance("merge", (tip, CommitId(other)), one.copy.tree_of(merged.commit))
    world.post(one, ev.MetadataChanged())
    world.run(5)
    assert one.session.halt is None
    assert two.session.halt is None
    assert two.copy.base() == one.copy.base()
    assert world.trees()[0] == world.trees()[1]


def test_the_users_own_operation_comes_first() -> None:
    world, one, two = pair()
    two.copy.user.operation = "a rebase is in progress"
    world.write(one, A, b"hello\n")
    world.run(10)
    assert content(two) is None
    assert two.session.status().phase == "waiting"
    assert two.session.status().waiting_for == "a rebase is in progress"
    two.copy.user.operation = None
    world.post(two, ev.MetadataChanged())
    world.run(1)
    assert content(two) == b"hello\n"


def test_the_end_of_the_users_operation_is_noticed_without_an_event() -> None:
    world, one, two = pair()
    two.copy.user.operation = "a rebase is in progress"
    world.write(one, A, b"hello\n")
    world.run(10)
    two.copy.user.operation = None
    world.run(3)
    assert content(two) == b"hello\n"
    assert two.session.status().phase == "watching"


def test_paused_means_nothing_is_sent_or_applied() -> None:
    world, one, two = pair()
    world.post(two, ev.Paused())
    world.write(one, A, b"from one\n")
    world.write(two, b"b.txt", b"from two\n")
    world.run(10)
    assert content(two) is None
    assert content(one, b"b.txt") is None
    assert two.session.status().phase == "paused"
    world.post(two, ev.Resumed())
    world.run(5)
    assert content(two) == b"from one\n"
    assert content(one, b"b.txt") == b"from two\n"


def test_what_a_command_of_the_user_restores_is_one_change() -> None:
    scene, one, other = pair()
    scene.post(one, ev.RestoringBegan())
    scene.write(one, A, b"a\n")
    scene.run(3.0)
    scene.write(one, b"d/new", b"d\n")
    scene.write(other, b"theirs", b"t\n")
    scene.run(3.0)
    before = one.session.current
    assert (content(other), content(one, b"theirs")) == (None, None)
    scene.post(one, ev.RestoringEnded(paths=frozenset({RelPath(A), RelPath(b"d")})))
    assert not one.session.is_recorded()
    scene.run(5.0)
    assert one.session.is_recorded()
    assert (content(other), content(other, b"d/new"), content(one, b"theirs")) == (b"a\n", b"d\n", b"t\n")
    assert before is not None
    assert one.session.current is not None
    made = [s for s in one.performer.known() if s.parents == (before.id,) and s.device == one.name]
    changed = [c.path for c in one.copy.changes(before.tree, made[0].tree)]
    assert (len(made), changed) == (1, [A, b"d/new"])


@pytest.mark.parametrize("whole", [False, True])
def test_what_cannot_be_looked_at_now_is_not_recorded_yet(whole: bool) -> None:
    scene, one, other = pair()
    one.copy.user.operation = "a merge is in progress"
    scene.write(one, A, b"a\n")
    scene.post(one, ev.RestoringBegan())
    if whole:
        scene.post(one, ev.FlushAsked())
    scene.post(one, ev.RestoringEnded(paths=frozenset({A})))
    scene.run(1.0)
    assert not one.session.is_recorded()
    assert content(other) is None
    one.copy.user.operation = None
    scene.run(30.0)
    assert one.session.is_recorded()
    assert content(other) == b"a\n"


def test_a_command_that_ends_in_another_session_than_it_began_in_holds_nothing_up() -> None:
    scene, one, other = pair()
    scene.post(one, ev.RestoringEnded(paths=frozenset()))
    scene.write(one, A, b"a\n")
    scene.run(3.0)
    assert content(other) == b"a\n"


def test_a_vanished_folder_stops_everything_and_deletes_nothing() -> None:
    world, one, two = pair()
    world.write(one, A, b"hello\n")
    world.run(1)
    world.post(one, ev.RootVanished())
    one.copy.user.files.clear()
    world.run(20)
    assert content(two) == b"hello\n"
    assert one.session.status().phase == "halted"
    assert one.session.root_gone
    assert one.session.halt is not None
    assert "goes on by itself as soon as it is back" in one.session.halt.hint


def test_the_hub_carries_snapshots_between_devices_that_never_meet() -> None:
    world, one, two = pair(hub=True, poll=20.0)
    world.part(one, two)
    world.write(one, A, b"by way of the hub\n")
    world.run(15)
    assert one.session.is_on_hub()
    world.run(30)
    assert content(two) == b"by way of the hub\n"


def test_a_hub_that_holds_no_snapshots_is_asked_for_none() -> None:
    world, one, two = pair(hub=True, poll=20.0, hub_holds_snapshots=False)
    assert world.hub is not None
    world.write(one, A, b"directly\n")
    world.run(60)
    assert content(two) == b"directly\n"
    assert world.hub.latest == {}
    assert not one.session.is_on_hub()


def test_a_hub_that_holds_no_snapshots_is_looked_at_for_its_branches() -> None:
    talk = HubTalk(interval=20.0, holds=False)
    talk.edited(1.0)
    snapshot = pair()[1].session.current
    assert talk.commands(snapshot, 100.0) == [ListHub()]
    talk.listed(None, 100.0)
    assert 116.0 <= talk.times()[0] <= 120.0
    assert not talk.settled


def test_looks_at_the_hub_are_within_the_interval_and_not_in_step() -> None:
    waits: dict[str, list[float]] = {}
    for who in ("laptop-1", "desktop-2"):
        talk = HubTalk(interval=60.0, who=who)
        for look in range(20):
            talk.listed(None, 1000.0 * look)
            waits.setdefault(who, []).append(talk.times()[0] - 1000.0 * look)
    assert all(48.0 <= wait <= 60.0 for wait in waits["laptop-1"] + waits["desktop-2"])
    assert len({round(wait, 6) for wait in waits["laptop-1"] + waits["desktop-2"]}) == 40


def test_a_hub_that_changed_is_looked_at_at_once_also_if_a_look_is_under_way() -> None:
    talk = HubTalk(interval=60.0)
    snapshot = pair()[1].session.current
    assert talk.commands(snapshot, 1.0) == [ListHub()]
    talk.look_soon(1.5)
    assert talk.commands(snapshot, 1.5) == []
    talk.listed(None, 2.0)
    assert talk.commands(snapshot, 2.0) == [ListHub()]
    talk.listed(None, 3.0)
    assert talk.commands(snapshot, 3.0) == []
    talk.look_soon(4.0)
    assert talk.commands(snapshot, 4.0) == [ListHub()]


def test_a_working_copy_without_a_hub_has_none_to_look_at() -> None:
    _world, one, _two = pair()
    assert ListHub() not in one.session.handle(ev.HubChanged(), 1e6)


def test_word_of_a_change_brings_about_a_look_at_the_hub() -> None:
    world, one, _two = pair(hub=True, poll=3600.0)
    world.run(60)
    assert ListHub() not in one.session.handle(ev.TimePassed(), world.now)
    assert ListHub() in one.session.handle(ev.HubChanged(), world.now)


def test_a_hub_that_is_away_is_tried_again() -> None:
    world, one, two = pair(hub=True, poll=20.0)
    assert world.hub is not None
    world.part(one, two)
    world.hub.cut_off = True
    world.write(one, A, b"later\n")
    world.run(60)
    assert not one.session.is_on_hub()
    assert one.session.status().waiting_for
    world.hub.cut_off = False
    world.run(180)
    assert content(two) == b"later\n"


def test_the_deadline_is_never_in_the_past_for_long() -> None:
    world, one, _two = pair()
    world.write(one, A, b"x\n")
    world.run(5)
    deadline = one.session.deadline()
    assert deadline is not None
    assert deadline > world.now + 60


def test_a_crash_between_save_and_look_loses_nothing() -> None:
    world, one, two = pair()
    one.copy.user.write(A, b"saved, then killed\n")
    world.crash(one)
    world.run(1)
    world.restart(one)
    world.run(3)
    assert content(two) == b"saved, then killed\n"
