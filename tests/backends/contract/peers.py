"""A snapshot arrives at a peer whole and unchanged, or not at all."""

from __future__ import annotations

import io
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from autosync.core.model import Snapshot
from autosync.errors import Missing, Unsafe
from contract.fleet import Fleet, Site, contents, entries, look, pair, record, rel, send, snap, unknown

UNSAFE_PATHS = [
    b".git/config",
    b".GIT/hooks/post-checkout",
    b"d/.git/config",
    b"git~1/config",
    b".g\xe2\x80\x8cit/config",
    b".hg/hgrc",
    b".git",
    b"../outside",
    b"d/../../outside",
    b"./a",
]


def serve(snapshot: Snapshot, source: Site, have: list[str]) -> bytes:
    """Return what ``source`` writes to one who has ``have``."""
    out = io.BytesIO()
    source.backend.serve(snapshot.id, have, out)
    return out.getvalue()


def handed_over(snapshot: Snapshot, source: Site, target: Site) -> Snapshot:
    """Let ``target`` fetch from ``source`` as a peer does."""
    packed = serve(snapshot, source, list(target.backend.haves()))
    return target.backend.receive(snapshot.id, io.BytesIO(packed))


def edited(site: Site) -> Snapshot:
    """Return a snapshot of edits of every sort."""
    site.write("a.txt", b"edited\n")
    site.remove("d/b.txt")
    site.rename("d/c.txt", "moved/c.txt")
    site.write(site.names.fit(b"new \xff\n"), b"\0binary\xff" * 30)
    site.write("empty", b"")
    site.write("run", b"#!/bin/sh\n")
    site.chmod("run", executable=True)
    site.symlink("link", b"../elsewhere")
    return snap(site)


def edited_again(site: Site) -> Snapshot:
    """Return a snapshot with one of the first contents back and one new file."""
    site.write("d/b.txt", b"first\n")
    site.write("new.txt", b"new\n")
    return snap(site)


