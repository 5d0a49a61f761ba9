"""Bookmarks of an hg hub that are followed: only these are asked for, and nothing of the user's is overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hg_ends import ends
from hg_repos import commit_all, copy_of, head, hg, isolate, make_repository, put
from hgserver import EXTENSION, HgServer

from autosync.backends.hg.following import Following
from autosync.core.model import CommitId
from autosync.errors import Busy, ConfigError, Refused, Unreachable
from autosync.ports import Followed
from tests import figures
from tests.hgext.selective import Hostile, hostile


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A hub with the bookmarks stable, feature/a and feature/b, these on changesets of their own; and its beginning."""
    place = tmp_path_factory.mktemp("origins")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in isolate(place / "home").items():
            patch.setenv(name, value)
        root = make_repository(place / "hub", {"a": b"a\n"})
        first = copy_of(root, place / "first")
        hg(root, "bookmark", "-i", "-r", "tip", "stable")
        for name in ("a", "b"):
            hg(root, "update", "-q", "0")
            put(root, "a", name.encode())
            hg(root, "bookmark", "-i", "-r", commit_all(root, name).hex(), f"feature/{name}")
        hg(root, "update", "-q", "0")
    return root, first


@pytest.fixture
def hub(origins: tuple[bytes, bytes], tmp_path: Path) -> bytes:
    return copy_of(origins[0], tmp_path / "hub")


@pytest.fixture
def root(origins: tuple[bytes, bytes], tmp_path: Path) -> bytes:
    """A working copy that has the first changeset and no bookmarks."""
    return copy_of(origins[1], tmp_path / "one")


