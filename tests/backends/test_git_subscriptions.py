"""Branches of a git hub that are followed: only these travel, and no branch of the user's is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gitdevice import git, new_repository
from githubs import HttpHub, bare

from autosync.backends.git.backend import GitBackend, open_git
from autosync.backends.git.lsrefs import list_refs
from autosync.backends.git.network import Line, Patience
from autosync.backends.git.reflocks import FOLLOWING_LOCKS, RefLocks
from autosync.backends.git.refnames import RefNames
from autosync.backends.git.remote import find_remote
from autosync.backends.git.repository import open_repository
from autosync.core.model import CommitId, DeviceId, Version, WorkspaceId
from autosync.errors import AutosyncError, Busy, ConfigError, Missing, Refused, Unreachable
from autosync.ports import Followed
from autosync.trust.sealing import WorkspaceKey
from tests import figures
from tests.system.mounts import needs_mounts, tmpfs

WORKSPACE = WorkspaceId("0" * 32)
NAMES = RefNames(lambda: (WorkspaceKey(bytes(32), workspace=WORKSPACE),))
MANY = 3000
"""Branches of the hub that nobody asks for: 180 kB of their names."""


class Place:
    """A hub with many branches, and a working copy that has none of them."""

    def __init__(self, directory: Path) -> None:
        self.hub = bare(directory / "hub.git")
        self.one = new_repository(directory / "one")
        self.tip = git(self.one, "rev-parse", "HEAD")
        git(self.one, "push", "-q", str(self.hub), "main")
        lines = sorted(f"{self.tip} refs/heads/other/branch-{number}\n" for number in range(MANY))
        (self.hub / "packed-refs").write_text("# pack-refs with: sorted\n" + "".join(lines))
        self._backends: list[GitBackend] = []

    def put(self, refs: dict[str, str]) -> None:
        """Let refs of the hub be there."""
        git(self.hub, "update-ref", "--stdin", input="".join(f"update {ref} {oid}\n" for ref, oid in refs.items()))

    def commit(self, parent: str, word: str) -> str:
        """Make a commit on the hub that only the hub has."""
        blob = git(self.hub, "hash-object", "-w", "--stdin", input=word)
        tree = git(self.hub, "mktree", input=f"100644 blob {blob}\tword\n")
        return git(self.hub, "commit-tree", "-p", parent, "-m", word, tree)

    def open(self, *patterns: str, url: str | None = None, remote: str = "origin") -> GitBackend:
        if url is not None or not git(self.one, "remote"):
            git(self.one, "remote", "add", "origin", url or str(self.hub))
        backend = open_git(bytes(self.one), workspace=WORKSPACE, remote=remote, subscribe=patterns, names=NAMES)
        self._backends.append(backend)
        return backend

    def refs(self) -> dict[str, str]:
        """Return all refs of the user's repository."""
        lines = git(self.one, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return {name: oid for name, _, oid in (line.partition(" ") for line in lines)}

    def close(self) -> None:
        for backend in self._backends:
            backend.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def http(place: Place) -> Iterator[HttpHub]:
    served = HttpHub(place.hub.parent)
    git(
        place.one,
        "config",
        "credential.helper",
        f"!f() {{ echo username={served.user}; echo password='{served.password}'; }}; f",
    )
    yield served
    served.close()


def test_what_is_asked_for_travels_and_nothing_else(place: Place, http: HttpHub) -> None:
    new = place.commit(place.tip, "new")
    place.put({"refs/heads/feature/größe": new, "refs/heads/feature/b": place.tip, "refs/heads/feat": place.tip})
    backend = place.open("main", "feature/*", "missing", url=f"{http.url}/hub.git")
    assert list(backend.following.keep_up()) == [
        Followed(name="feature/b", commit=CommitId(place.tip), state="current"),
        Followed(name="feature/größe", commit=CommitId(new), state="current"),
        Followed(name="main", commit=CommitId(place.tip), state="current"),
        Followed(name="missing", commit=None, state="absent"),
    ]
    assert place.refs() == {
        "refs/heads/main": place.tip,
        "refs/remotes/origin/main": place.tip,
        "refs/remotes/origin/feature/b": place.tip,
        "refs/remotes/origin/feature/größe": new,
    }
    assert http.sent < 10_000
    http.sent = 0
    backend.following.keep_up()
    backend.list_hub()
    assert backend.fetch_branch("refs/heads/main") == place.tip
    assert http.sent < 10_000


def test_a_list_that_is_too_long_is_none(place: Place) -> None:
    git(place.one, "remote", "add", "origin", str(place.hub))
    repo = open_repository(bytes(place.one))
    line, remote = Line(repo.git, Patience()), find_remote(repo, "origin")
    whole, refs = list_refs(line, remote, ["refs/heads/other/*"])
    assert whole.ended is None
    assert refs is not None
    assert len(refs) == MANY
    cut, refs = list_refs(line, remote, ["refs/heads/other/*"], most=50 * MANY)
    assert (cut.ended, refs) == (f"it answered with more than {50 * MANY} bytes", None)
    line.close()


@needs_mounts
def test_a_list_needs_no_room_on_a_disk(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(place.one, "remote", "add", "origin", str(place.hub))
    repo = open_repository(bytes(place.one))
    line, remote = Line(repo.git, Patience()), find_remote(repo, "origin")
    with tmpfs(tmp_path / "scratch", "size=8k") as scratch:
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        outcome, refs = list_refs(line, remote, ["refs/heads/other/*"])
        assert outcome.ended is None
        assert refs is not None
        assert len(refs) == MANY
        assert list(scratch.iterdir()) == []
    line.close()


def test_what_the_hub_does_not_have_is_asked_for_once(place: Place, http: HttpHub) -> None:
    one = place.open(url=f"{http.url}/hub.git")
    git(place.one, "clone", "-q", str(place.hub), "../two")
    two = open_git(bytes(place.one.parent / "two"), workspace=WORKSPACE, remote="origin", names=NAMES)
    version = Version.of({DeviceId("two-00000000"): 1})
    tree = two.read(None, None).tree
    snapshot = two.record(tree=tree, base=two.base(), version=version, parents=(), device="two", time=1).id
    two.push(DeviceId("two-00000000"), snapshot)
    two.close()
    assert one.list_hub() == {"two-00000000": snapshot}
    pushed = git(place.hub, "for-each-ref", "--format=%(refname)", "refs/autosync")
    git(place.hub, "update-ref", "-d", pushed)
    http.answers = 0
    with pytest.raises(Missing, match="couldn't find remote ref"):
        one.fetch(DeviceId("two-00000000"), snapshot)
    asked, http.answers = http.answers, 0
    assert one.list_hub() == {}
    assert asked == http.answers > 0


def test_a_branch_that_was_rewritten_is_followed_and_no_branch_of_the_users_is(place: Place) -> None:
    first, second = place.commit(place.tip, "first"), place.commit(place.tip, "second")
    place.put({"refs/heads/topic": first})
    backend = place.open("topic")
    backend.following.keep_up()
    git(place.one, "branch", "-q", "--no-track", "topic", first)
    place.put({"refs/heads/topic": second})
    assert [each.state for each in backend.following.keep_up()] == ["current"]
    assert place.refs()["refs/remotes/origin/topic"] == second
    assert place.refs()["refs/heads/topic"] == first
    git(place.hub, "update-ref", "-d", "refs/heads/topic")
    assert [each.state for each in backend.following.keep_up()] == ["absent"]
    assert place.refs()["refs/remotes/origin/topic"] == second


def test_what_stands_in_the_way_of_a_branch_hinders_no_other(place: Place) -> None:
    backend = place.open("old", "old/new", "topic")
    git(place.one, "update-ref", "refs/remotes/origin/old", place.tip)
    place.put({"refs/heads/old/new": place.tip, "refs/heads/topic": place.tip})
    states = {each.name: each.state for each in backend.following.keep_up()}
    assert states == {"old": "absent", "old/new": "refused", "topic": "current"}
    git(place.one, "update-ref", "-d", "refs/remotes/origin/old")
    assert {each.state for each in backend.following.keep_up()} == {"absent", "current"}


def test_names_that_commands_add_are_followed_too(place: Place) -> None:
    backend = place.open("main")
    following = backend.following
    following.add(["topic", "x/*"])
    following.add(["topic"])
    place.put({"refs/heads/topic": place.tip})
    assert {each.name for each in following.keep_up()} == {"main", "topic"}
    other = place.open("main").following
    assert other.added() == ("topic", "x/*")
    other.remove(["topic", "unknown"])
    assert following.added() == ("x/*",)
    following.follow_by([])
    following.remove(["x/*"])
    assert following.keep_up() == () == following.followed
    for name in ("", "*", "a*b", "-d", "a b", "HEAD", "x.lock", "feature/", "a" * 300, "refs/heads/x:y"):
        with pytest.raises(ConfigError, match="names no branch"):
            following.add([name])
        figures.record("bad inputs refused", 1)
    with pytest.raises(ConfigError, match="More than 200 names"):
        following.add([f"name-{number}" for number in range(201)])
    assert following.added() == ()


def test_branches_are_listed_page_by_page(place: Place, http: HttpHub) -> None:
    place.put({f"refs/heads/feature/{number}": place.tip for number in range(5)})
    following = place.open(url=f"{http.url}/hub.git").following
    seen: list[str] = []
    more = True
    while more:
        rows, more = following.listed("feature/*", after=seen[-1] if seen else "", limit=2)
        seen += [name for name, _ in rows]
    assert seen == [f"feature/{number}" for number in range(5)]
    assert following.listed("feature", limit=2) == ([], False)
    assert following.listed("feature/3", limit=2) == ([("feature/3", CommitId(place.tip))], False)
    assert http.sent < 20_000
    rows, more = following.listed("*", limit=MANY)
    assert (len(rows), more) == (MANY, True)


def test_more_than_can_be_followed_is_refused(place: Place) -> None:
    following = place.open("other/*").following
    with pytest.raises(Refused, match=f"means {MANY} branches of the hub, more than 1000"):
        following.keep_up()
    assert "refs/remotes/origin/other/branch-0" not in place.refs()


def test_a_hub_without_a_name_and_one_that_is_away_are_told(place: Place) -> None:
    backend = place.open("main", remote=str(place.hub))
    with pytest.raises(Refused, match="has no name here, so its branches have no place"):
        backend.following.keep_up()
    away = place.open("main")
    git(place.one, "remote", "set-url", "origin", str(place.hub) + ".away")
    with pytest.raises(Unreachable, match="is not there"):
        away.following.keep_up()


def test_a_server_of_an_old_protocol_is_followed_too(place: Place) -> None:
    backend = place.open("main", "topic/*")
    place.put({"refs/heads/topic/größe": place.tip})
    wrapper = place.hub.parent / "old"
    wrapper.write_text('#!/bin/sh\nunset GIT_PROTOCOL\nexec git upload-pack "$@"\n')
    wrapper.chmod(0o755)
    git(place.one, "config", "remote.origin.uploadpack", str(wrapper))
    assert {each.name: each.state for each in backend.following.keep_up()} == {
        "main": "current",
        "topic/größe": "current",
    }


def test_an_agent_and_a_command_forget_none_of_each_others_locks(place: Place) -> None:
    """What one of them notes has to be there if it is killed, whatever the other one does meanwhile."""
    place.put({"refs/heads/topic": place.tip})
    command, repo = place.open("topic"), open_repository(bytes(place.one))
    lock = place.one / ".git" / "refs" / "remotes" / "origin" / "other.lock"
    journal = Path(repo.metadata.decode(), FOLLOWING_LOCKS.decode())
    locks = RefLocks(repo, FOLLOWING_LOCKS)
    with locks.alone() as alone, locks.expected([bytes(lock)]):
        assert alone
        noted = journal.read_bytes()
        with pytest.raises(Busy, match="by another autosync"):
            command.following.keep_up()
        agent = place.open("topic")
        agent.recover()
        assert journal.read_bytes() == noted
    assert [each.state for each in command.following.keep_up()] == ["current"]


def test_whatever_language_the_user_speaks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where git has no translations installed, this tries nothing.
    monkeypatch.setenv("LANGUAGE", "de:fr")
    backend = place.open("main", url=str(place.hub))
    assert backend.following.keep_up() == [Followed(name="main", commit=CommitId(place.tip), state="current")]


def test_where_the_repository_is_gone_the_one_around_it_is_left_alone(place: Place) -> None:
    git(place.one, "remote", "add", "origin", str(place.hub))
    around = place.one.parent / "around"
    git(place.one.parent, "clone", "-q", str(place.hub), str(around))
    inner = around / "inner"
    git(place.one, "worktree", "add", "-q", "-b", "inner", str(inner))
    backend = open_git(bytes(inner), workspace=WORKSPACE, remote="origin", names=NAMES)
    assert [each.state for each in backend.following.keep_up(["main"])] == ["current"]
    inner.rename(around.parent / "away")
    inner.mkdir()
    git(around, "update-ref", "-d", "refs/remotes/origin/main")
    for ask in (backend.list_hub, backend.probe_hub, lambda: backend.following.keep_up(["main"])):
        with pytest.raises((AutosyncError, OSError)):
            ask()
    assert git(around, "for-each-ref", "refs/remotes/origin/main", "refs/autosync") == ""
    assert git(place.hub, "for-each-ref", "refs/autosync") == ""
    backend.close()
