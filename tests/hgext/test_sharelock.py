"""The extension `sharelock`: shares of one store, and their bookmarks, without dead-locks and lost updates."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import figures
from tests.backends.hg_repos import DEBIAN
from tests.hgext.conftest import VERSIONS
from tests.hgext.rush import Rush
from tests.hgext.shares import WAITS_FOR_SOURCE, WAITS_FOR_STORE, Shares

RECORD = "sharelock-bookmarks"
Template = Callable[[str], Shares]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, mercurials: Mapping[str, tuple[str, ...]]) -> Template:
    """Give what makes a source and a share with a version of hg, the first time that it is asked for."""
    made: dict[str, Shares] = {}

    def make(version: str) -> Shares:
        if version not in made:
            made[version] = Shares(directory=tmp_path_factory.mktemp("template"), by=mercurials[version])
            made[version].make("share")
        return made[version]

    return make


@pytest.fixture
def shares(request: pytest.FixtureRequest, tmp_path: Path, template: Template) -> Shares:
    """Give a source and a share of it, for the version of the parameter, or the one that starts fastest."""
    return template(getattr(request, "param", "6.3.2")).copied(tmp_path)


every_version = pytest.mark.parametrize("shares", VERSIONS, indirect=True)
both_ends = pytest.mark.parametrize("shares", ["7.2", "6.3.2"], indirect=True)


# -- dead-locks ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Met:
    """How two ended who met: one in the source, one in the share."""

    waited_for_each_other: bool
    source: int
    share: int
    said: str


def meet(shares: Shares, *, source: bool, share: bool) -> Met:
    """Have one in the source who has its lock want the store, which one in the share has, who sets a bookmark.

    ``source`` and ``share`` say who has the extension.  All that happens is awaited; nothing depends on how long it
    takes: only the one in the share gives up, after a second.
    """
    for name in ("updating", "update", "closing", "close"):
        os.mkfifo(shares.directory / name)

    def stop(told: str, until: str) -> str:
        return f"echo >{shares.directory / told}; cat {shares.directory / until}"

    hook = f"hooks.preupdate={stop('updating', 'update')}"
    there = shares.start("source", "update", "--config", hook, sharelock=source)
    with there:
        (shares.directory / "updating").read_text()  # it has the lock of the source
        hook = f"hooks.pretxnclose={stop('closing', 'close')}"
        here = shares.start(
            "share", "bookmark", "-r", "0", "new", "--config", hook, "--config", "ui.timeout=1", sharelock=share
        )
        with here:
            (shares.directory / "closing").read_text()  # it has the lock of the store
            (shares.directory / "update").write_text("")
            assert there.says(WAITS_FOR_STORE)
            (shares.directory / "close").write_text("")
            each_other = here.says(WAITS_FOR_SOURCE)
            said = here.end()[1]
            there.end()
            return Met(each_other, there.code, here.code, said)


@every_version
def test_vanilla_shares_wait_for_each_other_and_lose_a_bookmark(shares: Shares) -> None:
    met = meet(shares, source=False, share=False)
    assert (met.waited_for_each_other, met.share, met.source) == (True, 255, 0)
    assert "timed out waiting for lock" in met.said
    assert shares.bookmarks() == {"main": 1}
    assert shares.bookmarks("share") == {"main": 0, "new": 0}  # for its transaction had closed


@every_version
def test_with_sharelock_nobody_waits_for_one_who_waits_for_him(shares: Shares) -> None:
    met = meet(shares, source=True, share=True)
    assert (met.waited_for_each_other, met.share, met.source) == (False, 0, 0), met.said
    assert shares.bookmarks() == {"main": 1, "new": 0}
    figures.record("dead-locks provoked", 1)


def test_beside_vanilla_in_the_source_the_dead_lock_is_gone_but_not_its_loss(shares: Shares) -> None:
    met = meet(shares, source=False, share=True)
    assert (met.waited_for_each_other, met.share, met.source) == (False, 0, 0), met.said
    assert shares.bookmarks() == {"main": 1}  # vanilla has read them before it had the store's lock


def test_a_vanilla_share_fares_no_worse_for_sharelock_in_the_source(shares: Shares) -> None:
    met = meet(shares, source=True, share=False)
    assert (met.waited_for_each_other, met.share, met.source) == (True, 255, 0)
    assert shares.bookmarks() == {"main": 1}


# -- lost updates ----------------------------------------------------------------------------------
@pytest.mark.parametrize("sharelock", [False, True])
def test_a_share_writes_bookmarks_as_they_are_not_as_it_read_them(shares: Shares, sharelock: bool) -> None:
    user = shares.user("share", sharelock=sharelock)
    user("bookmark", "-r", "0", "here")
    shares.run("source", "bookmark", "-r", "1", "there", sharelock=sharelock)
    user("bookmark", "-r", "0", "later")
    user.close()
    kept = {"there": 1} if sharelock else {}
    assert shares.bookmarks() == {"main": 0, "here": 0, "later": 0, **kept}


# -- kills and failures ----------------------------------------------------------------------------
KILL = """
import os, signal

