"""What autosync takes and undoes where several hg working copies share one store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hg_repos import DEBIAN, own_hg, put
from hgdesk import desks

from autosync.backends.hg.server import HgEnded
from autosync.backends.hgext.locking import in_order
from autosync.errors import Busy
from tests import figures
from tests.hgext.shares import Shares
from tests.hgext.test_sharelock import kill
from tests.waiting import until

ELSEWHERE = "a transaction of another working copy of this store was interrupted (`hg recover` there ends it)"
ROUNDS = 3


@pytest.mark.parametrize("by", [DEBIAN, own_hg()], ids=["6.3.2", "7.2"])
def test_what_another_working_copy_left_is_not_undone_in_this_one(tmp_path: Path, by: tuple[str, ...]) -> None:
    """hg would delete files of this one: after a power cut the agent finds such a journal, and its own marker."""
    shares = Shares(directory=tmp_path, by=by)
    shares.make("share")
    kill(shares, "written", sharelock=False)
    for name, expected in (("source", ELSEWHERE), ("share", None)):
        with desks(by, os.fsencode(tmp_path / name)) as (desk,):
            before = desk.base(), shares.bookmarks()
            with suppress(HgEnded), desk.history.recording():
                raise HgEnded("hg", -9, "")  # it recovers at once
            assert (desk.base(), shares.bookmarks()) == before
            assert desk.head.busy() == expected
            assert (desk.repo.standing().operation or None) == expected
    assert shares.run("source", "status") == shares.run("share", "status") == ""


def test_locks_are_taken_in_one_order() -> None:
    first, second, store = (0, b"/a/.hg"), (0, b"/b/.hg"), (1, b"")
    with in_order(first), in_order(second), in_order(store):
        pass
    with in_order(first), in_order(store):
        for late in (second, store):
            with pytest.raises(RuntimeError, match="out of order"), in_order(late):
                pass


def test_a_share_and_its_source_with_agent_and_user_at_work_in_both(tmp_path: Path) -> None:
    """The agent waits for no lock, so no user waits for ever; a bookmark that either sets is there in the end."""
    shares = Shares(directory=tmp_path, by=DEBIAN)
    shares.make("share")
    expected: set[str] = set()
    declined: list[str] = []

    def agent(name: str) -> None:
        root = os.fsencode(tmp_path / name)
        with desks(DEBIAN, root) as (desk,):

            def commits() -> bool:
                try:
                    desk.committing.commit([path], message=f"agent in {name}", tree=desk.look())
                except Busy as busy:
                    declined.append(busy.title)
                    return False
                return True

            for number in range(ROUNDS):
                path = put(root, f"agent-{name}", f"{number}\n")
                until(commits, why=lambda: declined[-3:])

    def user(name: str) -> None:
        hg = shares.user(name)
        hg("bookmark", f"active-{name}")
        for number in range(ROUNDS):
            put(os.fsencode(tmp_path / name), f"user-{name}", f"{number}\n")
            hg("commit", "-qA", "-m", f"user in {name}", f"user-{name}")
            hg("bookmark", "-i", f"{name}-{number}")
            hg("bookmark", f"active-{name}")
            expected.add(f"{name}-{number}")
        hg.close()

    failures = _at_once(*(lambda do=do, name=name: do(name) for do in (agent, user) for name in ("source", "share")))
    assert failures == []
    said = shares.run("share", "log", "-T", "{desc}\n").splitlines()
    assert {words: said.count(words) for words in said if " in " in words} == {
        f"{who} in {name}": ROUNDS for who in ("agent", "user") for name in ("source", "share")
    }
    for name in ("source", "share"):
        # The active bookmark goes along with what the agent commits as well.
        assert shares.run(name, "log", "-r", ".", "-T", "{activebookmark}") == f"active-{name}"
    assert set(shares.bookmarks()) == {"main", "active-source", "active-share", *expected}
    shares.run("source", "verify", "-q")
    figures.record("operations in shares at once", 4 * ROUNDS)


def _at_once(*deeds: Callable[[], None]) -> list[BaseException]:
    """Do all of them side by side; return what they raised."""
    failures: list[BaseException] = []

    def do(deed: Callable[[], None]) -> None:
        try:
            deed()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=do, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