@pytest.fixture(params=[False, True], ids=["vanilla", "extended"])
def server(hub: bytes, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[HgServer]:
    served = HgServer(hub, tmp_path, extended=request.param)
    yield served
    served.close()


def at(root: bytes, name: str) -> str:
    return hg(root, "log", "-r", f"bookmark('literal:{name}')", "-T", "{node}").decode()


def lead(root: bytes, url: str) -> None:
    Path(root.decode(), ".hg", "hgrc").write_text(f"[paths]\ndefault = {url}\n")


def test_what_is_followed_comes_and_nothing_else_is_asked_for(server: HgServer, hub: bytes, root: bytes) -> None:
    lead(root, server.url)
    with ends(root) as (end,):
        following = Following(root, end.hub, ["feature/a", "missing"])
        there = CommitId(at(hub, "feature/a"))
        wanted = [
            Followed(name="feature/a", commit=there, state="current"),
            Followed(name="missing", commit=None, state="absent"),
        ]
        assert list(following.keep_up()) == wanted
        assert list(following.followed) == wanted
        assert at(root, "feature/a") == there
        assert hg(root, "bookmarks", "-T", "{bookmark}\n").split() == [b"feature/a"]
        assert len(hg(root, "log", "-q").split()) == 2
        assert "listkeys" not in server.asked
        assert "heads" not in server.asked
        server.forget()
        following.keep_up()
        assert not {"listkeys", "heads", "getbundle", "branchmap"} & set(server.asked)


def test_bookmarks_move_forward_only(hub: bytes, root: bytes) -> None:
    lead(root, hub.decode())
    with ends(root) as (end,):
        following = Following(root, end.hub, ["feature/a", "feature/b", "stable"])
        following.keep_up()
        hg(root, "update", "-q", "feature/b")  # active from now on
        put(root, "a", b"mine")
        mine = commit_all(root, "mine").hex()
        hg(root, "bookmark", "-f", "-r", mine, "stable")  # ahead of the hub's
        hg(root, "bookmark", "-f", "-r", "0", "feature/a")
        for name in ("feature/a", "feature/b"):
            hg(hub, "update", "-q", name)
            put(hub, "a", b"new " + name.encode())
            commit_all(hub, "new")
        hg(hub, "update", "-q", "0")
        states = {each.name: each.state for each in following.keep_up()}
        assert states == {"feature/a": "current", "feature/b": "checked-out", "stable": "current"}
        assert at(root, "feature/a") == at(hub, "feature/a")
        assert at(root, "feature/b") == mine == at(root, "stable")
        assert head(root).hex() == mine
        hg(root, "bookmark", "-f", "-r", mine, "feature/a")
        states = {each.name: each.state for each in following.keep_up()}
        assert states["feature/a"] == "diverged"
        assert at(root, "feature/a") == mine


def test_patterns_need_a_server_that_lists_them(server: HgServer, hub: bytes, root: bytes) -> None:
    lead(root, server.url)
    with ends(root) as (end,):
        following = Following(root, end.hub, ["feature/*"])
        seen = {each.name: each.state for each in following.keep_up()}
        if server.extended:
            assert seen == {"feature/a": "current", "feature/b": "current"}
            rows, more = following.listed("feature/*", limit=1)
            assert (list(rows), more) == ([("feature/a", at(hub, "feature/a"))], True)
            rows, more = following.listed("*", after="feature/a", limit=5)
            assert ([name for name, _ in rows], more) == (["feature/b", "stable"], False)
        else:
            assert seen == {"feature/*": "unlisted"}
            with pytest.raises(Refused, match="lists bookmarks by pattern for nobody, only all at once"):
                following.listed("feature/*", limit=1)
        assert following.listed("stable", limit=1) == ([("stable", at(hub, "stable"))], False)
        assert following.listed("beef", limit=1) == ([], False)


@pytest.mark.parametrize("server", [True], indirect=True)
def test_a_strange_name_hinders_no_other(server: HgServer, hub: bytes, root: bytes) -> None:
    lead(root, server.url)
    there = at(hub, "feature/a")
    names = ("12", "1\x1b[31m", "1\u2028current x y", "1ok")
    Path(hub.decode(), ".hg", "bookmarks").write_text("".join(f"{there} {name}\n" for name in names), encoding="utf-8")
    with ends(root) as (end,):
        following = Following(root, end.hub, ["1*"])
        wanted = [(names[2], "current"), (names[3], "current")]
        assert sorted((each.name, each.state) for each in following.keep_up()) == sorted(wanted)


@pytest.mark.parametrize("server", [False], indirect=True)
def test_what_is_no_bookmark_is_none(server: HgServer, hub: bytes, root: bytes) -> None:
    """A server that looks names up finds branches, tags and the beginnings of hashes too."""
    lead(root, server.url)
    prefix = at(hub, "feature/b")[:12]
    with ends(root) as (end,):
        following = Following(root, end.hub, ["default", prefix])
        assert {each.state for each in following.keep_up()} == {"absent"}
        assert hg(root, "bookmarks", "-T", "{bookmark}\n") == b""


@pytest.mark.parametrize("extended", [False, True])
def test_a_name_that_is_missing_ends_no_connection_over_ssh(
    extended: bool, hub: bytes, root: bytes, tmp_path: Path
) -> None:
    (tmp_path / "dial").write_text('#!/bin/sh\nshift; exec sh -c "$*"\n')
    (tmp_path / "dial").chmod(0o755)
    if extended:
        Path(hub.decode(), ".hg", "hgrc").write_text(f"[extensions]\nselectivepull = {EXTENSION}\n")
    lead(root, f"ssh://host/{hub.decode()}\n[ui]\nssh = {tmp_path}/dial\nremotecmd = /usr/bin/hg")
    with ends(root) as (end,):
        following = Following(root, end.hub, ["feature/a", "missing", "stable"])
        states = {each.name: each.state for each in following.keep_up()}
        assert states == {"feature/a": "current", "missing": "absent", "stable": "current"}


def test_the_list_is_that_of_the_extension(hub: bytes, root: bytes) -> None:
    lead(root, hub.decode())
    with ends(root) as (end,):
        following = Following(root, end.hub, [])
        assert following.keep_up() == ()
        following.add(["feature/a", "x/*"])
        assert (
            Path(root.decode(), ".hg", "selectivepull").read_bytes() == b"selectivepull 1\nwant x/*\nwant feature/a\n"
        )
        assert sorted(following.added()) == ["feature/a", "x/*"]
        assert [(each.name, each.state) for each in following.keep_up()] == [("feature/a", "current")]
        following.remove(["x/*"])
        assert following.added() == ("feature/a",)
        for name in ("tip", "a:b", "12", "a*b", "x" * 300, "-a", ""):
            with pytest.raises(ConfigError, match="names no bookmark"):
                following.add([name])
        lock = Path(root.decode(), ".hg", "wlock")
        lock.symlink_to("elsewhere:1")
        with pytest.raises(Busy, match="hg is at work here"):
            following.add(["feature/b"])
        lock.unlink()
        assert following.added() == ("feature/a",)


def test_a_share_moves_the_bookmarks_of_its_source(hub: bytes, root: bytes, tmp_path: Path) -> None:
    """They are in one file, which the working copies that share them read."""
    share = bytes(tmp_path / "share")
    lead(root, hub.decode())
    hg(root, "--config", "extensions.share=", "share", "-q", "-B", ".", share)
    lead(share, hub.decode())
    with ends(share) as (end,):
        following = Following(share, end.hub, ["stable"])
        assert [each.state for each in following.keep_up()] == ["current"]
        assert at(root, "stable") == at(hub, "stable")
        hg(root, "bookmark", "-f", "-r", "0", "stable")
        following.keep_up()
        assert at(root, "stable") == at(hub, "stable")


def test_a_hostile_list_is_none(root: bytes) -> None:
    """Neither is what nobody asked for taken, nor a list without end, nor one without measure."""
    one = b"1" * 40
    answers = {
        b"more\n" + one + b" b/1\n": "b/1 out of order",
        b"end\n" + one + b" other\n": "other, which nobody asked for",
        b"end\n" + one + b" b/\x1b[31m\n": "no hash and name",
        b"end\n" + one + b" b/\xe2\x80\xa8\n" + one: "no hash and name",
        b"more\n": "more to come, but nothing yet",
        b"<html>": "neither more nor end",
        b"end\n" + b"x" * 17_000_000: "more than 16777216 bytes",
    }
    Hostile.capability = b" listkeyspatterns"
    with hostile() as url, ends(root) as (end,):
        lead(root, url)
        following = Following(root, end.hub, ["b/*"])
        for Hostile.answer, said in answers.items():
            with pytest.raises(Unreachable, match=said):
                following.keep_up()
            figures.record("bad inputs refused", 1)
    assert hg(root, "bookmarks", "-T", "{bookmark}") == b""