def kill(*unused):
    os.kill(os.getpid(), signal.SIGKILL)

def reposetup(ui, repo):
    class Killed(repo.__class__):
        def transaction(self, *args, **options):
            transaction = super().transaction(*args, **options)
            if ui.config(b"kill", b"when") == b"closed":
                transaction.addpostclose(b"", kill)
            else:
                transaction.addfilegenerator(b"zzz", (), kill, post_finalize=True)
            return transaction
    repo.__class__ = Killed
"""


def kill(shares: Shares, when: str, *, sharelock: bool = True) -> None:
    """Have an hg that sets a bookmark in the share killed when its transaction is ``written`` or has ``closed``."""
    program = shares.directory / "kill.py"
    program.write_text(KILL)
    options = ("--config", f"extensions.kill={program}", "--config", f"kill.when={when}")
    with shares.start("share", "bookmark", "-r", "0", "killed", *options, sharelock=sharelock) as killed:
        killed.end()
        assert killed.code == -9
    figures.record("kills survived", 1)


@both_ends
def test_what_a_kill_left_undone_the_next_one_does(shares: Shares) -> None:
    kill(shares, "closed")
    assert shares.bookmarks() == {"main": 0}
    shares.run("source", "bookmark", "-r", "0", "next")
    assert shares.bookmarks() == {"main": 0, "killed": 0, "next": 0}
    assert not (shares.directory / "source/.hg/store" / RECORD).exists()


def test_what_a_kill_left_undone_undoes_nothing_that_vanilla_did_since(shares: Shares) -> None:
    kill(shares, "closed")
    shares.run("source", "bookmark", "-r", "1", "vanilla", sharelock=False)
    said = shares.run("share", "bookmark", "-r", "0", "next")
    assert "bookmarks of a process that was killed are left out" in said
    assert shares.bookmarks() == {"main": 0, "vanilla": 1, "next": 0}


FULL = """
import errno
from mercurial import extensions

def extsetup(ui):
    def replace(*unused):
        raise OSError(errno.ENOSPC, "No space left on device")
    extensions.find(b"sharelock").bookmarking._replace = replace
