"""Changesets that travel with a snapshot: which ones, and which are not believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from git_repos import git, isolate, make_repository, put

from autosync.backends.git.history import MOST, arrived_history, new_history
from autosync.backends.git.objects import object_id
from autosync.backends.git.repository import open_repository
from autosync.backends.git.store import Store
from autosync.backends.git.thin import Loose
from autosync.core.model import CommitId
from autosync.errors import Missing, Unsafe


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    return make_repository(tmp_path / "repo", {"a.txt": b"start\n"})


@pytest.fixture
def store(root: bytes) -> Iterator[Store]:
    opened = Store(open_repository(root))
    yield opened
    opened.close()


def head(root: bytes) -> CommitId:
    return CommitId(git(root, "rev-parse", "HEAD").decode().strip())


def commit(root: bytes, content: str) -> CommitId:
    put(root, "a.txt", content)
    git(root, "commit", "-qam", content)
    return head(root)


def test_the_new_ones_come_oldest_first(root: bytes, store: Store) -> None:
    start = head(root)
    first, second = commit(root, "1"), commit(root, "2")
    assert [c.id for c in new_history(store, second, {start})] == [first, second]
    assert [c.parent for c in new_history(store, second, {start})] == [start, first]
    assert new_history(store, second, {second}) == []
    assert new_history(store, second, set()) == []
    assert new_history(store, None, {start}) == []


def test_many_are_left_to_other_sources(root: bytes, store: Store) -> None:
    start = head(root)
    for number in range(MOST + 1):
        last = commit(root, str(number))
    assert new_history(store, last, {start}) == []


def test_a_merge_is_left_to_other_sources(root: bytes, store: Store) -> None:
    start = head(root)
    git(root, "checkout", "-qb", "other")
    commit(root, "other")
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--no-ff", "-m", "merge", "other")
    assert new_history(store, head(root), {start}) == []


def arriving(content: bytes) -> tuple[CommitId, dict[bytes, Loose]]:
    oid = object_id("sha1", b"commit", content)
    return CommitId(oid.hex()), {oid: Loose(kind=b"commit", content=content)}


def test_what_arrived_leads_back_to_the_store(root: bytes, store: Store) -> None:
    start = head(root)
    tree = store.tree_of(start)
    who = b"A U Thor <a@example.org> 1 +0000"
    content = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\nhello\n" % (tree.encode(), start.encode(), who, who)
    tip, objects = arriving(content)
    assert [c.id for c in arrived_history(store, tip, objects)] == [tip]
    assert arrived_history(store, start, objects) == []
    with pytest.raises(Missing, match="which is not here"):
        arrived_history(store, tip, {})


@pytest.mark.parametrize(
    "content",
    [
        b"tree {tree}\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\nno parent\n",
        b"tree {tree}\nparent {start}\nparent {start}\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\n",
        b"tree {tree}\nparent {start}\nauthor A <a> 1 +0000\0\ncommitter A <a> 1 +0000\n\n",
        b"tree {tree}\nparent {start}\nauthor A <a>> now\ncommitter A <a> 1 +0000\n\n",
        b"tree ../../etc\nparent {start}\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\n",
        b"",
    ],
)
def test_a_malformed_changeset_is_unsafe(root: bytes, store: Store, content: bytes) -> None:
    start = head(root)
    content = content.replace(b"{tree}", store.tree_of(start).encode()).replace(b"{start}", start.encode())
    tip, objects = arriving(content)
    with pytest.raises(Unsafe, match="is malformed"):
        arrived_history(store, tip, objects)
