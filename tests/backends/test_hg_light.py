"""A repository with light-weight copies is synced as any other, by an agent whose hg has the extension from us."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.fleet import go, pair, send, snap
from hg_repos import DEBIAN
from hgfleet import HgFleet, HgSite, Users

from autosync.backends.hg.command import extension

LARGE = bytes(range(256)) * 400
ENABLED = ("--config", f"extensions.lwcopy={extension('lwcopy')}", "--config", "format.lwcopy=yes")


@pytest.fixture(params=["ours", "configured"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path, users: Users) -> Iterator[HgFleet]:
    """Give working copies whose users have the extension enabled; their agents' hg has it from us alone."""
    directory = tmp_path / "fleet"
    directory.mkdir()
    fleet = HgFleet(directory, users, {}, ((*DEBIAN, *ENABLED), DEBIAN if request.param == "configured" else None))
    yield fleet
    fleet.close()


def light(site: HgSite) -> bytes:
    """Return how many copies are light, and how many are not."""
    return site.hg("lwcopy", "-T", "{light} {full}")


def test_snapshots_and_commits_travel(fleet: HgFleet) -> None:
    one, two = pair(fleet, {"m": LARGE, "n": b"n\n"})
    assert isinstance(one, HgSite)
    assert isinstance(two, HgSite)
    before = send(snap(one), one, two)
    one.hg("mv", "m", "a")
    one.write("a", LARGE + b"more")
    renamed = send(snap(one, before, count=2), one, two)
    go(two, before, renamed)
    assert two.status() == one.status()
    one.hg("commit", "-m", "renamed", "-u", "one")
    assert light(one) == b"1 0"
    committed = snap(one, renamed, count=3)
    packed = one.backend.pack(committed.id, limit=1 << 24, known=[before.base.commit])
    assert packed is not None
    assert two.backend.absorb(committed.id, packed) == committed
    go(two, renamed, committed)
    assert two.checked_out() == one.checked_out()
    assert light(two) == b"1 0"
    assert two.files() == one.files()
    two.hg("verify")


def test_converted_while_the_agent_runs(fleet: HgFleet) -> None:
    """hg of ours is started anew when the store has become light, or is so no longer."""
    one, two = pair(fleet, {"m": LARGE})
    assert isinstance(one, HgSite)
    before = send(snap(one), one, two)
    for word in ("--off", "--on"):
        one.hg("lwcopy", word)
        assert snap(one, before, count=2).tree == before.tree
        assert (b"lwcopy" in one.backend.repo.server.identity().texts(b"extensions")) == (word == "--on")
