"""Whatever happens, all devices end up equal and every saved content is still somewhere."""

from __future__ import annotations

import pytest

from autosync.core.events import AnnouncementsAsked, MetadataChanged
from autosync.core.model import RelPath
from autosync.errors import AutosyncError
from tests.core.simulator import Device, World

NAMES = (b"a.txt", b"b.txt", b"dir/c.txt", b"dir/d.txt", b"shared.txt")


def _step(world: World, device: Device, number: int) -> None:
    dice = world.random.random()
    path = world.random.choice(NAMES)
    files = sorted(device.copy.files)
    if dice < 0.5 or not files:
        world.write(device, path, b"%s %d\n" % (device.name.encode(), number))
    elif dice < 0.6 and path == b"shared.txt" and path in files:
        lines = device.copy.files[path][1].splitlines(keepends=True)  # type: ignore[index]
        lines.insert(world.random.randrange(len(lines) + 1), b"%s adds %d\n" % (device.name.encode(), number))
        world.write(device, path, b"".join(lines))
    elif dice < 0.75:
        world.remove(device, world.random.choice(files))
    elif dice < 0.85:
        old = world.random.choice(files)
        new = b"moved/%d" % number
        world.rename(device, old, new)
    elif dice < 0.9:
        device.linked = not device.linked
    else:
        world.run(world.random.uniform(0, 2))


def _settle(world: World) -> None:
    world.loss = 0.0
    for device in world.devices:
        device.linked = True
        if not device.on:
            world.restart(device)
    for _ in range(10):
        for device in world.devices:
            world.post(device, AnnouncementsAsked())
        world.run(70)
        trees = world.trees()
        if all(tree == trees[0] for tree in trees):
            return


def _check(world: World) -> None:
    trees = world.trees()
    assert all(tree == trees[0] for tree in trees), [
        (d.name, d.session.status().phase, d.session.status().waiting_for, d.session.halt) for d in world.devices
    ]
    assert len({d.session.current.tree for d in world.devices if d.session.current}) == 1
    assert not world.ledger - world.kept()


@pytest.mark.parametrize("seed", range(150))
def test_devices_converge_and_nothing_is_lost(seed: int) -> None:
    world = World(seed, devices=2 + seed % 3, loss=0.3 if seed % 2 else 0.0)
    world.run(1)
    for number in range(25):
        device = world.random.choice(world.devices)
        if not device.on:
            world.restart(device)
        _step(world, device, number)
        if world.random.random() < 0.05:
            # Saved and seen: what was saved a moment before a crash is found at the restart.
            world.crash(world.random.choice(world.devices))
        world.run(world.random.choice((0.0, 0.01, 0.1, 1.0)))
    _settle(world)
    _check(world)


@pytest.mark.parametrize("seed", range(40))
def test_files_of_one_writer_never_conflict(seed: int) -> None:
    world = World(seed, devices=3, loss=0.3 if seed % 2 else 0.0)
    world.run(1)
    for number in range(60):
        device = world.random.choice(world.devices)
        own = b"%s/%d.txt" % (device.name.encode(), world.random.randrange(2))
        _, before = device.copy.files.get(RelPath(own), (None, b"first\n"))
        world.write(device, own, before + b"%d\n" % number)
        world.run(world.random.choice((0.0, 0.05, 0.1, 0.2)))
    _settle(world)
    _check(world)
    assert not [path for path in world.trees()[0] if b"conflict" in path]


@pytest.mark.parametrize("seed", range(40))
def test_files_of_one_writer_never_conflict_when_devices_come_and_go(seed: int) -> None:
    world = World(seed, devices=3, loss=0.3 if seed % 2 else 0.0)
    world.run(1)
    for number in range(60):
        device = world.random.choice(world.devices)
        if not device.on:
            world.restart(device)
        own = b"%s/%d.txt" % (device.name.encode(), world.random.randrange(2))
        _, before = device.copy.files.get(RelPath(own), (None, b"first\n"))
        world.write(device, own, before + b"%d\n" % number)
        if world.random.random() < 0.1:
            world.crash(world.random.choice(world.devices))
        world.run(world.random.choice((0.0, 0.05, 0.1, 0.2, 1.0)))
    _settle(world)
    _check(world)
    assert not [path for path in world.trees()[0] if b"conflict" in path]


def _git_step(world: World, device: Device, number: int) -> None:
    dice = world.random.random()
    user = device.copy.user
    if dice < 0.15:
        world.commit(device)
    elif dice < 0.2:
        user.amend("amended")
    elif dice < 0.3:
        branch = world.random.choice(("main", "feature"))
        if f"refs/heads/{branch}" not in user.branches:
            user.create_branch(branch)
        try:
            user.checkout(branch)
        except AutosyncError:
            return  # as git would: local changes are in the way
    else:
        _step(world, device, number)
    world.post(device, MetadataChanged())


@pytest.mark.parametrize("hub", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_commits_and_checkouts_arrive_or_the_user_is_told(seed: int, hub: bool) -> None:
    world = World(seed, devices=2 + seed % 3, hub=hub)
    world.run(1)
    for number in range(20):
        _git_step(world, world.random.choice(world.devices), number)
        world.run(world.random.choice((0.5, 1.0, 3.0)))
    _settle(world)
    assert not world.ledger - world.kept()
    if any(d.session.halt for d in world.devices):
        assert all(d.session.halt.title in d.told for d in world.devices if d.session.halt)
    else:
        _check(world)
        assert len({d.copy.base() for d in world.devices}) == 1


@pytest.mark.parametrize("seed", range(30))
def test_automatic_commits_end_in_one_history(seed: int) -> None:
    world = World(seed, devices=2 + seed % 3, hub=True, auto_commit=True, commit_after=5.0)
    world.run(1)
    for number in range(20):
        _step(world, world.random.choice(world.devices), number)
        world.run(world.random.choice((0.01, 0.5, 3.0, 10.0)))
    _settle(world)
    world.run(200)
    _settle(world)
    _check(world)
    assert len({d.copy.base() for d in world.devices}) == 1
    assert not any(d.session.halt for d in world.devices)
    for device in world.devices:
        assert device.copy.tree_of(device.copy.base().commit) == device.session.current.tree


def test_a_seed_gives_the_same_trace_twice() -> None:
    traces = []
    for _ in range(2):
        world = World(7, loss=0.2)
        for number in range(20):
            _step(world, world.random.choice(world.devices), number)
            world.run(0.2)
        traces.append(world.trace)
    assert traces[0] == traces[1]
