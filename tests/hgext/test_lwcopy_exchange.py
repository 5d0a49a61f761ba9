"""What is exchanged is what any Mercurial exchanges, and what comes from any Mercurial is stored light."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import figures
from tests.backends.hg_repos import Vanilla, hg, put
from tests.hgext.lightweight import Hosts, Side, mercurials, same

WHOLE = os.environ.get("AUTOSYNC_INTEROP") == "all"
"""Whether every Mercurial talks to every other one in every way, which takes ten minutes."""
VERSIONS = ("7.2", "6.9.5", "6.3.2")
KINDS = ("plain", "able", "light")
SOME = [
    (Side("7.2", "plain"), Side("6.3.2", "light"), "ssh"),
    (Side("6.3.2", "plain"), Side("7.2", "light"), "http"),
    (Side("6.9.5", "light"), Side("6.3.2", "light"), "ssh"),
    (Side("6.3.2", "light"), Side("7.2", "able"), "ssh"),
]
"""User, server, and the way between them: the oldest and the newest in both directions, in particular."""
COPIES = 9
"""How many revisions of the history below are copies."""


@dataclass(frozen=True)
class History:
    """A history with copies in both directions and in rings: in a repository, and in bundles."""

    root: Path
    first: Path
    """A bundle of the changesets up to the middle of it."""
    whole: Path
    held: dict[str, Any]
    """What a store has to hold of it (``holding.py``)."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Hosts:
    return Hosts(tmp_path_factory.mktemp("hosts"), mercurials(pytestconfig))


