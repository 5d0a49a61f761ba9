"""Real changesets go to an hg hub and come from it, without a lock and without anything of the user's own."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from closedhubs import ClosedHubs
from hg_ends import ends
from hg_repos import commit_all, copy_of, fingerprint, head, hg, isolate, make_repository, put

from autosync.core.model import CommitId, DeviceId, SnapshotId
from autosync.errors import Missing, Refused, Unreachable, Unsafe


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_repository(tmp_path_factory.mktemp("origin") / "r", {"a": b"a\n"})


class Place:
    """A hub and clones of it; what our agents commit is marked as theirs by an extension of the test."""

    def __init__(self, directory: Path, origin: bytes) -> None:
        self.directory = directory
        self.hub = copy_of(origin, directory / "hub")
        self._extension = directory / "marked.py"
        self._extension.write_text(
            "def reposetup(ui, repo):\n"
            "    class Marked(repo.__class__):\n"
            "        def commit(self, *args, **named):\n"
            "            named['extra'] = {**(named.get('extra') or {}), b'autosync': b'1'}\n"
            "            return super().commit(*args, **named)\n"
            "    repo.__class__ = Marked\n"
        )

    def clone(self, name: str) -> bytes:
        root = copy_of(self.hub, self.directory / name)
        lead(root, self.hub)
        return root

    def commit(self, root: bytes, content: bytes, *options: str) -> CommitId:
        """Commit as an agent does for its user."""
        put(root, "a", content)
        hg(root, "--config", f"extensions.marked={self._extension}", *options, "commit", "-m", "auto", "-u", "one")
        return CommitId(head(root).hex())


def lead(root: bytes, url: bytes, more: str = "") -> None:
    with open(os.path.join(root, b".hg", b"hgrc"), "wb") as file:
        file.write(b"[paths]\ndefault = %s\n%s" % (url, more.encode()))


@pytest.fixture
def place(tmp_path: Path, origin: bytes) -> Place:
    return Place(tmp_path, origin)


def log(root: bytes) -> list[str]:
    return hg(root, "log", "-T", "{node} {phase} {desc|firstline}\n").decode().splitlines()


def test_a_branch_goes_over_the_hub(place: Place) -> None:
    one, two = place.clone("one"), place.clone("two")
    first = CommitId(head(two).hex())
    with ends(one, two) as (source, target):
        assert source.hub.push_branch("default") is True
        made = place.commit(one, b"auto\n")
        assert source.hub.push_branch("default") is True
        assert source.hub.push_branch("default") is True
        assert log(place.hub)[0] == f"{made} public auto"
        assert log(one)[0] == f"{made} public auto"
        assert target.hub.fetch_branch("default:nothing") is None
        assert target.hub.fetch_branch("no such branch") is None
        before = fingerprint(two)
        assert target.hub.fetch_branch("default") == made
        assert target.hub.fetch_branch("default") == made
        assert not {
            name
            for name, seen in fingerprint(two).items()
            if before.get(name) != seen and not name.startswith((b".", b"autosync", b"store.sqlite"))
        }
        assert head(two).hex() == first
        assert [
            (bytes(path), target.open(e.oid).whole()) for path, e in target.store.entries(target.tree_of(made))
        ] == [(b"a", b"auto\n")]
        assert source.hub.fetch_branch("default") == made


def test_a_branch_that_moved_on_is_never_overwritten(place: Place) -> None:
    one, two = place.clone("one"), place.clone("two")
    with ends(one, two) as (first, second):
        theirs = place.commit(two, b"two's\n")
        assert second.hub.push_branch("default") is True
        place.commit(one, b"one's\n")
        before = log(place.hub)
        assert first.hub.push_branch("default") is False
        assert log(place.hub) == before
        assert first.hub.fetch_branch("default") == theirs


def test_nothing_of_the_users_own_is_published(place: Place) -> None:
    one = place.clone("one")
    put(one, "a", b"mine\n")
    mine = commit_all(one, "mine")
    auto = place.commit(one, b"auto\n")
    before = log(place.hub)
    with ends(one) as (end,):
        with pytest.raises(
            Refused, match=f"1 changeset of your own would go along, the first is {mine.hex()[:12]} .draft"
        ):
            end.hub.push_branch("default")
        hg(one, "phase", "--force", "--secret", "-r", mine.hex())
        with pytest.raises(Refused, match=r"2 changesets of your own would go along, .*secret") as refused:
            end.hub.push_branch("default")
        assert log(place.hub) == before
        assert next(line.split()[:2] for line in log(one)) == [auto, "secret"]
        for command in re.findall("`hg ([^`]+)`", refused.value.hint):  # what it says to do helps
            hg(one, *command.split())
        assert end.hub.push_branch("default") is True
        assert log(place.hub)[0] == f"{auto} public auto"


def test_a_bookmark_is_a_branch(place: Place) -> None:
    one, two = place.clone("one"), place.clone("two")
    for root in (one, two):
        hg(root, "bookmark", "topic")
    first = place.commit(one, b"topic\n")
    with ends(one, two) as (source, target):
        assert source.hub.push_branch("default:topic") is True
        assert hg(place.hub, "log", "-r", "topic", "-T", "{node}").decode() == first
        assert target.hub.fetch_branch("default:topic") == first
        place.commit(two, b"other\n")
        assert target.hub.push_branch("default:topic") is False


def test_a_lock_that_others_hold_is_not_waited_for(place: Place) -> None:
    one = place.clone("one")
    made = place.commit(one, b"auto\n")
    owner = f"elsewhere:{os.getpid()}"
    locks = [os.path.join(one, b".hg", b"wlock"), os.path.join(one, b".hg", b"store", b"lock")]
    for lock in locks:
        os.symlink(owner, lock)
    with ends(one) as (end,):
        assert end.hub.push_branch("default") is True
        assert end.hub.fetch_branch("default") == made
    for lock in locks:
        os.unlink(lock)
    assert log(one)[0] == f"{made} draft auto"
    assert log(place.hub)[0] == f"{made} public auto"


def test_hooks_of_the_hub_decide_and_ours_do_not_run(place: Place, tmp_path: Path) -> None:
    one = place.clone("one")
    place.commit(one, b"auto\n")
    ran = tmp_path / "ran"
    lead(one, place.hub, f"[hooks]\npre-push = touch {ran}\npreoutgoing = touch {ran}\noutgoing = touch {ran}\n")
    with open(os.path.join(place.hub, b".hg", b"hgrc"), "w") as file:
        file.write("[hooks]\npretxnchangegroup = echo no pushes today; exit 1\n")
    with ends(one) as (end,):
        with pytest.raises(Refused, match="said no"):
            end.hub.push_branch("default")
        os.unlink(os.path.join(place.hub, b".hg", b"hgrc"))
        assert end.hub.push_branch("default") is True
    assert not ran.exists()


def test_hubs_that_do_not_answer_or_say_no(place: Place) -> None:
    one = place.clone("one")
    closed = ClosedHubs()
    try:
        with ends(one) as (end,):
            for url, kind in ((closed.deaf, Unreachable), (closed.stern, Refused), (b"/no/such/hub", Unreachable)):
                lead(one, url)
                calls = [lambda: end.hub.fetch_branch("default"), lambda: end.hub.push_branch("default"), end.hub.probe]
                for call in calls[:: 1 if url == closed.deaf else 2]:
                    with pytest.raises(kind, match="The hub default"):
                        call()
    finally:
        closed.close()


def test_what_is_no_branch_is_never_an_option(place: Place) -> None:
    one = place.clone("one")
    with ends(one) as (end,):
        for branch in ("--config=hooks.x=touch", "a:b:c", "", "line\nbreak", "12", "-r", "default:"):
            for call in (end.hub.push_branch, end.hub.fetch_branch):
                with pytest.raises(Unsafe, match="is no branch"):
                    call(branch)
        with pytest.raises(Missing):
            end.hub.fetch(DeviceId("one-00000001"), SnapshotId("1" * 40))
        with pytest.raises(Refused):
            end.hub.push(DeviceId("one-00000001"), SnapshotId("1" * 40))
        assert end.hub.list_hub() == {}
        end.hub.probe()
