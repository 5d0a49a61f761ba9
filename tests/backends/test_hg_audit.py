"""What the peer's hg says is what the sender's says, and until then neither user can tell that anything happened."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest
from contract.fleet import contents, go, look, pair, record, rel, send, snap
from hg_repos import both_locks_held, fingerprint
from hgfleet import HgFleet, HgSite

from autosync.core.model import Snapshot
from autosync.errors import Busy, TransientError
from tests import figures

LINES = b"".join(b"line %d\n" % number for number in range(30))
FILES = {
    "a": b"a\n",
    "d/b": LINES,
    "d/c": b"c\n",
    "gone": b"g\n",
    "run": b"#!/bin/sh\n",
    "caf\u00e9": b"utf-8\n",
    "dir/x": b"x\n",
    "dir/y": b"y\n",
}
COMMITS = 25


@pytest.fixture
def fleet(hg_fleet: HgFleet) -> HgFleet:
    return hg_fleet


def two_of(fleet: HgFleet) -> tuple[HgSite, HgSite]:
    one, two = pair(fleet, FILES)
    assert isinstance(one, HgSite)
    assert isinstance(two, HgSite)
    return one, two


def history(site: HgSite) -> tuple[bytes, ...]:
    """Return all that hg shows of history, hidden changesets included."""
    shown = "{node} {phase} {bookmarks} {branch}\n"
    return (
        site.hg("log", "-T", shown),
        site.hg("log", "--hidden", "-T", shown),
        site.hg("heads", "-T", "{node}\n", check=False),
        site.hg("phase", "-r", "all()"),
        site.hg("bookmarks"),
        site.hg("branches"),
    )


# -- what is seen afterwards ------------------------------------------------------------------------


def _modify(site: HgSite) -> None:
    site.write("d/b", LINES.replace(b"7", b"seven"))


def _add(site: HgSite) -> None:
    site.write("new", b"new\n")
    site.hg("add", "new")


def _remove(site: HgSite) -> None:
    site.hg("remove", "gone")


def _forget(site: HgSite) -> None:
    site.hg("forget", "gone")


def _rename(site: HgSite) -> None:
    site.hg("rename", "a", "e/moved")
    site.write("e/moved", b"a\nand more\n")


def _rename_twice(site: HgSite) -> None:
    site.hg("rename", "d/b", "between")
    site.hg("rename", "between", "d/last")


def _rename_directory(site: HgSite) -> None:
    site.hg("rename", "-q", "dir", "other dir")


def _copy(site: HgSite) -> None:
    site.hg("copy", "d/b", "copy")


def _copy_onto(site: HgSite) -> None:
    site.hg("copy", "--force", "d/b", "d/c")


def _rename_onto(site: HgSite) -> None:
    site.hg("remove", "gone")
    site.hg("rename", "a", "gone")


def _exchange(site: HgSite) -> None:
    site.hg("rename", "a", "tmp")
    site.hg("rename", "gone", "a")
    site.hg("rename", "tmp", "gone")


def _executable(site: HgSite) -> None:
    site.chmod("run", executable=True)
    site.write("tool", b"#!/bin/sh\n")
    site.chmod("tool", executable=True)
    site.hg("add", "tool")


def _symlink(site: HgSite) -> None:
    site.symlink("link", b"d/b")
    site.symlink("dangling", b"\xff/no/such")
    site.hg("add", "link", "dangling")
    site.remove("a")
    site.symlink("a", b"d/c")


def _symlink_alone(site: HgSite) -> None:
    site.symlink("link", b"d/b")
    site.hg("add", "link")


def _unknown(site: HgSite) -> None:
    site.write("unknown", b"?\n")
    site.write("deep/er/unknown", b"?\n")


def _missing(site: HgSite) -> None:
    site.remove("gone")


def _added_and_missing(site: HgSite) -> None:
    site.write("new", b"new\n")
    site.hg("add", "new")
    site.remove("new")


def _empty(site: HgSite) -> None:
    site.write("empty", b"")
    site.hg("add", "empty")
    site.write("a", b"")


def _odd_names(site: HgSite) -> None:
    for name in (b" lead", b"trail ", b"tab\t'\"\\", b"-dash", b"*[x]?", b"\x01\x7f", b"set:x", b"n" * 200):
        site.write(name, name)
        site.hg("add", b"path:" + name)


def _encoded_names(site: HgSite) -> None:
    for name in (b"\xc3\xbcn\xc3\xaf", b"latin \xe9\xff"):
        site.write(name, b"named\n")
        site.hg("add", b"path:" + name)
    site.write("caf\u00e9", b"edited\n")


def _file_for_directory(site: HgSite) -> None:
    site.hg("remove", "-q", "dir")
    site.write("dir", b"a file\n")
    site.hg("add", "dir")


def _directory_for_file(site: HgSite) -> None:
    site.hg("remove", "a")
    site.write("a/in/side", b"below\n")
    site.hg("add", "a/in/side")


def _unknown_file_for_directory(site: HgSite) -> None:
    site.remove("dir")
    site.write("dir", b"a file\n")


def _removed_and_back(site: HgSite) -> None:
    site.hg("remove", "gone")
    site.write("gone", b"back\n")


def _added_and_ignored(site: HgSite) -> None:
    site.write(".hgignore", b"syntax: glob\n*.o\n")
    site.write("x.o", b"o\n")
    site.write("y.o", b"never seen\n")
    site.hg("add", "x.o", ".hgignore")


def _binary(site: HgSite) -> None:
    site.write("a", bytes(range(256)))
    site.write("blob", b"\0\1\n" * 999)
    site.hg("add", "blob")


def _looks_like_metadata(site: HgSite) -> None:
    site.write("a", b"\1\ncopy: x\n\1\n")
    site.write("new", b"\1\n")
    site.hg("add", "new")


SCENES: list[tuple[Callable[[HgSite], None], bytes]] = [
    (_modify, b"M d/b\n"),
    (_add, b"A new\n"),
    (_remove, b"R gone\n"),
    (_forget, b"R gone\n"),
    (_rename, b"A e/moved\n  a\nR a\n"),
    (_rename_twice, b"A d/last\n  d/b\nR d/b\n"),
    (_rename_directory, b"A other dir/x\n  dir/x\nA other dir/y\n  dir/y\nR dir/x\nR dir/y\n"),
    (_copy, b"A copy\n  d/b\n"),
    (_copy_onto, b"M d/c\n  d/b\n"),
    (_rename_onto, b"M gone\n  a\nR a\n"),
    (_exchange, b"M a\n  gone\nM gone\n  a\n"),
    (_executable, b"M run\nA tool\n"),
    (_symlink, b"M a\nA dangling\nA link\n"),
    (_unknown, b"? deep/er/unknown\n? unknown\n"),
    (_missing, b"! gone\n"),
    (_added_and_missing, b"! new\n"),
    (_empty, b"M a\nA empty\n"),
    (_odd_names, b"A \x01\x7f\nA  lead\nA *[x]?\nA -dash\n"),
    (_encoded_names, b"M caf\xc3\xa9\nA latin \xe9\xff\nA \xc3\xbcn\xc3\xaf\n"),
    (_file_for_directory, b"A dir\nR dir/x\nR dir/y\n"),
    (_directory_for_file, b"A a/in/side\nR a\n"),
    (_unknown_file_for_directory, b"! dir/x\n! dir/y\n? dir\n"),
    (_removed_and_back, b"R gone\n"),
    (_added_and_ignored, b"A .hgignore\nA x.o\n"),
    (_binary, b"M a\nA blob\n"),
    (_looks_like_metadata, b"M a\nA new\n"),
]


def carried(source: HgSite, target: HgSite, before: Snapshot, count: int) -> Snapshot:
    """Bring ``target`` from ``before`` to where ``source`` is now."""
    after = snap(source, before, count=count)
    assert send(after, source, target) == after
    go(target, before, after)
    return after


@pytest.mark.parametrize(("scene", "shown"), SCENES, ids=[scene.__name__[1:] for scene, _ in SCENES])
def test_the_peers_status_and_diff_are_the_senders(
    fleet: HgFleet, scene: Callable[[HgSite], None], shown: bytes
) -> None:
    one, two = two_of(fleet)
    clean = snap(one)
    send(clean, one, two)
    scene(one)
    assert one.hg("status", "-C").startswith(shown)
    after = carried(one, two, clean, 2)
    assert two.status() == one.status()
    one_s = one.files()
    one_s.pop(rel("y.o"), None)  # ignored, so it stays where it is
    assert two.files() == one_s
    assert look(two).tree == after.tree
    # And all of it undone.
    for path in one.files():
        one.remove(path)
    one.hg("update", "-qC", ".")
    assert one.status() == (b"", b"")
    assert carried(one, two, after, 3).tree == clean.tree
    assert two.status() == (b"", b"")


def test_what_the_peers_user_commits_then_is_what_the_sender_would_have_committed(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    clean = snap(one)
    send(clean, one, two)
    for scene in (_modify, _rename, _copy, _remove, _executable, _symlink_alone, _encoded_names, _looks_like_metadata):
        scene(one)
    carried(one, two, clean, 2)
    said = ("-m", "both", "-u", "who", "-d", "1700000000 0")
    for site in (one, two):
        site.hg("commit", "-q", *said)
    assert one.checked_out() == two.checked_out()
    assert one.hg("export", "--git", ".") == two.hg("export", "--git", ".")


# -- what is seen meanwhile: nothing ------------------------------------------------------------------


def below_hg(*sites: HgSite) -> list[object]:
    """Return all there is in their ``.hg`` but for what is ours, with its times."""
    return [
        {path: found for path, found in fingerprint(site.root).items() if not path.startswith(b"autosync")}
        for site in sites
    ]


def work(one: HgSite, two: HgSite, before: Snapshot, count: int) -> Snapshot:
    """Look, record, keep, pack, absorb, serve and receive; neither working copy moves."""
    one.write("a", b"%d\n" % count)
    one.write(f"new {count}", LINES)
    reading = look(one, ["a", f"new {count}"], before)
    assert reading.tree == look(one).tree
    after = snap(one, before, count=count)
    one.backend.pin("current", after.id)
    base = before.base.commit
    packed = one.backend.pack(after.id, limit=1 << 20, known=[] if base is None else [base])
    assert packed is not None
    assert two.backend.absorb(after.id, packed) == after
    out = io.BytesIO()
    one.backend.serve(after.id, two.backend.haves(), out)
    assert two.backend.receive(after.id, io.BytesIO(out.getvalue())) == after
    two.backend.pin("theirs", after.id)
    found = contents(two, after.tree)
    assert found == one.files()
    two.backend.tidy(thorough=True)
    return after


def unpublished(one: HgSite) -> None:
    """Commit what the other does not have."""
    one.write("d/b", LINES.upper())
    one.commit("draft")
    one.write("d/c", b"secret\n")
    one.hg("commit", "-qA", "--secret", "-m", "secret")


def test_nothing_below_hg_is_written_but_what_is_ours(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    first = snap(one)
    send(first, one, two)
    unpublished(one)
    shown, was = [history(one), history(two)], below_hg(one, two)
    work(one, two, first, 2)
    assert below_hg(one, two) == was
    assert [history(one), history(two)] == shown


def test_others_may_hold_both_locks(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    first = snap(one)
    send(first, one, two)
    unpublished(one)
    with both_locks_held(one.root), both_locks_held(two.root):
        was = below_hg(one, two)
        after = work(one, two, first, 2)
        assert below_hg(one, two) == was
        with pytest.raises(Busy):
            two.backend.land(first.base, after.base, tree=after.tree, message="contract")
        assert below_hg(one, two) == was
    go(two, first, after)
    assert two.status() == one.status()
    assert two.checked_out() == one.checked_out()


def test_it_goes_on_while_the_user_commits(fleet: HgFleet) -> None:
    one, two = two_of(fleet)
    before = snap(one)
    send(before, one, two)
    theirs = history(two)
    done, seen = threading.Event(), threading.Event()

    def commit() -> None:
        try:
            for number in range(COMMITS):
                one.write("d/c", b"%d\n" % number)
                one.hg("commit", "-q", "-m", f"commit {number}", "d/c")
                if number == COMMITS // 2:
                    seen.wait(60)  # until we have met some of them
        finally:
            done.set()

    thread = threading.Thread(target=commit)
    thread.start()
    count, bases = 1, {before.base.commit}
    while not done.is_set():
        one.write("a", b"%d\n" % count)
        try:
            reading = one.backend.read(None, (before.base, before.tree))
        except TransientError:
            continue
        if reading.torn:
            continue
        count += 1
        before = record(one, reading.tree, before, count=count, base=reading.base)
        bases.add(before.base.commit)
        out = io.BytesIO()
        one.backend.serve(before.id, two.backend.haves(), out)
        two.backend.receive(before.id, io.BytesIO(out.getvalue()))
        assert history(two) == theirs
        if len(bases) > 1:
            seen.set()
    thread.join()
    assert len(bases) > 1
    assert one.hg("log", "-T", "{desc}\n").count(b"commit ") == COMMITS
    assert one.hg("log", "--hidden", "-T", "{desc}\n").count(b"\n") == COMMITS + 1
    assert one.hg("verify", "-q") == b""
    figures.record("commits met", COMMITS)
    figures.record("snapshots during commits", count)
    start = snap(two)
    last = snap(one, before, count=count + 1)
    out = io.BytesIO()
    one.backend.serve(last.id, two.backend.haves(), out)
    two.backend.receive(last.id, io.BytesIO(out.getvalue()))
    go(two, start, last)
    assert two.status() == one.status()
    assert two.checked_out() == one.checked_out()