class TestPeers:
    def test_an_inline_pack_carries_a_snapshot(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        before = two.files(), two.status(), two.backend.base()
        snapshot = edited(one)
        assert send(snapshot, one, two) == snapshot
        assert two.backend.load(snapshot.id) == snapshot
        assert contents(two, snapshot.tree) == one.files()
        assert (two.files(), two.status(), two.backend.base()) == before
        two.backend.pin("kept", snapshot.id)
        two.reopen()
        assert two.backend.load(snapshot.id) == snapshot
        assert contents(two, snapshot.tree) == one.files()

    def test_what_came_inline_is_served_at_once(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        snapshot = edited(one)
        send(snapshot, one, two)
        answer = io.BytesIO()
        two.backend.serve(snapshot.id, [], answer)
        assert answer.getvalue()

    def test_the_same_question_has_the_same_answer(self, fleet: Fleet) -> None:
        """An answer that was cut is gone on with, also after a restart."""
        one, two = pair(fleet)
        for n in range(40):
            one.write(f"many/{n}", b"line %d\n" % n * 200)
        one.write("large", b"".join(b"%d\n" % (n * n) for n in range(50_000)))
        snapshot = edited(one)
        have = list(two.backend.haves())
        answers = {serve(snapshot, one, have), serve(snapshot, one, have)}
        one.reopen()
        assert answers == {serve(snapshot, one, have)}

    @pytest.mark.parametrize("edit", ["a file more", "a line more"])
    def test_of_much_uncommitted_work_only_what_is_new_travels_inline(self, fleet: Fleet, edit: str) -> None:
        one, two = pair(fleet)
        three = fleet.clone(one, "three")
        texts = {f"work/{n}": random.Random(n).randbytes(4_000) for n in range(8)}  # no pack makes that smaller
        for path, text in texts.items():
            one.write(path, text)
        state = snap(one)
        two.backend.pin("current", handed_over(state, one, two).id)
        if edit == "a file more":
            one.write("one.txt", b"more\n")
        else:
            one.write("work/3", texts["work/3"] + b"more\n")
        snapshot = snap(one, state)
        assert one.backend.pack(snapshot.id, limit=8192) is None
        packed = one.backend.pack(snapshot.id, limit=8192, reached=[unknown(snapshot), state.id])
        assert packed is not None
        assert two.backend.absorb(snapshot.id, packed) == snapshot
        assert contents(two, snapshot.tree) == one.files()
        with pytest.raises(Missing):
            three.backend.absorb(snapshot.id, packed)
        assert handed_over(snapshot, two, three) == snapshot

    @pytest.mark.parametrize("gone_back", ["the only edit", "one of two", "a deletion", "a directory", "a rename"])
    def test_what_is_again_as_it_was_committed_travels_inline(self, fleet: Fleet, gone_back: str) -> None:
        one, two = pair(fleet)
        before = one.files()
        one.write("more than fits", random.Random(1).randbytes(9_000))
        if gone_back == "one of two":
            one.write("a.txt", b"stays edited\n")
        if gone_back == "a deletion":
            one.remove("d/b.txt")
        elif gone_back == "a directory":
            one.remove("d/b.txt")
            one.remove("d/c.txt")
        elif gone_back == "a rename":
            one.rename("d/b.txt", "moved.txt")
        else:
            one.write("d/b.txt", b"edited\n")
        state = snap(one)
        two.backend.pin("current", handed_over(state, one, two).id)
        if gone_back == "a rename":
            one.rename("moved.txt", "d/b.txt")
        else:
            for path in (b"d/b.txt", b"d/c.txt"):
                one.write(path, before[path][1])
        snapshot = snap(one, state)
        assert one.backend.pack(snapshot.id, limit=8192) is None
        packed = one.backend.pack(snapshot.id, limit=8192, reached=[state.id])
        assert packed is not None
        assert two.backend.absorb(snapshot.id, packed) == snapshot
        assert contents(two, snapshot.tree) == one.files()

    def test_the_root_may_become_what_one_of_its_directories_was(self, fleet: Fleet) -> None:
        one, two = pair(fleet, {"a": b"1\n", "d/a": b"2\n"})
        one.rename("d/a", "a")
        snapshot = snap(one)
        assert send(snapshot, one, two) == snapshot
        assert contents(two, snapshot.tree) == one.files()

    def test_it_may_arrive_again(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        snapshot = edited(one)
        assert send(snapshot, one, two) == send(snapshot, one, two) == snapshot
        assert handed_over(snapshot, one, two) == snapshot

    def test_it_can_be_passed_on(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        three = fleet.clone(one, "three")
        snapshot = edited(one)
        send(snapshot, one, two)
        assert send(snapshot, two, three) == snapshot
        assert contents(three, snapshot.tree) == one.files()

    def test_a_snapshot_needs_neither_its_parents_nor_what_came_before(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("early", b"kept\n")
        first = snap(one)
        one.write("late", b"new\n")
        second = snap(one, first, count=2)
        assert send(second, one, two) == second
        assert two.backend.load(first.id) is None
        assert contents(two, second.tree) == one.files()

    def test_a_clean_state_is_small(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        snapshot = snap(one)
        packed = one.backend.pack(snapshot.id, limit=700)
        assert packed is not None
        assert two.backend.absorb(snapshot.id, packed) == snapshot

    def test_one_without_a_commit_travels(self, fleet: Fleet) -> None:
        one, two = fleet.new("one"), fleet.new("two")
        one.write("a", b"1")
        snapshot = snap(one)
        assert send(snapshot, one, two) == snapshot
        assert contents(two, snapshot.tree) == one.files()

    def test_the_limit_is_kept(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        one.write("a.txt", bytes(range(256)))
        snapshot = snap(one)
        packed = one.backend.pack(snapshot.id, limit=1 << 20)
        assert packed is not None
        assert len(packed) > 256
        assert one.backend.pack(snapshot.id, limit=len(packed)) == packed
        assert one.backend.pack(snapshot.id, limit=len(packed) - 1) is None
        assert one.backend.pack(snapshot.id, limit=0) is None

    def test_without_its_base_it_is_missing(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"second\n")
        one.commit("second")
        one.write("a.txt", b"third\n")
        snapshot = snap(one)
        with pytest.raises(Missing):
            send(snapshot, one, two)
        assert two.backend.load(snapshot.id) is None

    def test_what_is_not_recorded_cannot_be_packed(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        absent = unknown(snap(one))
        with pytest.raises(Missing):
            one.backend.pack(absent, limit=8192)
        out = io.BytesIO()
        with pytest.raises(Missing):
            one.backend.serve(absent, [], out)
        assert out.getvalue() == b""

    def test_what_was_tampered_with_is_unsafe(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        snapshot = edited(one)
        packed = one.backend.pack(snapshot.id, limit=1 << 20)
        assert packed is not None
        damaged = [packed[:i] + bytes([packed[i] ^ 0x41]) + packed[i + 1 :] for i in range(0, len(packed), 5)]
        damaged += [b"", packed[:-1], packed[: len(packed) // 2], packed + b"x", packed + packed, b"x" * 100]
        for bad in damaged:
            with pytest.raises(Unsafe):
                two.backend.absorb(snapshot.id, bad)
            assert two.backend.load(snapshot.id) is None
        assert two.backend.absorb(snapshot.id, packed) == snapshot

    def test_another_snapshot_than_the_announced_is_unsafe(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        first = snap(one)
        one.write("a.txt", b"edited\n")
        second = snap(one, first, count=2)
        packed = one.backend.pack(second.id, limit=1 << 20)
        assert packed is not None
        with pytest.raises(Unsafe):
            two.backend.absorb(first.id, packed)
        assert two.backend.load(first.id) is None
        with pytest.raises((Missing, Unsafe)):
            two.backend.receive(first.id, io.BytesIO(serve(second, one, [])))
        assert two.backend.load(first.id) is None

    @pytest.mark.parametrize("path", UNSAFE_PATHS)
    def test_a_name_that_must_not_be_written_is_unsafe(self, fleet: Fleet, path: bytes) -> None:
        one, two = pair(fleet)
        entry = entries(one, look(one).tree)[rel("a.txt")]
        with pytest.raises(Unsafe):
            send(record(one, one.backend.splice(None, {rel(path): entry})), one, two)

    def test_a_few_changesets_travel_inline_with_their_snapshot(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        start = two.backend.base().commit
        assert start is not None
        one.write("d/b.txt", b"first\n")
        one.commit("first")
        one.write("d/b.txt", b"second\n")
        one.rename("a.txt", "d/a.txt")
        one.commit("second")
        snapshot = edited_again(one)
        alone = one.backend.pack(snapshot.id, limit=1 << 20)
        assert alone is not None
        with pytest.raises(Missing):
            two.backend.absorb(snapshot.id, alone)
        packed = one.backend.pack(snapshot.id, limit=1 << 20, known=[start])
        assert packed is not None
        assert two.backend.absorb(snapshot.id, packed) == snapshot
        assert snapshot.base.commit is not None
        assert two.backend.is_ancestor(start, snapshot.base.commit)
        assert entries(two, snapshot.tree) == entries(one, snapshot.tree)
        assert two.backend.tree_of(snapshot.base.commit) == one.backend.tree_of(snapshot.base.commit)

    def test_changesets_that_travel_inline_may_be_here_already(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        start = one.backend.base().commit
        assert start is not None
        one.write("d/b.txt", b"first\n")
        one.commit("first")
        between = snap(one)
        assert handed_over(between, one, two) == between
        one.write("a.txt", b"second\n")
        one.commit("second")
        snapshot = edited_again(one)
        packed = one.backend.pack(snapshot.id, limit=1 << 20, known=[start])
        assert packed is not None
        assert two.backend.absorb(snapshot.id, packed) == snapshot
        assert entries(two, snapshot.tree) == entries(one, snapshot.tree)

    def test_a_peer_is_brought_to_a_snapshot_with_its_history(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        for count in range(3):
            one.write("a.txt", b"commit %d\n" % count)
            one.commit(f"number {count}")
        snapshot = edited(one)
        before = two.files(), two.status(), two.backend.base()
        assert handed_over(snapshot, one, two) == snapshot
        base = snapshot.base.commit
        assert base is not None
        assert two.backend.has_commit(base)
        assert two.backend.tree_of(base) == one.backend.tree_of(base)
        first = two.backend.base().commit
        assert first is not None
        assert two.backend.is_ancestor(first, base)
        assert contents(two, snapshot.tree) == one.files()
        assert (two.files(), two.status(), two.backend.base()) == before
        two.reopen()
        assert two.backend.load(snapshot.id) == snapshot

    def test_one_who_has_nothing_gets_everything(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        empty = fleet.new("empty")
        snapshot = edited(one)
        assert handed_over(snapshot, one, empty) == snapshot
        assert contents(empty, snapshot.tree) == one.files()

    def test_haves_that_the_server_does_not_know_do_no_harm(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        two.write("a.txt", b"two's own\n")
        two.commit("two's own")
        snap(two)
        snapshot = edited(one)
        absent = unknown(snapshot)
        packed = serve(snapshot, one, [absent, *two.backend.haves()])
        assert two.backend.receive(snapshot.id, io.BytesIO(packed)) == snapshot
        assert contents(two, snapshot.tree) == one.files()

    def test_what_is_checked_out_is_offered_first(self, fleet: Fleet) -> None:
        one, _ = pair(fleet)
        one.write("a.txt", b"second\n")
        second = one.commit("second").commit
        assert one.backend.haves()[0] == second
        assert list(fleet.new("empty").backend.haves()) == []

    def test_a_damaged_stream_is_unsafe(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"second\n")
        one.commit("second")
        snapshot = edited(one)
        packed = serve(snapshot, one, list(two.backend.haves()))
        flipped = bytearray(packed)
        flipped[len(packed) // 2] ^= 0x41
        for bad in (b"", packed[:-1], packed[: len(packed) // 2], bytes(flipped), b"not a pack at all"):
            with pytest.raises(Unsafe):
                two.backend.receive(snapshot.id, io.BytesIO(bad))
            assert two.backend.load(snapshot.id) is None
        assert two.backend.receive(snapshot.id, io.BytesIO(packed)) == snapshot

    def test_a_stream_that_leaves_out_history_is_missing(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        one.write("a.txt", b"second\n")
        second = one.commit("second").commit
        assert second is not None
        snapshot = edited(one)
        with pytest.raises(Missing):
            two.backend.receive(snapshot.id, io.BytesIO(serve(snapshot, one, [second])))
        assert two.backend.load(snapshot.id) is None

    def test_peers_are_served_while_others_are(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        snapshots = []
        for count in range(1, 7):
            one.write("a.txt", b"edit %d\n" % count)
            snapshots.append(snap(one, count=count))
        with ThreadPoolExecutor(6) as pool:
            got = list(pool.map(lambda snapshot: handed_over(snapshot, one, two), snapshots))
            again = list(pool.map(lambda snapshot: send(snapshot, one, two), snapshots))
        assert got == again == snapshots
        assert contents(two, snapshots[-1].tree) == one.files()
