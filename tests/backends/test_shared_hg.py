"""Several working copies of one Mercurial store (`hg share`): each keeps what is its own, whatever the others do."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from contract.fleet import contents, snap
from hg_repos import DEBIAN
from hgfleet import HgFleet, HgSite, Users

from autosync.core.model import CommitId
from autosync.errors import AutosyncError, Busy, TransientError
from autosync.foothold import Foothold, Vanished
from tests.waiting import persistently

OPTIONS = {
    "plain": (),
    "bookmarks": ("-B",),
    "bookmarks, not share-safe": ("-B", "--config", "format.use-share-safe=0"),
}


@pytest.fixture
def fleet(tmp_path: Path, users: Users) -> Iterator[HgFleet]:
    directory = tmp_path / "fleet"
    directory.mkdir()
    fleet = HgFleet(directory, users, {}, (DEBIAN, None))
    yield fleet
    fleet.close()


def source_and_share(fleet: HgFleet, *options: str) -> tuple[HgSite, HgSite]:
    """Make a repository of one commit and a share of it."""
    source = fleet.new("source")
    source.write("a.txt", b"a\n")
    source.write("d/b.txt", b"b\n")
    source.commit("first")
    return source, fleet.share(source, "share", *options)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_share_that_is_no_share_any_more(fleet: HgFleet, options: tuple[str, ...]) -> None:
    """What it commits then must not go to the store of before, which may be deleted."""
    source, share = source_and_share(fleet, *options)
    before = snap(share)
    assert share.backend.store_directory == source.backend.store_directory
    share.hg("--config", "extensions.share=", "unshare")
    assert share.backend.store_directory == share.at(".hg")
    share.write("a.txt", b"on its own\n")
    after = snap(share, before, count=2)
    base = share.backend.commit(None, message="on its own", tree=after.tree)
    assert base == share.checked_out() == share.backend.base()
    assert share.hg("verify", "-q") == b""
    assert not source.backend.has_commit(CommitId(str(base.commit)))
    assert share.backend.has_commit(CommitId(str(base.commit)))


def test_the_source_is_away_for_a_while(fleet: HgFleet) -> None:
    source, share = source_and_share(fleet)
    before = snap(share)
    foothold = Foothold(share.root, share.backend.metadata, lambda: share.backend.store_directory)
    foothold.demand()
    os.rename(source.root, source.root + b".away")
    with pytest.raises(Vanished) as away:
        foothold.demand()
    place = f"{os.fsdecode(source.root)}/.hg"
    assert away.value.title == f"The repository of {os.fsdecode(share.root)}, {place}, is not there"
    with pytest.raises(AutosyncError, match="points to nonexistent directory"):
        snap(share, before, count=2)
    os.rename(source.root + b".away", source.root)
    foothold.demand()
    share.write("a.txt", b"meanwhile\n")
    after = snap(share, before, count=2)
    assert contents(share, after.tree) == share.files()


def test_what_is_checked_out_elsewhere_is_not_stripped_by_other_words(fleet: HgFleet) -> None:
    source, share = source_and_share(fleet)
    source.write("a.txt", b"two\n")
    base = source.commit("second")
    share.hg("update", "-q", str(base.commit))
    snap(source)
    with pytest.raises(
        TransientError, match="the changeset is checked out in another working copy of the store as well: "
    ):
        source.backend.reword(source.backend.base(), "other words")
    assert share.backend.base().commit == source.backend.base().commit == base.commit
    share.hg("update", "-q", "0")
    assert source.backend.reword(source.backend.base(), "other words") == source.checked_out()


def test_what_another_has_stripped_is_kept(fleet: HgFleet) -> None:
    """`hg commit --amend` in one takes away what is checked out in the other."""
    source, share = source_and_share(fleet)
    source.write("a.txt", b"two\n")
    base = source.commit("second")
    share.hg("update", "-q", str(base.commit))
    share.write("d/b.txt", b"uncommitted\n")
    before, files = snap(share), share.files()
    snap(source)
    source.write("a.txt", b"amended\n")
    source.hg("--config", "experimental.evolution=", "commit", "-q", "--amend", "-m", "amended")
    with pytest.raises(Busy, match=f"changeset {str(base.commit)[:12]}, which is checked out here, was stripped"):
        snap(share, before, count=2)
    assert share.files() == files
    share.hg("update", "-q", str(source.checked_out().commit), check=False)
    share.backend.secure(CommitId(str(base.commit)))
    assert contents(share, before.tree) == files
    assert share.backend.tree_of(base.commit) is not None


@pytest.mark.parametrize("options", [(), ("-B",)], ids=["plain", "bookmarks"])
def test_commits_in_two_shares_at_once(fleet: HgFleet, options: tuple[str, ...]) -> None:
    """As `commits: auto` makes them, by agents that know nothing of each other; with -B both write one file."""
    sites = source_and_share(fleet, *options)
    for site in sites:
        site.hg("--config", "extensions.share=", "bookmark", site.name)
    ready = threading.Barrier(len(sites))

    def work(site: HgSite) -> None:
        ready.wait(60)
        for number in range(3):
            site.write("a.txt", b"%d of %s\n" % (number, site.name.encode()))
            tree = site.backend.read(None, None).tree
            persistently(partial(site.backend.commit, None, message=f"{site.name} {number}", tree=tree))

    with ThreadPoolExecutor(len(sites)) as threads:
        list(threads.map(work, sites))
    for site in sites:
        told = site.hg("--config", "extensions.share=", "log", "-r", "::.", "-T", "{desc}\n").decode().split("\n")
        assert told[:-1] == ["first", *(f"{site.name} {number}" for number in range(3))]
        assert site.hg("status") == b""
        here = site.hg("--config", "extensions.share=", "log", "-r", site.name, "-T", "{node}").decode()
        assert here == site.backend.base().commit == site.checked_out().commit
        assert site.backend.busy() is None
    assert sites[0].hg("verify", "-q") == b""


def test_the_states_of_a_share_survive_the_upkeep_of_another(fleet: HgFleet) -> None:
    """Each has a private store of its own: nothing is to be mixed up, pins of the same name least of all."""
    source, share = source_and_share(fleet)
    source.write("a.txt", b"mine\n")
    share.write("a.txt", b"theirs\n")
    mine, theirs = snap(source), snap(share)
    for site, snapshot in ((source, mine), (share, theirs)):
        site.backend.pin("current", snapshot.id)
    files = share.files()
    source.backend.unpin("current")
    source.backend.tidy(thorough=True)
    shutil.rmtree(source.backend.metadata)
    assert share.backend.pins() == {"current": theirs.id}
    assert contents(share, theirs.tree) == files
    assert mine.id != theirs.id
