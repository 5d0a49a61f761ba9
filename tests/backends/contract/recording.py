"""A recorded snapshot is the same everywhere and stays."""

from __future__ import annotations

from typing import Any

import pytest

from autosync.core.model import Base, DeviceId, Version
from autosync.errors import Missing
from contract.fleet import Fleet, contents, look, pair, record, snap, unknown


class TestRecording:
    def test_the_same_state_has_the_same_id_on_every_device(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        for site in (one, two):
            site.write("a.txt", b"edited\n")
            site.write("new/file", b"new\n")
        parent = snap(one)
        fields: dict[str, Any] = {
            "tree": look(one).tree,
            "base": one.backend.base(),
            "version": Version.of({DeviceId("x-1"): 3, DeviceId("y-2"): 1}),
            "parents": (parent.id, unknown(parent)),
            "device": "laptop+bücher",
            "time": 1_700_000_000,
        }
        assert look(two).tree == fields["tree"]
        assert one.backend.record(**fields) == two.backend.record(**fields)

    def test_every_part_of_it_is_in_the_id(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        base, before = one.backend.base(), look(one).tree
        one.write("a.txt", b"edited\n")
        fields: dict[str, Any] = {
            "tree": before,
            "base": base,
            "version": Version.of({DeviceId("x-1"): 3}),
            "parents": (),
            "device": "laptop",
            "time": 1_700_000_000,
        }
        first = one.backend.record(**fields)
        assert one.backend.record(**fields) == first
        ids = {first.id}
        for other in (
            {"tree": look(one).tree},
            {"base": Base(commit=base.commit, branch=one.names.topic)},
            {"base": Base(commit=base.commit, branch=one.names.detached)},
            {"base": Base(commit=None, branch=one.names.main)},
            {"version": Version.of({DeviceId("x-1"): 4})},
            {"version": Version.of({DeviceId("x-1"): 3, DeviceId("y-1"): 1})},
            {"parents": (first.id,)},
            {"parents": (first.id, unknown(first))},
            {"parents": (unknown(first), first.id)},
            {"device": "desktop"},
            {"time": 1_700_000_001},
        ):
            made = one.backend.record(**{**fields, **other})
            assert one.backend.load(made.id) == made
            ids.add(made.id)
        assert len(ids) == 12

    @pytest.mark.parametrize("named", ["main", "detached", "odd"])
    def test_it_is_loaded_as_it_was_recorded(self, fleet: Fleet, named: str) -> None:
        one, _ = pair(fleet)
        branch = getattr(one.names, named)
        one.write("a.txt", b"edited\n")
        commit = one.backend.base().commit
        snapshot = record(one, look(one).tree, base=Base(commit=commit, branch=branch))
        assert one.backend.load(snapshot.id) == snapshot
        one.reopen()
        assert one.backend.load(snapshot.id) == snapshot
        assert contents(one, snapshot.tree) == one.files()

    def test_one_without_a_commit_is_loaded_as_it_was_recorded(self, fleet: Fleet) -> None:
        site = fleet.new("one")
        empty = snap(site)
        site.write("a", b"1")
        first = snap(site, empty, count=2)
        site.reopen()
        assert site.backend.load(empty.id) == empty
        assert site.backend.load(first.id) == first
        assert first.base == Base(commit=None, branch=site.names.main)
        assert first.parents == (empty.id,)
        assert contents(site, first.tree) == site.files()

    def test_one_that_is_not_here_is_none(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"edited\n")
        snapshot = snap(one)
        assert two.backend.load(snapshot.id) is None
        assert one.backend.load(unknown(snapshot)) is None

    def test_recording_changes_nothing_that_the_user_sees(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        one.write("a.txt", b"edited\n")
        one.write("new", b"new\n")
        before = (one.status(), one.files(), one.backend.base())
        snap(one)
        assert (one.status(), one.files(), one.backend.base()) == before

    def test_pins_move_and_go(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        first = snap(one)
        one.write("a.txt", b"edited\n")
        second = snap(one, first, count=2)
        one.backend.pin("current", first.id)
        one.backend.pin("peers/desk-1.2_3/4", first.id)
        assert one.backend.pins() == {"current": first.id, "peers/desk-1.2_3/4": first.id}
        one.backend.pin("current", second.id)
        one.backend.unpin("peers/desk-1.2_3/4")
        one.backend.unpin("never-was")
        assert one.backend.pins() == {"current": second.id}
        one.reopen()
        assert one.backend.pins() == {"current": second.id}
        one.backend.unpin("current")
        assert one.backend.pins() == {}

    def test_many_pins_move_at_once(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        first = snap(one)
        one.write("a.txt", b"edited\n")
        second = snap(one, first, count=2)
        one.backend.pin("current", second.id)
        one.backend.pin("keep/1-1-x", first.id)
        one.backend.repin(add={"keep/2-1-y": second.id, "keep/3-1-z": first.id}, drop=["keep/1-1-x", "keep/never"])
        expected = {"current": second.id, "keep/2-1-y": second.id, "keep/3-1-z": first.id}
        assert one.backend.pins() == expected
        one.reopen()
        assert one.backend.pins() == expected
        one.backend.unpin("keep/2-1-y")
        one.backend.repin(add={}, drop=["keep/3-1-z"])
        assert one.backend.pins() == {"current": second.id}

    def test_those_of_many_that_are_here_are_loaded(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        first = snap(one)
        one.write("a.txt", b"edited\n")
        second = snap(one, first, count=2)
        loaded = one.backend.load_many([first.id, unknown(first), second.id])
        assert sorted(loaded, key=lambda s: s.id) == sorted([first, second], key=lambda s: s.id)
        assert list(one.backend.load_many([])) == []

    def test_what_is_pinned_outlives_a_thorough_tidying(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        first = snap(one)
        one.write("a.txt", b"edited\n" * 1000)
        second = snap(one, first, count=2)
        one.backend.pin("keep/1-1-x", second.id)
        assert one.backend.size() > 0
        assert one.backend.shared() >= 0
        one.backend.tidy(thorough=True)
        assert one.backend.load(second.id) == second
        assert contents(one, second.tree) == one.files()

    def test_tidying_loses_nothing(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        previous = snap(one)
        for count in range(2, 8):
            one.write("a.txt", b"edit %d\n" % count)
            previous = snap(one, previous, count=count)
            one.backend.pin("current", previous.id)
        one.backend.tidy()
        assert one.backend.load(previous.id) == previous
        assert contents(one, previous.tree) == one.files()
        packed = one.backend.pack(previous.id, limit=8192)
        assert packed is not None
        assert two.backend.absorb(previous.id, packed) == previous

    def test_what_is_not_here_cannot_be_pinned(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"edited\n")
        with pytest.raises(Missing):
            two.backend.pin("current", snap(one).id)
        assert two.backend.pins() == {}

    def test_a_commit_is_secured_if_it_is_here(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"edited\n")
        commit = one.commit("second").commit
        assert commit is not None
        one.backend.secure(commit)
        two.backend.secure(commit)
        assert one.backend.has_commit(commit)
        assert not two.backend.has_commit(commit)

    def test_the_places_of_the_metadata_are_absolute(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        assert all(directory.startswith(b"/") for directory in one.backend.metadata_directories())