"""


def test_what_a_kill_left_undone_and_cannot_be_done_keeps_nobody_from_committing(shares: Shares) -> None:
    kill(shares, "closed")
    program = shares.directory / "full.py"
    program.write_text(FULL)
    said = shares.run("source", "phase", "-fs", "0", "--config", f"extensions.full={program}")
    assert "bookmarks of a process that was killed cannot be written: [Errno 28] No space left on device" in said
    shares.run("source", "phase", "-d", "0")
    assert shares.bookmarks() == {"main": 0, "killed": 0}


def test_vanilla_recovers_in_the_wrong_working_copy_and_deletes_its_bookmarks(shares: Shares) -> None:
    kill(shares, "written", sharelock=False)
    shares.run("source", "recover", sharelock=False, check=False)
    assert not (shares.directory / "source/.hg/bookmarks").exists()


@both_ends
def test_a_transaction_is_rolled_back_where_it_was_begun(shares: Shares) -> None:
    kill(shares, "written")
    said = shares.run("source", "recover", check=False)
    assert "abort: the interrupted transaction is one of another working copy of this store" in said
    assert "run 'hg recover' there" in said
    assert "rolling back interrupted transaction" in shares.run("share", "recover")
    assert shares.bookmarks() == {"main": 0}
    assert not list((shares.directory / "source/.hg/store").glob(RECORD + "*"))


def test_a_transaction_that_is_refused_changes_no_bookmark(shares: Shares) -> None:
    said = shares.run("share", "bookmark", "new", "--config", "hooks.pretxnclose=false", check=False)
    assert "pretxnclose hook" in said
    assert shares.bookmarks() == {"main": 0}
    assert not list((shares.directory / "source/.hg/store").glob(RECORD + "*"))


# -- everything else -------------------------------------------------------------------------------
def test_a_bookmark_that_a_share_deletes_is_no_longer_active_in_the_source(shares: Shares) -> None:
    active = shares.directory / "source/.hg/bookmarks.current"
    assert active.exists()
    shares.run("share", "bookmark", "-d", "main")
    assert not active.exists()
    assert shares.bookmarks() == {}


def test_what_is_unshared_takes_along_the_bookmarks_as_they_are(shares: Shares) -> None:
    shares.run("share", "bookmark", "-r", "0", "mine")
    shares.run("source", "bookmark", "-r", "1", "theirs")
    shares.run("share", "unshare")
    assert shares.bookmarks("share") == {"main": 0, "mine": 0, "theirs": 1}


def test_without_the_extension_share_bookmarks_are_not_shared_as_in_vanilla(shares: Shares) -> None:
    shares.run("share", "bookmark", "-r", "0", "own", "--config", "extensions.share=!")
    assert (shares.bookmarks(), shares.bookmarks("share")) == ({"main": 0}, {"own": 0})


@pytest.mark.parametrize(
    ("option", "place"),
    [("format.use-share-safe=yes", "bookmarks"), ("format.bookmarks-in-store=yes", "store/bookmarks")],
)
def test_other_formats(tmp_path: Path, option: str, place: str) -> None:
    shares = Shares(directory=tmp_path, by=DEBIAN)
    shares.make("share", init=("--config", option))
    shares.run("", "share", "-q", "-U", "-B", "share", "nested")
    shares.run("nested", "bookmark", "-r", "0", "deep")
    assert shares.run("share", "bookmarks", "-T", "{bookmark} {rev}\n") == "deep 0\nmain 0\n"
    assert " deep\n" in (tmp_path / "source/.hg" / place).read_text()
    listed = shares.run("nested", "shared", "-T", "{what}|{shared}|{path}|{lock}\n")
    assert f"bookmarks|True|{tmp_path}/source/.hg/{place}|{tmp_path}/source/.hg/store/lock\n" in listed


@pytest.mark.parametrize("sharelock", [False, True])
def test_bookmarks_in_the_store_know_no_dead_lock_but_are_lost_without_sharelock(
    tmp_path: Path, sharelock: bool
) -> None:
    shares = Shares(directory=tmp_path, by=DEBIAN)
    shares.make("share", init=("--config", "format.bookmarks-in-store=yes"))
    met = meet(shares, source=sharelock, share=sharelock)
    assert (met.waited_for_each_other, met.share, met.source) == (False, 0, 0), met.said
    lines = (tmp_path / "source/.hg/store/bookmarks").read_text().splitlines()
    assert [line.split(" ")[1] for line in lines] == (["main", "new"] if sharelock else ["main"])


def test_it_lists_what_is_shared_and_which_lock_guards_it(shares: Shares) -> None:
    directory = shares.directory
    lines = shares.run("share", "shared").splitlines()
    assert lines[:3] == [
        f"history, phases, obsolescence           always    shared   {directory}/source/.hg/store/lock",
        "caches of the history                   always    shared   -",
        f"bookmarks                               by choice shared   {directory}/source/.hg/store/lock",
    ]
    assert f"active bookmark                         never     own      {directory}/share/.hg/wlock" in lines
    assert "shared " not in shares.run("source", "shared")


ORDER = """
import sys
from mercurial import error, extensions, hg, ui as uis
ui = uis.ui.load()
extensions.loadall(ui)
lesser, greater = (hg.repository(ui, name.encode()) for name in ("share", "source"))
def attempt(*locks):
    taken = []
    try:
        for lock in locks:
            taken.append(lock())
        print("taken")
    except error.ProgrammingError as wrong:
        print(wrong)
    finally:
        for lock in reversed(taken):
            lock.release()
attempt(lesser.wlock, greater.wlock, greater.lock, lesser.wlock)
attempt(greater.wlock, lesser.wlock)
attempt(lesser.wlock, lesser.lock, greater.wlock)
attempt(lesser.lock, lesser.wlock)
attempt(lesser.lock, lambda: lesser.wlock(wait=False))
"""


def test_the_order_of_locks_is_asserted(shares: Shares) -> None:
    root = shares.directory
    environment = {**os.environ, "HGRCPATH": os.fspath(root / "hgrc-sharelock")}
    command = ["/usr/bin/python3", "-c", ORDER]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    share, source = (f"the lock of the working copy {root}/{name}/.hg" for name in ("share", "source"))
    store = f"the lock of the store {root}/source/.hg"
    assert done.stdout.splitlines() == [
        "taken",
        f"{share} is to be taken before {source}, which is held",
        f"{source} is to be taken before {store}, which is held",
        f"{share} is to be taken before {store}, which is held",
        "taken",
    ], done.stderr


def test_it_has_a_page_of_help(shares: Shares) -> None:
    assert "without dead-" in shares.run("source", "help", "sharelock")


def test_eight_at_once_lose_nothing(tmp_path: Path, mercurials: Mapping[str, tuple[str, ...]]) -> None:
    """``AUTOSYNC_RUSH`` says how often each working copy does something; long runs: ``python -m tests.hgext.rush``."""
    shares = Shares(directory=tmp_path, by=mercurials["6.3.2"])
    rush = Rush(shares, working_copies=8, operations=int(os.environ.get("AUTOSYNC_RUSH", "3")))
    assert rush.run() == []
    figures.record("operations in shares at once", rush.done)
