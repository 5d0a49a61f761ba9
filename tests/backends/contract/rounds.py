"""Whole rounds: what one user does arrives at the other, by whatever way, and both end equal."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st

from autosync.core.model import Snapshot
from contract.fleet import Fleet, Site, go, look, pair, record, send, snap

PATHS = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "d/e/f", "x y"])
CONTENTS = st.sampled_from([b"", b"1\n", b"2\n", b"\0\xff", b"1\r\n"])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), PATHS, CONTENTS),
        st.tuples(st.just("write"), PATHS, CONTENTS),
        st.tuples(st.just("symlink"), PATHS, st.sampled_from([b"a", b"../out", b"d"])),
        st.tuples(st.just("remove"), PATHS),
        st.tuples(st.just("rename"), PATHS, PATHS),
        st.tuples(st.just("chmod"), PATHS),
        st.tuples(st.just("commit")),
    ),
    max_size=8,
)


def act(site: Site, action: tuple[object, ...]) -> None:
    """Let the user do ``action``, after clearing what would be in the way of it."""
    verb, *rest = action
    standing = site.files()
    if verb == "commit":
        if site.backend.tree_of(site.backend.base().commit) != look(site).tree:
            site.commit("made up")
        return
    path = str(rest[0])
    if verb in {"write", "symlink"}:
        make_way(site, path)
        if verb == "write":
            site.write(path, bytes(rest[1]))  # type: ignore[call-overload]
        else:
            site.symlink(path, bytes(rest[1]))  # type: ignore[call-overload]
        return
    there = [each for each in standing if each == path.encode() or each.startswith(path.encode() + b"/")]
    if not there:
        return
    if verb == "remove":
        site.remove(path)
    elif verb == "chmod":
        if standing[there[0]][0].value == "file" and there == [path.encode()]:
            site.chmod(path, executable=True)
    else:
        new = str(rest[1])
        if not (new + "/").startswith(path + "/") and not (path + "/").startswith(new + "/"):
            make_way(site, new)
            site.rename(path, new)


def make_way(site: Site, path: str) -> None:
    """Remove what stands at, below or instead of a directory above ``path``."""
    wanted = path.encode()
    for each in sorted(site.files()):
        if each == wanted or each.startswith(wanted + b"/") or wanted.startswith(each + b"/"):
            site.remove(each)


def carry(snapshot: Snapshot, source: Site, target: Site) -> None:
    """Bring a snapshot over: inline if the base is there, else with its history."""
    commit = snapshot.base.commit
    if commit is None or target.backend.has_commit(commit):
        assert send(snapshot, source, target) == snapshot
        return
    out = io.BytesIO()
    source.backend.serve(snapshot.id, target.backend.haves(), out)
    out.seek(0)
    assert target.backend.receive(snapshot.id, out) == snapshot


class TestRounds:
    def test_edits_go_to_and_fro(self, fleet: Fleet) -> None:
        one, two = pair(fleet)
        current = snap(one)
        send(current, one, two)
        one.write("a.txt", b"by one\n")
        one.rename("d/b.txt", "moved/b.txt")
        one.write("run", b"#!/bin/sh\n")
        one.chmod("run", executable=True)
        edited = snap(one, current, count=2)
        carry(edited, one, two)
        go(two, current, edited)
        assert two.files() == one.files()
        assert two.status() == one.status()
        assert record(two, look(two).tree) == record(two, edited.tree)
        two.remove("run")
        two.write("a.txt", b"by two\n")
        two.commit("two's commit")
        two.write("after", b"dirty\n")
        answer = snap(two, edited, count=3)
        carry(answer, two, one)
        go(one, edited, answer)
        assert one.files() == two.files()
        assert one.status() == two.status()
        assert one.backend.base() == two.backend.base()

    def test_whatever_one_does_arrives_at_the_other(self, fleet: Fleet) -> None:
        @settings(max_examples=fleet.examples, deadline=None)
        @given(st.lists(st.tuples(st.booleans(), ACTIONS), min_size=1, max_size=3))
        def check(turns: list[tuple[bool, list[tuple[object, ...]]]]) -> None:
            one, two = pair(fleet, {"a": b"1\n", "d/a": b"2\n"})
            before = snap(one)
            send(before, one, two)
            for count, (turned, actions) in enumerate(turns, start=2):
                actor, other = (two, one) if turned else (one, two)
                for action in actions:
                    act(actor, action)
                after = snap(actor, before, count=count)
                carry(after, actor, other)
                go(other, before, after)
                assert other.files() == actor.files()
                assert other.status() == actor.status()
                assert other.backend.base() == actor.backend.base()
                assert look(other).tree == look(actor).tree == after.tree
                before = after

        check()
