"""Whatever happens, all devices end up equal and every saved content is still somewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from autosync.cli.torture import torture
from autosync.core import diff3
from autosync.core.events import FlushAsked
from autosync.core.model import Kind, RelPath
from autosync.simulation.deeds import Deed, draw
from autosync.simulation.invariants import VISIBLE, Broken, check, settle
from autosync.simulation.ledger import LOOK, Ledger
from autosync.simulation.run import Play, run
from autosync.simulation.users import Users
from autosync.simulation.world import DEFAULT, World
from tests.figures import record

SEEDS = 10_000
A = RelPath(b"a.txt")


@pytest.mark.timeout(1800)
def test_nothing_is_lost_in_thousands_of_stories() -> None:
    # A process of its own, for measuring the coverage takes longer than the stories.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-m", "autosync", "torture", "--seeds", str(SEEDS), "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {"ok": True, "seeds": SEEDS, "failed": [], "failures": []}
    record("seeds run", SEEDS)


@pytest.mark.parametrize("first", range(10_000, 10_060, 20))
def test_longer_stories_end_well_too(first: int) -> None:
    for seed in range(first, first + 20):
        outcome = run(draw(seed, ops=25))
        assert not outcome.broken, f"seed {seed}: {outcome.broken}: {outcome.detail}"
    record("seeds run", 20)


def test_commits_of_their_own_end_in_one_history() -> None:
    for seed in range(20_000, 20_020):
        script = replace(draw(seed), auto_commit=True, hub=True)
        script = replace(script, acts=tuple(act for act in script.acts if act.deed not in (Deed.COMMIT, Deed.AMEND)))
        play = Play(replace(script, acts=tuple(act for act in script.acts if act.deed is not Deed.CHECKOUT)))
        play.perform()
        devices = play.world.devices
        assert len({device.base() for device in devices}) == 1
        assert not any(device.session.halt for device in devices)
        current = devices[0].session.current
        assert current is not None
        assert devices[0].copy.tree_of(current.base.commit) == current.tree
    record("seeds run", 20)


def test_devices_that_never_meet_end_up_equal_through_a_store() -> None:
    equal = 0
    for seed in range(40_000, 40_040):
        play = Play(replace(draw(seed), store=True, apart=True, hub=False, auto_commit=False))
        play.perform()
        halted = [device.session.halt for device in play.world.devices if device.session.halt]
        equal += not halted
        assert len({device.session.current for device in play.world.devices}) == 1 or halted, seed
    assert equal > 20
    record("seeds run", 40)


def test_without_the_store_they_would_not() -> None:
    world = World(1, devices=2, store=True, apart=True)
    world.network.cut(0, 2)
    Users(world).save(world.devices[0], A, b"d0 wrote 1.\n")
    world.clock.run(60.0)
    assert (A in world.devices[0].files, A in world.devices[1].files) == (True, False)
    world.network.mend(0, 2)
    settle(world)
    check(world, checked_out=False)
    assert A in world.devices[1].files


@pytest.mark.parametrize("hub", [False, True])
def test_commits_of_devices_that_never_meet_end_in_one_history(*, hub: bool) -> None:
    """The store merges their states before they do, and stands for whoever made what it keeps."""
    for seed in range(50_000, 50_020):
        script = replace(draw(seed), store=True, apart=True, hub=hub, auto_commit=True)
        by_hand = (Deed.COMMIT, Deed.AMEND, Deed.CHECKOUT)
        play = Play(replace(script, acts=tuple(act for act in script.acts if act.deed not in by_hand)))
        play.perform()
        devices = play.world.devices
        assert len({device.base() for device in devices}) == 1
        assert not any(device.session.halt for device in devices)
        current = devices[0].session.current
        assert current is not None
        assert devices[0].copy.tree_of(current.base.commit) == current.tree
    record("seeds run", 20)


def test_who_hears_of_a_branch_from_a_store_alone_merges_it() -> None:
    """However the store is called: it will not, and who made that branch may never be met."""
    settings = replace(DEFAULT, auto_commit=True, commit_after=5.0)
    world = World(1, devices=2, store=True, apart=True, settings=settings)
    one, two, store = world.devices
    assert store.id < one.id < two.id
    world.clock.run(1.0)
    for device in (one, two):
        world.network.cut(device.number, store.number)
        Users(world).save(device, RelPath(b"by " + device.name.encode()), b"d%d wrote 1.\n" % device.number)
        world.clock.run(10.0)  # until it is committed
    for device in (one, two):
        world.network.mend(device.number, store.number)
    settle(world)
    check(world, checked_out=False)
    assert one.base() == two.base() == store.base()
    assert not any(device.session.halt for device in world.devices)


def test_files_of_one_writer_never_conflict() -> None:
    for seed in range(30):
        script = draw(seed, devices=3, ops=25)
        acts = [
            replace(a, path=RelPath(b"own-d%d/one.txt" % a.device), other=RelPath(b"own-d%d/x" % a.device))
            for a in script.acts
        ]
        play = Play(
            replace(script, acts=tuple(act for act in acts if act.deed not in (Deed.CHECKOUT, Deed.COMMIT, Deed.AMEND)))
        )
        play.perform()
        assert not [path for path in play.world.devices[0].copy.files if b"conflict" in bytes(path)]


def test_a_seed_is_the_same_story_in_every_process() -> None:
    script = "from autosync.simulation import deeds, run; print(*(run.run(deeds.draw(s)).trace for s in range(20)))"
    traces = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert len(set(traces[0].split())) == 20


# -- the ledger ---------------------------------------------------------------------------
def test_what_the_user_replaces_before_anybody_could_look_does_not_count() -> None:
    ledger = Ledger()
    what = (Kind.FILE, b"first")
    for free, kept, owed in ((LOOK - 0.1, False, False), (LOOK, False, True), (0.0, True, True)):
        ledger.appeared(0, A, what, 0.0)
        ledger.vanished(0, A, what, free_for=lambda _, free=free: free, kept=lambda kept=kept: kept)  # type: ignore[misc]  # bound now
        assert (b"first" in ledger.owed) == owed


def test_what_an_agent_replaces_counts() -> None:
    ledger = Ledger()
    ledger.appeared(0, A, (Kind.FILE, b"mine"), 0.0)
    ledger.vanished(0, A, (Kind.FILE, b"what the agent brought"), free_for=lambda _: 0.0, kept=lambda: False)
    assert b"mine" in ledger.owed


# -- the invariants are not empty words ---------------------------------------------------------
def _settled() -> World:
    world = World(1, devices=2)
    Users(world).save(world.devices[0], A, b"d0 wrote 1.\n")
    settle(world)
    check(world, checked_out=False)
    return world


def test_a_file_that_changes_behind_the_agents_back_is_found() -> None:
    world = _settled()
    world.devices[1].copy.user.write(A, b"nobody said so\n")
    with pytest.raises(Broken, match="all devices are equal, or say why not"):
        check(world, checked_out=False)


def test_a_content_that_is_nowhere_is_found() -> None:
    world = _settled()
    world.ledger.appeared(0, RelPath(b"b.txt"), (Kind.FILE, b"saved"), world.clock.now)
    with pytest.raises(Broken, match="what was saved is still somewhere: b'saved'"):
        check(world, checked_out=False)


def test_what_comes_back_is_found() -> None:
    world = _settled()
    for device in world.devices:
        device.copy.user.write(RelPath(b"deleted long ago.txt"), b"here again\n")
        device.post(FlushAsked())
    settle(world)
    with pytest.raises(Broken, match="what was deleted does not come back"):
        check(world, checked_out=False)


# -- the command -----------------------------------------------------------------------------------
def test_the_command_says_that_all_is_well() -> None:
    done = CliRunner().invoke(torture, ["--seed", "3"], standalone_mode=False)
    assert (done.return_value, done.exception) == (0, None)
    assert done.output == "1 seed: nothing was lost, and all devices ended up equal or said why not.\n"


def test_the_command_tells_a_failure_as_short_as_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff3, "merge", lambda _base, ours, theirs: max(ours, theirs))
    arguments = ["--seed", "0", "--seeds", "20", "--devices", "2"]  # one process: a short campaign
    done = CliRunner().invoke(torture, arguments, standalone_mode=False)
    assert done.return_value == 1
    assert f"breaks: {VISIBLE}" in done.output
    assert "operations are enough (2 devices)" in done.output
    assert "  Again: autosync torture --seed " in done.output
    assert "--devices 2 --ops 12\n" in done.output
    told = json.loads(CliRunner().invoke(torture, [*arguments, "--json"], standalone_mode=False).output)
    assert told["ok"] is False
    assert told["seeds"] == 20
    assert told["failures"][0]["seed"] == told["failed"][0]
    assert told["failures"][0]["operations"]
