"""The hub keeps the user's branches, and, where it can, the latest snapshot of every device."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autosync.core.model import CommitId, DeviceId, Snapshot
from autosync.errors import Missing, Refused, Unreachable
from contract.fleet import Fleet, Site, contents, pair, rel, snap

ONE, TWO = DeviceId("one-00000001"), DeviceId("two-00000002")

Call = Callable[[Site, Snapshot, Snapshot], object]
SNAPSHOT_CALLS: dict[str, Call] = {
    "push": lambda site, ours, _: site.backend.push(ONE, ours.id),
    "list": lambda site, *_: site.backend.list_hub(),
    "fetch": lambda site, _, theirs: site.backend.fetch(TWO, theirs.id),
}
BRANCH_CALLS: dict[str, Callable[[Site], object]] = {
    "push branch": lambda site: site.backend.push_branch(site.names.main),
    "fetch branch": lambda site: site.backend.fetch_branch(site.names.main),
    "probe": lambda site: site.backend.probe_hub(),
}


def committed(site: Site, content: bytes) -> CommitId:
    """Return a commit that the agent made for its user (``commits: auto``) after he wrote ``a.txt``."""
    site.write("a.txt", content)
    commit = site.backend.commit([rel("a.txt")], message="auto: a.txt", tree=snap(site).tree).commit
    assert commit is not None
    return commit


class TestSnapshotHub:
    def test_a_pushed_snapshot_is_fetched(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"second\n")
        one.commit("second")
        one.write("a.txt", b"edited\n")
        one.write("new/file", b"new\n")
        snapshot = snap(one)
        before = two.files(), two.status(), two.backend.base()
        assert two.backend.list_hub() == {}
        one.backend.push(ONE, snapshot.id)
        assert two.backend.list_hub() == one.backend.list_hub() == {ONE: snapshot.id}
        assert two.backend.fetch(ONE, snapshot.id) == snapshot
        assert contents(two, snapshot.tree) == one.files()
        assert (two.files(), two.status(), two.backend.base()) == before
        two.reopen()
        assert two.backend.load(snapshot.id) == snapshot

    def test_only_the_latest_of_a_device_is_there(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        first = snap(one)
        one.backend.push(ONE, first.id)
        one.write("a.txt", b"edited\n")
        second = snap(one, first, count=2)
        one.backend.push(ONE, second.id)
        one.backend.push(ONE, second.id)
        theirs = snap(two)
        two.backend.push(TWO, theirs.id)
        assert one.backend.list_hub() == {ONE: second.id, TWO: theirs.id}
        with pytest.raises(Missing):
            two.backend.fetch(ONE, first.id)
        assert two.backend.load(first.id) is None
        assert two.backend.fetch(ONE, second.id) == second

    def test_what_was_never_pushed_is_missing(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"edited\n")
        with pytest.raises(Missing):
            two.backend.fetch(ONE, snap(one).id)

    def test_one_without_a_commit_goes_over_the_hub(self, fleet: Fleet) -> None:
        one, two = fleet.new("one"), fleet.new("two")
        one.write("a", b"1")
        snapshot = snap(one)
        one.backend.push(ONE, snapshot.id)
        assert two.backend.fetch(ONE, snapshot.id) == snapshot
        assert contents(two, snapshot.tree) == one.files()

    @pytest.mark.parametrize("call", SNAPSHOT_CALLS.values(), ids=SNAPSHOT_CALLS)
    def test_a_hub_that_does_not_answer_is_unreachable(self, fleet: Fleet, call: Call) -> None:
        one, two = pair(fleet)
        theirs = snap(two)
        two.backend.push(TWO, theirs.id)
        one.write("a.txt", b"edited\n")
        ours = snap(one)
        fleet.cut_hub()
        with pytest.raises(Unreachable):
            call(one, ours, theirs)
        fleet.open_hub()
        assert one.backend.list_hub() == {TWO: theirs.id}

    @pytest.mark.parametrize("call", SNAPSHOT_CALLS.values(), ids=SNAPSHOT_CALLS)
    def test_a_hub_that_says_no_refuses(self, fleet: Fleet, call: Call) -> None:
        one, two = pair(fleet)
        theirs = snap(two)
        two.backend.push(TWO, theirs.id)
        one.write("a.txt", b"edited\n")
        ours = snap(one)
        fleet.close_hub()
        with pytest.raises(Refused):
            call(one, ours, theirs)
        fleet.open_hub()
        assert one.backend.list_hub() == {TWO: theirs.id}


class TestBranchHub:
    def test_a_branch_goes_over_the_hub(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        assert two.backend.fetch_branch(two.names.main) is None
        assert one.backend.push_branch(one.names.main) is True
        second = committed(one, b"second\n")
        before = two.files(), two.status(), two.backend.base()
        assert one.backend.push_branch(one.names.main) is True
        assert one.backend.push_branch(one.names.main) is True
        assert two.backend.fetch_branch(two.names.main) == second
        assert two.backend.has_commit(second)
        assert two.backend.tree_of(second) == one.backend.tree_of(second)
        assert two.backend.fetch_branch(two.names.absent) is None
        assert (two.files(), two.status(), two.backend.base()) == before

    def test_a_branch_that_moved_on_is_never_overwritten(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        ours = committed(one, b"one's\n")
        assert one.backend.push_branch(one.names.main) is True
        committed(two, b"two's\n")
        assert two.backend.push_branch(two.names.main) is False
        assert two.backend.fetch_branch(two.names.main) == ours
        assert one.backend.fetch_branch(one.names.main) == ours

    @pytest.mark.parametrize("call", BRANCH_CALLS.values(), ids=BRANCH_CALLS)
    def test_a_hub_that_does_not_answer_is_unreachable(self, fleet: Fleet, call: Callable[[Site], object]) -> None:
        one, two = pair(fleet)
        ours = committed(one, b"ours\n")
        fleet.cut_hub()
        with pytest.raises(Unreachable):
            call(one)
        fleet.open_hub()
        assert one.backend.push_branch(one.names.main) is True
        assert two.backend.fetch_branch(two.names.main) == ours

    @pytest.mark.parametrize("call", BRANCH_CALLS.values(), ids=BRANCH_CALLS)
    def test_a_hub_that_says_no_refuses(self, fleet: Fleet, call: Callable[[Site], object]) -> None:
        one, two = pair(fleet)
        ours = committed(one, b"ours\n")
        fleet.close_hub()
        with pytest.raises(Refused):
            call(one)
        fleet.open_hub()
        assert one.backend.push_branch(one.names.main) is True
        assert two.backend.fetch_branch(two.names.main) == ours


class TestHubWithoutSnapshots:
    def test_it_says_so_and_holds_none(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"edited\n")
        snapshot = snap(one)
        with pytest.raises(Refused, match="cannot hold"):
            one.backend.push(ONE, snapshot.id)
        assert two.backend.list_hub() == {}
        with pytest.raises(Missing, match="cannot hold"):
            two.backend.fetch(ONE, snapshot.id)