@pytest.fixture(scope="module")
def history(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> History:
    place = tmp_path_factory.mktemp("history")
    root = os.fsencode(place / "repo")
    os.mkdir(root)
    chance = random.Random(7)

    def text() -> bytes:
        return b"".join(b"%x\n" % chance.getrandbits(80) for _ in range(150))

    user = Vanilla(
        root, extensions=("mq",), environment={**os.environ, "HGRCPATH": os.fspath(hosts.directory / "plain.rc")}
    )
    dates = itertools.count(1)

    def commit() -> None:
        user("commit", "-A", "-q", "-m", "step", "-d", f"{next(dates)} 0")

    user("init")
    for path, content in {"z": text(), "m": text(), "big/zz": chance.randbytes(200_000)}.items():
        put(root, path, content)
    commit()
    user("mv", "z", "a")
    commit()
    put(root, "a", user("cat", "a") + text())
    user("cp", "a", "b")
    user("mv", "big/zz", "big/aa")
    commit()
    user("mv", "a", "z")
    commit()
    user("update", "-q", "2")
    user("cp", "m", "0m")
    put(root, "0m", b"line\n" + user("cat", "m"))
    commit()
    user("merge", "-q", "3")
    commit()
    user("bundle", "-q", "--all", "-t", "none-v2", os.fspath(place / "first.hg"))
    user("mv", "big/aa", "big/zz")
    user("mv", "z", "y")
    commit()
    user("mv", "y", "z")
    user("cp", "m", "0/m")
    commit()
    user("bundle", "-q", "--all", "-t", "none-v2", os.fspath(place / "whole.hg"))
    user.close()
    held = hosts.held(Side("6.3.2", "plain"), place / "repo")[0]
    assert held["light"] == 0 and not held["problems"]
    return History(place / "repo", place / "first.hg", place / "whole.hg", held)


def made(hosts: Hosts, side: Side, bundle: Path, root: Path) -> Path:
    """Return a repository with what is in the bundle."""
    hosts.run(side, "clone", "-U", bundle, root)
    return root


CHANGEGROUPS = [("7.2", "none-v2;cg.version=04"), ("6.9.5", "none-v2;cg.version=03"), ("6.3.2", "none-v1")]
"""Mercurials, and the changegroups that they write and read."""
EACH = [(version, kind) for version in VERSIONS for kind in ("none-v1", "gzip-v2", "none-v2;cg.version=03")]


@pytest.mark.parametrize(("version", "kind"), CHANGEGROUPS + EACH if WHOLE else CHANGEGROUPS)
def test_whatever_the_order(hosts: Hosts, history: History, tmp_path: Path, version: str, kind: str) -> None:
    """Copies that come before their sources are light, from changegroups of any version."""
    light = Side(version, "light")
    bundle = tmp_path / "bundle.hg"
    hosts.run(Side(version, "plain"), "-R", history.root, "bundle", "--all", "-t", kind, bundle)
    hosts.run(light, "init", tmp_path / "repo")
    hosts.run(light, "-R", tmp_path / "repo", "unbundle", bundle)
    held = hosts.held(light, tmp_path / "repo")[0]
    assert same(held, history.held)
    assert held["light"] == COPIES


SIDES = [Side(version, kind) for version in VERSIONS for kind in KINDS]
ALL = [
    (user, server, way)
    for user in SIDES
    for server in SIDES
    for way in ("ssh", "http", "local")
    if (user.kind, server.kind) != ("plain", "plain") and not (way == "local" and user.version != server.version)
]


@pytest.mark.parametrize("pair", ALL if WHOLE else SOME, ids=lambda pair: " ".join(map(str, pair)))
def test_between_any_two(hosts: Hosts, history: History, tmp_path: Path, pair: tuple[Side, Side, str]) -> None:
    """Clone, pull and push carry the same, whoever has light copies; who has them gets them from anybody."""
    user, server, way = pair
    theirs = made(hosts, server, history.first, tmp_path / "theirs")
    with ExitStack() as stack:
        address, options = os.fspath(theirs), []
        if way == "http":
            address = stack.enter_context(hosts.http(server, theirs))
        elif way == "ssh":
            address, options = f"ssh://host/{theirs}", hosts.ssh(server)
        if way == "local" and user.kind == "plain" and server.kind == "light":
            assert "requires features unknown to this Mercurial: lwcopy-v1" in hosts.refused(
                user, "clone", "-U", address, tmp_path / "ours"
            )
            return
        hosts.run(user, "clone", "-U", "--pull", address, tmp_path / "ours", *options)
        hosts.run(user, "-R", tmp_path / "ours", "unbundle", history.whole)
        hosts.run(user, "-R", tmp_path / "ours", "push", "-f", address, *options)
    both = [hosts.held(user, tmp_path / "ours")[0], hosts.held(server, theirs)[0]]
    for side, held in zip((user, server), both, strict=True):
        assert same(held, history.held)
        assert ("lwcopy-v1" in held["requires"]) == (side.kind == "light")
        assert held["light"] == (COPIES if side.kind == "light" else 0)
    figures.record("pairs of Mercurials that exchanged light copies", 1)


@pytest.mark.parametrize("version", VERSIONS if WHOLE else ["6.3.2"])
def test_a_stream_only_for_whom_can_read_it(hosts: Hosts, history: History, tmp_path: Path, version: str) -> None:
    """A stream clone becomes a normal one for a user without the extension, though he asks for it by name."""
    server = Side(version, "light")
    theirs = made(hosts, server, history.whole, tmp_path / "theirs")
    for user in SIDES if WHOLE else [Side("7.2", "plain"), Side(version, "able")]:
        ours = tmp_path / str(user)
        options = [
            "--stream",
            "--config",
            "clone.uncompressed=yes",
            "--config",
            "ui.clonebundles=yes",
            *hosts.ssh(server),
        ]
        said = hosts.run(user, "clone", "-U", *options, f"ssh://host/{theirs}", ours)
        held = hosts.held(user, ours)[0]
        assert same(held, history.held)
        if user.kind == "plain":
            assert "requesting all changes" in said
            assert held["light"] == 0 and "lwcopy-v1" not in held["requires"]
        elif user.version == version:
            assert "requesting all changes" not in said
            assert held["light"] == COPIES and "lwcopy-v1" in held["requires"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Say nothing of who asked for what."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Have the files of a directory served, by an address that is given."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=directory)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_packed_streams_are_refused_too(hosts: Hosts, history: History, tmp_path: Path) -> None:
    """A stream in a file says what it takes to read it; a clone that is pointed to one goes past it."""
    server, user = Side("7.2", "light"), Side("7.2", "plain")
    theirs = made(hosts, server, history.whole, tmp_path / "theirs")
    packed = tmp_path / "packed.hg"
    hosts.run(server, "-R", theirs, "bundle", "--all", "-t", "none-v2;stream=v2", packed)
    hosts.run(user, "init", tmp_path / "empty")
    said = hosts.refused(user, "-R", tmp_path / "empty", "unbundle", packed)
    assert "unable to apply stream clone: unsupported format: lwcopy-v1" in said
    spec = hosts.run(server, "debugbundle", "--spec", packed).strip()
    (theirs / ".hg" / "hgrc").write_text("[extensions]\nclonebundles =\n")
    with served(tmp_path) as address:
        manifest = theirs / ".hg" / "clonebundles.manifest"
        manifest.write_text(f"{address}/{packed.name} BUNDLESPEC={spec}\n")
        for kind in ("plain", "light"):
            ours = tmp_path / kind
            said = hosts.run(
                Side("7.2", kind), "clone", "-U", "--stream", *hosts.ssh(server), f"ssh://host/{theirs}", ours
            )
            assert ("finished applying clone bundle" in said) == (kind == "light"), said
            held = hosts.held(Side("7.2", kind), ours)[0]
            assert same(held, history.held)
            assert held["light"] == (COPIES if kind == "light" else 0)


WRITES = range(1, 400, 7) if WHOLE else (20, 45)
"""At which of its writes hg is killed."""


@pytest.mark.parametrize("version", VERSIONS if WHOLE else ["7.2"])
def test_killed_while_it_comes(hosts: Hosts, history: History, tmp_path: Path, version: str) -> None:
    """Of a pull that is killed nothing stays, and it can be done again."""
    side = Side(version, "light")
    empty = tmp_path / "empty"
    hosts.run(side, "init", empty)
    killed = []
    for count in WRITES:
        root = tmp_path / str(count)
        shutil.copytree(empty, root)
        if not hosts.killed(side, "write", count, "-R", root, "unbundle", history.whole):
            break
        hosts.run(side, "-R", root, "recover", check=False)
        killed.append(root)
    assert killed
    for held in hosts.held(side, *killed):
        assert held["files"] in ({}, history.held["files"]) and not held["problems"]
    for root in killed:
        hosts.run(side, "-R", root, "pull", history.root)
    for held in hosts.held(side, *killed):
        assert same(held, history.held)
        assert held["light"] == COPIES
    left = [name for root in killed for name in os.listdir(root / ".hg" / "store") if name.startswith("tmp")]
    assert left == []  # what waited for its source was in a file without a name
    figures.record("kills survived", len(killed))


def test_hooks_see_what_comes(hosts: Hosts, history: History, tmp_path: Path) -> None:
    """A hook reads copies before the transaction closes, and one that refuses leaves nothing."""
    side = Side("7.2", "light")
    root = tmp_path / "repo"
    hosts.run(side, "init", root)
    program, out = hosts.directory / "hg-7.2-light", tmp_path / "out"
    hook = f"{program} -R {root} cat -r $HG_NODE_LAST big/zz z 0m > {out}; exit 1"
    said = hosts.refused(side, "-R", root, "--config", f"hooks.pretxnchangegroup={hook}", "unbundle", history.whole)
    assert "pretxnchangegroup hook exited with status 1" in said
    by = hosts.found["6.3.2"].command
    assert out.read_bytes() == hg(os.fsencode(history.root), "cat", "-r", "tip", "big/zz", "z", "0m", by=by)
    assert hosts.held(side, root)[0]["changesets"] == []


def test_looked_at_before_it_is_taken(hosts: Hosts, history: History, tmp_path: Path) -> None:
    """What a bundle would bring looks the same over a light store as over a plain one."""
    said = []
    for kind in ("light", "plain"):
        side = Side("6.9.5", kind)
        root = made(hosts, side, history.first, tmp_path / kind)
        said.append(
            [
                hosts.run(side, "-R", root, "incoming", "-p", "--git", history.whole),
                hosts.run(side, "-R", f"bundle:{root}+{history.whole}", "log", "-p", "--git", "-T", "{node}\n"),
            ]
        )
    assert said[0] == said[1]
    assert "rename from big/aa" in said[0][0] and "copy from m" in said[0][1]
