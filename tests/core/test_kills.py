"""An agent that is killed at any step of a look or an apply loses nothing and undoes nothing."""

from __future__ import annotations

import pytest

from autosync.core.events import AnnouncementsAsked
from autosync.core.model import Kind, RelPath
from autosync.simulation.device import Device
from autosync.simulation.invariants import check, settle
from autosync.simulation.users import Users
from autosync.simulation.world import World

A, B = RelPath(b"a.txt"), RelPath(b"b.txt")


def begun() -> tuple[World, Users, list[Device]]:
    """Return a world of two devices that are at rest, its users and its devices."""
    world = World(1, devices=2)
    world.clock.run(1)
    return world, Users(world), world.devices


@pytest.mark.parametrize("step", range(6))
def test_what_is_saved_while_a_killed_agent_is_off_stays(step: int) -> None:
    world, users, (one, two) = begun()
    users.save(one, A, b"looked at\n")
    one.interrupt(step, lambda: world.kill_during(one, 1.0))
    world.clock.run(0.5)
    users.save(one, B, b"saved while it was off\n")
    settle(world)
    check(world, checked_out=False)
    for device in (one, two):
        assert device.copy.files[A] == (Kind.FILE, b"looked at\n")
        assert device.copy.files[B] == (Kind.FILE, b"saved while it was off\n")


@pytest.mark.parametrize("step", range(8))
def test_a_file_saved_again_while_a_killed_agent_is_off_does_not_clash_with_itself(step: int) -> None:
    world, users, (one, two) = begun()
    users.save(one, A, b"first\n")
    users.save(one, B, b"other\n")
    one.interrupt(step, lambda: world.kill_during(one, 1.0))
    world.clock.run(0.5)
    users.save(one, A, b"second\n")
    settle(world)
    check(world, checked_out=False)
    assert two.copy.files == one.copy.files
    assert {path: content for path, (_, content) in one.copy.files.items() if path != b"shared.txt"} == {
        A: b"second\n",
        B: b"other\n",
    }


@pytest.mark.parametrize("step", range(8))
def test_a_file_deleted_while_an_agent_killed_at_applying_is_off_stays_deleted(step: int) -> None:
    world, users, (one, two) = begun()
    world.network.cut(one.number, two.number)
    users.save(one, A, b"of one\n")
    users.save(two, B, b"of two\n")
    world.clock.run(1)
    two.interrupt(step, lambda: world.kill_during(two, 1.0))
    world.network.mend_all()
    one.post(AnnouncementsAsked())
    world.clock.run(0.5)
    users.remove(two, B)
    settle(world)
    check(world, checked_out=False)
    assert B not in one.copy.files
