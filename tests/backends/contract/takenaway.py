"""Where a disk was taken out stands an empty folder; nothing is made in it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from typing import Protocol

import pytest

from autosync.core.model import DeviceId, Entry, Kind, ObjectId, Snapshot
from autosync.core.operations import operations
from autosync.errors import AutosyncError
from contract.fleet import Fleet, Site, entries, look, operation, pair, snap

Call = Callable[[Site, Site], Callable[[], object]]
"""Gets everything ready at two sites, and returns what is then asked of the second."""


class LinkingFleet(Fleet, Protocol):
    """One whose working copies may share a store."""

    def link(self, of: Site, name: str) -> Site:
        """Return a further working copy of the store of ``of``."""


_BIG = bytes(range(256)) * 1024
"""A content that is staged beside the working copy and travels in a pack of some size."""


def _record(one: Site, two: Site) -> Callable[[], object]:
    two.write("later", _BIG)
    reading = look(two)
    return lambda: two.backend.record(
        tree=reading.tree, base=two.backend.base(), version=snap(one).version, parents=(), device="two", time=1
    )


def _read(_: Site, two: Site) -> Callable[[], object]:
    return lambda: two.backend.read(None, None)


def _pin(_: Site, two: Site) -> Callable[[], object]:
    snapshot = snap(two)
    return lambda: two.backend.pin("a/place/of/its/own", snapshot.id)


def _repin(_: Site, two: Site) -> Callable[[], object]:
    snapshot = snap(two)
    two.backend.pin("former", snapshot.id)
    return lambda: two.backend.repin(add={}, drop=["former"])


def _tidy(_: Site, two: Site) -> Callable[[], object]:
    snap(two)
    return lambda: two.backend.tidy(thorough=True)


def _absorb(one: Site, two: Site) -> Callable[[], object]:
    one.write("new", _BIG)
    snapshot = snap(one)
    pack = one.backend.pack(snapshot.id, limit=1 << 24)
    assert pack is not None
    return lambda: two.backend.absorb(snapshot.id, pack)


def _receive(one: Site, two: Site) -> Callable[[], Snapshot]:
    one.write("new", _BIG)
    snapshot = snap(one)
    pack = io.BytesIO()
    one.backend.serve(snapshot.id, two.backend.haves(), pack)
    pack.seek(0)
    return lambda: two.backend.receive(snapshot.id, pack)


def _fetch(one: Site, two: Site) -> Callable[[], object]:
    if not two.backend.hub_holds_snapshots:
        return two.backend.probe_hub
    one.write("new", _BIG)
    snapshot = snap(one)
    one.backend.push(DeviceId("one-00000000"), snapshot.id)
    two.backend.list_hub()
    return lambda: two.backend.fetch(DeviceId("one-00000000"), snapshot.id)


def _fetch_branch(one: Site, two: Site) -> Callable[[], object]:
    one.write("new", _BIG)
    one.backend.commit(None, message="automatic", tree=look(one).tree)
    one.backend.push_branch(one.names.main)
    return lambda: two.backend.fetch_branch(two.names.main)


def _commit(_: Site, two: Site) -> Callable[[], object]:
    two.write("new", _BIG)
    tree = look(two).tree
    return lambda: two.backend.commit(None, message="automatic", tree=tree)


def _land(one: Site, two: Site) -> Callable[[], object]:
    one.write("a.txt", b"committed\n")
    one.commit("second")
    old, new = two.backend.base(), _receive(one, two)()
    return lambda: two.backend.land(old, new.base, tree=new.tree, message="contract")


def _apply(one: Site, two: Site) -> Callable[[], object]:
    old = look(two).tree
    one.write("new/deep/file", _BIG)
    one.write("a.txt", _BIG)
    snapshot = snap(one)
    packed = one.backend.pack(snapshot.id, limit=1 << 24)
    assert packed is not None
    new = two.backend.absorb(snapshot.id, packed)
    todo = operations(two.backend.changes(old, new.tree))
    return lambda: two.tree.apply(todo)


def _sweep(_: Site, two: Site) -> Callable[[], object]:
    return two.tree.sweep


def _recover(_: Site, two: Site) -> Callable[[], object]:
    return two.backend.recover


def _rest(_: Site, two: Site) -> Callable[[], object]:
    snapshot = snap(two)

    def go_on() -> None:
        two.backend.rest()
        two.backend.load(snapshot.id)
        two.backend.pins()

    return go_on


def _merge(_: Site, two: Site) -> Callable[[], object]:
    two.write("a.txt", b"1\n2\n3\n")
    found = entries(two, look(two).tree)
    oid = next(entry.oid for entry in found.values() if entry.kind is Kind.FILE)
    return lambda: two.backend.merge_text(oid, oid, oid)


def _nest(_: Site, two: Site) -> Callable[[], object]:
    new = Entry(kind=Kind.NESTED, oid=ObjectId("1" * 40))
    return lambda: two.tree.apply([operation("deep/nested", None, new if two.names.nested else None)])


def _push(_: Site, two: Site) -> Callable[[], object]:
    if not two.backend.hub_holds_snapshots:
        return two.backend.probe_hub
    snapshot = snap(two)
    return lambda: two.backend.push(DeviceId("two-00000000"), snapshot.id)


def _push_branch(_: Site, two: Site) -> Callable[[], object]:
    two.write("new", _BIG)
    base = two.backend.commit(None, message="automatic", tree=look(two).tree)
    assert base.branch is not None
    branch = base.branch
    return lambda: two.backend.push_branch(branch)


def _probe(_: Site, two: Site) -> Callable[[], object]:
    return two.backend.probe_hub


def _list(_: Site, two: Site) -> Callable[[], object]:
    return two.backend.list_hub


def _keep_up(one: Site, two: Site) -> Callable[[], object]:
    one.branch("followed")
    one.checkout("followed")
    one.backend.push_branch(one.backend.base().branch or "")
    return lambda: two.backend.following.keep_up(["followed"])


def _follow(_: Site, two: Site) -> Callable[[], object]:
    return lambda: two.backend.following.add(["followed"])


def _secure(_: Site, two: Site) -> Callable[[], object]:
    commit = two.commit("of this device")
    assert commit.commit is not None
    named = commit.commit
    return lambda: two.backend.secure(named)


def _reword(_: Site, two: Site) -> Callable[[], object]:
    two.write("new", _BIG)
    base = two.backend.commit(None, message="automatic", tree=look(two).tree)
    return lambda: two.backend.reword(base, "in other words")


_CALLS = [
    _absorb,
    _apply,
    _commit,
    _fetch,
    _fetch_branch,
    _follow,
    _keep_up,
    _land,
    _list,
    _merge,
    _nest,
    _pin,
    _probe,
    _push,
    _push_branch,
    _read,
    _receive,
    _record,
    _recover,
    _repin,
    _rest,
    _reword,
    _secure,
    _sweep,
    _tidy,
]


class TestTakenAway:
    """``folder`` is what is taken away: the working copy, another one of its store, or the one that has the store."""

    @pytest.mark.parametrize("folder", ["its own", "a further one", "the store's"])
    @pytest.mark.parametrize("call", _CALLS)
    def test_nothing_is_made_in_the_empty_folder(self, fleet: LinkingFleet, call: Call, folder: str) -> None:
        one, two = pair(fleet)
        used = two if folder == "its own" else fleet.link(two, "three")
        before = snap(used)
        asked = call(one, used)
        root = two.backend.root if folder == "the store's" else used.backend.root
        os.rename(root, root + b".away")
        os.mkdir(root)
        with contextlib.suppress(AutosyncError, OSError):
            asked()
        assert list(os.walk(root)) == [(root, [], [])]
        os.rmdir(root)
        os.rename(root + b".away", root)
        used.reopen()
        assert used.backend.load(before.id) == before
        assert look(used).tree

    @pytest.mark.parametrize("call", _CALLS)
    def test_each_call_does_what_it_does_where_nothing_is_taken_away(self, fleet: LinkingFleet, call: Call) -> None:
        call(*pair(fleet))()
