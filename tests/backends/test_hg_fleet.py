"""What only hg can show: named branches, phases, history that is taken away, operations, filters, shares."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest
from contract.fleet import contents, entries, go, look, pair, rel, send, snap
from hgfleet import HgFleet, HgSite

from autosync.core.model import Base, CommitId, Snapshot
from autosync.core.operations import operations


@pytest.fixture
def fleet(hg_fleet: HgFleet) -> HgFleet:
    return hg_fleet


def two_of(fleet: HgFleet) -> tuple[HgSite, HgSite]:
    one, two = pair(fleet)
    assert isinstance(one, HgSite)
    assert isinstance(two, HgSite)
    return one, two


def handed_over(snapshot: Snapshot, source: HgSite, target: HgSite) -> None:
    """Let ``target`` fetch from ``source`` as a peer does."""
    out = io.BytesIO()
    source.backend.serve(snapshot.id, target.backend.haves(), out)
    assert target.backend.receive(snapshot.id, io.BytesIO(out.getvalue())) == snapshot


def followed(source: HgSite, target: HgSite, before: Snapshot, count: int = 2) -> Snapshot:
    """Bring ``target``, which is at ``before``, to where ``source`` is, history included."""
    after = snap(source, before, count=count)
    handed_over(after, source, target)
    go(target, before, after)
    assert target.status() == source.status()
    assert target.checked_out() == source.checked_out() == target.backend.base() == source.backend.base()
    return after


def phase(site: HgSite, commit: CommitId | None) -> bytes:
    assert commit is not None
    return site.hg("log", "--hidden", "-r", commit, "-T", "{phase}")


def test_a_file_that_arrives_where_one_of_its_size_and_time_was_is_seen(fleet: HgFleet) -> None:
    """Also by hg, which knows files by their size and second: it comes with a time of its own."""
    one, two = pair(fleet, {"a": b"1\n", "d/a": b"2\n"})
    assert isinstance(two, HgSite)
    for path in ("a", "d/a"):
        os.utime(two.at(path), (0, 1_600_000_000))
    before = snap(one)
    assert two.hg("status") == b""  # from which hg knows those times
    send(before, one, two)
    one.remove("a")
    removed = snap(one, before, count=2)
    send(removed, one, two)
    go(two, before, removed)
    one.rename("d/a", "a")
    moved = snap(one, removed, count=3)
    send(moved, one, two)
    go(two, removed, moved)
    assert two.files() == one.files()
    assert two.status() == one.status()
    assert two.hg("status") == b"M a\n! d/a\n"
    assert look(two).tree == moved.tree


def test_a_named_branch_is_followed(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    before = snap(one)
    send(before, one, two)
    one.hg("bookmark", "--inactive", "main")
    one.hg("branch", "-q", "stäble")
    assert one.backend.base() == Base(commit=before.base.commit, branch="stäble")
    named = followed(one, two, before)
    assert two.hg("branch") == "stäble\n".encode()
    assert two.hg("bookmarks", "-T", "{bookmark} {active}\n") == b"main False\n"
    one.write("a.txt", b"on the branch\n")
    base = one.commit("on the branch")
    committed = followed(one, two, named, 3)
    assert two.tip("stäble") == base.commit
    assert two.tip("default:main") == before.base.commit
    one.hg("update", "-q", "default")
    assert followed(one, two, committed, 4).base == Base(commit=before.base.commit, branch="default")
    assert two.tip("stäble") == base.commit


@pytest.mark.parametrize("kept", ["draft", "secret", "public"])
def test_a_changeset_keeps_its_phase(fleet: HgFleet, kept: str) -> None:
    one, two = two_of(fleet)
    before = snap(one)
    send(before, one, two)
    one.write("a.txt", b"second\n")
    commit = one.commit("second").commit
    assert commit is not None
    one.hg("phase", "--force", f"--{kept}", commit)
    followed(one, two, before)
    assert phase(two, commit) == phase(one, commit) == kept.encode()


def test_what_the_user_strips_is_still_here(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    one.write("a.txt", b"second\n")
    second = one.commit("second").commit
    assert second is not None
    one.write("d/b.txt", b"dirty\n")
    snapshot = snap(one)
    one.backend.pin("current", snapshot.id)
    one.backend.secure(second)
    one.hg("update", "-qC", ".^")
    one.hg("--config", "extensions.strip=", "strip", "-q", "--no-backup", second)
    assert one.hg("log", "--hidden", "-r", second, check=False) == b""
    one.reopen()
    assert one.backend.has_commit(second)
    assert contents(one, snapshot.tree)[rel("d/b.txt")][1] == b"dirty\n"
    assert entries(one, one.backend.tree_of(second)) == {
        **entries(one, snapshot.tree),
        rel("d/b.txt"): entries(one, look(one).tree)[rel("d/b.txt")],
    }
    handed_over(snapshot, one, two)
    start = snap(two)
    go(two, start, snapshot)
    assert two.files()[rel("d/b.txt")][1] == b"dirty\n"
    assert two.checked_out().commit == second
    one.backend.bring(second)
    assert phase(one, second) == b"draft"
    assert one.hg("verify", "-q") == two.hg("verify", "-q") == b""


def _merge(site: HgSite, other: CommitId) -> None:
    site.hg("merge", "-q", other, check=False)


def _rebase(site: HgSite, other: CommitId) -> None:
    site.hg("--config", "extensions.rebase=", "rebase", "-d", other, "--tool", "internal:fail", check=False)


def _graft(site: HgSite, other: CommitId) -> None:
    site.hg("graft", other, "--tool", "internal:fail", check=False)


def _unshelve(site: HgSite, other: CommitId) -> None:
    site.write("a.txt", b"shelved\n")
    site.hg("--config", "extensions.shelve=", "shelve", "-q")
    site.hg("update", "-q", other)
    site.hg("--config", "extensions.shelve=", "unshelve", "--tool", "internal:fail", check=False)


def _histedit(site: HgSite, _: CommitId) -> None:
    plan = site.root + b"/.hg/plan"
    with open(plan, "wb") as file:
        file.write(b"edit " + site.hg("log", "-r", ".", "-T", "{node|short}") + b"\n")
    site.hg("--config", "extensions.histedit=", "histedit", "--commands", plan, check=False)


OPERATIONS = {
    _merge: ("update", "-qC", "."),
    _rebase: ("--config", "extensions.rebase=", "rebase", "--abort"),
    _graft: ("graft", "--abort"),
    _unshelve: ("--config", "extensions.shelve=", "unshelve", "--abort"),
    _histedit: ("--config", "extensions.histedit=", "histedit", "--abort"),
}


@pytest.mark.parametrize("begin", OPERATIONS, ids=lambda begin: begin.__name__[1:])
def test_in_the_middle_of_an_operation_it_is_busy(fleet: HgFleet, begin: Callable[[HgSite, CommitId], None]) -> None:
    one, _ = two_of(fleet)
    first = one.backend.base().commit
    assert first is not None
    one.write("a.txt", b"theirs\n")
    theirs = one.commit("theirs").commit
    assert theirs is not None
    one.hg("update", "-q", first)
    one.write("a.txt", b"ours\n")
    one.commit("ours")
    assert one.backend.busy() is None
    begin(one, theirs)
    assert one.backend.busy()
    one.hg(*OPERATIONS[begin])
    assert one.backend.busy() is None


def test_names_that_hg_cannot_have_are_told_and_left_out(fleet: HgFleet) -> None:
    one, _ = two_of(fleet)
    odd = [rel(b"new\nline"), rel(b"d/carriage\rreturn"), rel(b"dir\n/below")]
    before = look(one)
    for name in odd:
        one.write(name, b"odd\n")
    one.write("good", b"good\n")
    for named in (None, [*odd, rel("good")]):
        reading = look(one, named, before)
        assert set(odd[:2]) <= reading.unreadable
        assert set(entries(one, reading.tree)) == {b"a.txt", b"d/b.txt", b"d/c.txt", b"good"}
    for name in odd:
        one.remove(name)
    assert look(one, [*odd], reading).unreadable == frozenset()


def test_what_is_told_during_a_landing_stays(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    one.write("new", b"new\n")
    one.hg("add", "new")
    theirs, ours = send(snap(one), one, two), snap(two)
    two.write("late", b"late\n")
    two.hg("add", "late")
    look(two, ["late"], look(two, None))  # as for a file that could not be replaced
    applied = two.tree.apply(operations(two.backend.changes(ours.tree, theirs.tree)))
    assert applied.refused == {}
    two.backend.land(ours.base, theirs.base, tree=theirs.tree, message="contract", ours=ours.tree)
    assert two.hg("status") == b"A late\nA new\n"


def test_what_is_below_dot_git_never_travels(fleet: HgFleet) -> None:
    one, _ = two_of(fleet)
    before = look(one)
    one.write(".git/config", b"[core]\n")
    one.write("sub/.GIT/config", b"[core]\n")
    one.write("sub/plain", b"plain\n")
    for named in (None, ["sub", ".git"], [".git/config", "sub/.GIT/config", "sub/plain"]):
        assert set(entries(one, look(one, named, before).tree)) <= {b"a.txt", b"d/b.txt", b"d/c.txt", b"sub/plain"}


def test_ends_of_lines_are_each_users_own(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    for site, native in ((one, b"CRLF"), (two, b"LF")):
        with open(site.at(".hg/hgrc"), "ab") as file:
            file.write(b"[extensions]\neol =\n[eol]\nnative = " + native + b"\n")
    before = snap(one)
    send(before, one, two)
    one.write(".hgeol", b"[patterns]\n**.txt = native\n")
    rules = followed(one, two, before)
    one.write("new.txt", b"one\r\ntwo\r\n")
    one.write("a.txt", b"edited\r\n")
    followed(one, two, rules, 3)
    assert two.files()[rel("new.txt")][1] == b"one\ntwo\n"
    assert two.files()[rel("a.txt")][1] == b"edited\n"


def test_shares_of_one_store_have_each_their_own(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    share = fleet.share(one, "share")
    first = snap(one)
    send(first, one, two)
    one.write("a.txt", b"dirty in one\n")
    share.write("d/b.txt", b"dirty in share\n")
    ours, theirs = snap(one, first, count=2), snap(share)
    assert contents(one, ours.tree) == one.files()
    assert contents(share, theirs.tree) == share.files()
    assert os.path.dirname(share.backend.metadata) == share.at(".hg")
    assert share.backend.store_directory == one.backend.store_directory
    share.write("d/c.txt", b"committed in share\n")
    base = share.commit("in share")
    assert one.backend.base() == first.base
    assert one.backend.has_commit(CommitId(str(base.commit)))
    one.write("a.txt", b"a\n")
    handed_over(last := snap(share, theirs, count=2), share, one)
    go(one, first, last)
    assert one.status() == share.status()
