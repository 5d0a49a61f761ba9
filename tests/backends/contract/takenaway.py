"""Where a disk was taken out stands an empty folder; nothing is made in it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable

import pytest

from autosync.core.model import DeviceId, Kind, Snapshot
from autosync.core.operations import operations
from autosync.errors import AutosyncError
from contract.fleet import Fleet, Site, entries, look, pair, snap

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
    one.write("new", _BIG)
    snapshot = snap(one)
    with contextlib.suppress(AutosyncError):  # a hub need not hold snapshots
        one.backend.push(DeviceId("one-00000000"), snapshot.id)
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


class TestTakenAway:
    @pytest.mark.parametrize(
        "call",
        [
            _absorb,
            _apply,
            _commit,
            _fetch,
            _fetch_branch,
            _land,
            _merge,
            _pin,
            _read,
            _receive,
            _record,
            _recover,
            _repin,
            _rest,
            _sweep,
            _tidy,
        ],
    )
    def test_nothing_is_made_in_the_empty_folder(
        self, fleet: Fleet, call: Callable[[Site, Site], Callable[[], object]]
    ) -> None:
        one, two = pair(fleet)
        before = snap(two)
        asked = call(one, two)
        root = two.backend.root
        os.rename(root, root + b".away")
        os.mkdir(root)
        with contextlib.suppress(AutosyncError, OSError):
            asked()
        assert list(os.walk(root)) == [(root, [], [])]
        os.rmdir(root)
        os.rename(root + b".away", root)
        two.reopen()
        assert two.backend.load(before.id) == before
        assert look(two).tree
