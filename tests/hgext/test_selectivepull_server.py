"""The extension `selectivepull` between client and server: listing by pattern, hostile answers, bytes on the wire."""

from __future__ import annotations

import fnmatch
import os
import random
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from autosync.hgext.selectivepull import names
from tests import figures
from tests.hgext.selective import ABLE, KINDS, PLAIN, Hostile, Site, User, hostile, write_bookmarks

Command = tuple[str, ...]
FEW, MANY = 20, 600


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, mercurials: Mapping[str, Command]) -> Path:
    """Make repositories of ``FEW`` and ``MANY`` heads with a bookmark each, ``b/0`` and so on, and ``main`` below."""
    root = tmp_path_factory.mktemp("heads")
    owner = User(mercurials["7.2"], root, PLAIN)
    for count in (FEW, MANY):
        owner("init", f"heads{count}")
        owner("debugbuilddag", "+1:b" + "<b+1" * count, at=f"heads{count}")
        nodes = owner("log", "-r", "all()", "-T", "{node}\n", at=f"heads{count}").split()
        marks = {f"b/{number}": node for number, node in enumerate(nodes[1:])}
        write_bookmarks(root / f"heads{count}", {**marks, "main": nodes[0], "name@diverged": nodes[0]})
    owner.close()
    return root


@pytest.fixture(scope="module")
def able(root: Path, mercurials: Mapping[str, Command]) -> Iterator[Site]:
    site = Site(mercurials["7.2"], root, f"{ABLE}[selectivepull]\npage = 40\n")
    yield site
    site.close()


@pytest.fixture(scope="module")
def plain(root: Path, mercurials: Mapping[str, Command]) -> Iterator[Site]:
    site = Site(mercurials["7.2"], root, PLAIN)
    yield site
    site.close()


@pytest.mark.parametrize("kind", ["able", "plain"])
def test_what_is_pulled_costs_the_same_of_any_number_of_bookmarks(
    user: User, able: Site, plain: Site, kind: str
) -> None:
    site = {"able": able, "plain": plain}[kind]
    sizes = {count: _sizes(user, site, f"heads{count}", f"{kind}{count}") for count in (FEW, MANY)}
    for step, size in sizes[MANY].items():
        assert abs(size - sizes[FEW][step]) < 200, (step, sizes)
        assert size < 8000, (step, sizes)


def _sizes(user: User, site: Site, served: str, copy: str) -> dict[str, int]:
    """Return the bytes in both directions that each step takes."""
    found = {}
    for step, words in {
        "clone": ["clone", "-q", site.url(served), copy],
        "pull of nothing new": ["pull", "-q"],
        "pull of one": ["pull", "-q", "-B", "b/3"],
        "incoming": ["incoming", "-q"],
        "pull of a revision": ["pull", "-q", "-r", "b/4"],
    }.items():
        site.wire.reset()
        user(*words, at=None if step == "clone" else copy, fails=step == "incoming")
        found[step] = site.wire.answered + len(site.wire.asked)
        assert "listkeys" not in site.wire.commands()
    assert set(user.marks(copy)) == {"main", "b/3"}
    return found


def test_a_pattern_is_listed_page_by_page(user: User, able: Site, root: Path) -> None:
    user("init", "listing")
    remote = ("bookmarks", "--remote", "--source", able.url(f"heads{MANY}"), "-T", "{bookmark}\n")
    ones = sorted(name for name in (f"b/{number}" for number in range(MANY)) if name.startswith("b/1"))
    able.wire.reset()
    assert user(*remote, "b/1*", at="listing").split() == ones
    assert able.wire.commands().count("listkeyspatterns") == len(ones) // 40 + 1
    assert user(*remote, "main", "b/7?", "nix", at="listing").split() == [*(f"b/7{n}" for n in range(10)), "main"]
    assert user(*remote, "b/1*", "--after", ones[4], "--limit", "3", at="listing").split()[:3] == ones[5:8]
    assert user(*remote, "name@*", at="listing", fails=True).startswith("no such bookmark at http:")
    all_names = user(*remote, "--all", at="listing").split()
    assert all_names == sorted([*(f"b/{number}" for number in range(MANY)), "main"])


def test_too_many_are_refused_before_anything_is_pulled(user: User, able: Site) -> None:
    user("clone", "-q", able.url(f"heads{FEW}"), "too-many")
    user("subscribe", "b/*", at="too-many")
    said = user("pull", "--config", "selectivepull.most=10", at="too-many", fails=True)
    assert "abort: more than 10 bookmarks at" in said
    assert user.described("too-many") == {"r0"}
    figures.record("bad inputs refused", 1)


def test_of_a_vanilla_server_all_are_listed_only_if_asked_for(user: User, plain: Site) -> None:
    user("init", "unlisted")
    remote = ("bookmarks", "--remote", "--source", plain.url(f"heads{FEW}"))
    assert user(*remote, "b/3", "nix", "-T", "{bookmark}\n", at="unlisted") == "b/3\n"
    said = user(*remote, "b/1*", at="unlisted", fails=True)
    assert "cannot list bookmarks by pattern\n(it needs the extension selectivepull too; --all lists" in said
    assert len(user(*remote, "b/1*", "--all", "-T", "{bookmark}\n", at="unlisted").split()) == 11


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bookmarks", "--remote"], "name bookmarks or patterns, or list everything by --all"),
        (["bookmarks", "--remote", "-d", "x"], "--remote cannot be combined with --delete"),
        (["bookmarks", "--limit", "2"], "--limit needs --remote"),
        (["bookmarks", "--remote", "a:b"], "hg bookmarks --remote: 'a:b' names no bookmark"),
        (["subscribe"], "name bookmarks or patterns"),
        (["subscribe", "x" * 1001], "it is longer than 1000 bytes"),
        (["subscribe", "*a*a*a*a*a*a*a*a*a"], "it has more than 8 stars"),
        (["subscribe", " "], "it is empty, or begins or ends with a space"),
        (["unsubscribe"], "name what hg subscriptions lists"),
        (["subscriptions", "--config", "selectivepull.subscribe=a:b"], "selectivepull.subscribe: 'a:b' names no"),
    ],
)
def test_what_makes_no_sense_is_refused(user: User, words: list[str], said: str) -> None:
    if not user.path("senseless").exists():
        user("init", "senseless")
    told = user(*words, at="senseless", fails=True)
    assert said in told
    assert "Traceback" not in told
    figures.record("bad inputs refused", 1)


def test_a_reader_who_may_not_pull_is_told_nothing(
    user: User, able: Site, root: Path, mercurials: Mapping[str, Command]
) -> None:
    hgrc = root / f"heads{FEW}" / ".hg" / "hgrc"
    hgrc.write_text("[web]\nallow_read = somebody\n")
    user("init", "denied")
    try:
        said = user("bookmarks", "--remote", "--source", able.url(f"heads{FEW}"), "b/*", at="denied", fails=True)
        assert "b/1" not in said
        assert "abort: " in said
        hgrc.write_text("[server]\n[selectivepull]\nserve = no\n")
        said = user("bookmarks", "--remote", "--source", able.url(f"heads{FEW}"), "b/*", at="denied", fails=True)
        assert "cannot list bookmarks by pattern" in said
    finally:
        hgrc.unlink()


def test_a_hostile_answer_changes_nothing(user: User) -> None:
    user("init", "hostile")
    user("subscribe", "b/*", at="hostile")
    one = b"1" * 40
    rows = {
        b"": "instead of more or end",
        b"<html>": "instead of more or end",
        b"end\nzz b/1\n": "instead of a hash and a name",
        b"end\n" + one[:39] + b" b/1\n": "instead of a hash and a name",
        b"end\n" + one + b" b/1": "an answer that ends amid a line",
        b"end\n" + one + b" b/\x1b[31m\n": "instead of a hash and a name",
        b"end\n" + one + b" b/\x00\n": "instead of a hash and a name",
        b"end\n" + one + b" b/\r\n": "instead of a hash and a name",
        b"end\n" + one + b" ..\n": "instead of a hash and a name",
        b"end\n" + one + b" b/" + b"x" * 2000 + b"\n": "instead of a hash and a name",
        b"end\n" + one + b" other\n": "other, which nobody asked for",
        b"end\n" + one + b" b/2\n" + one + b" b/1\n": "b/1 out of order",
        b"end\n" + one + b" b/1\n" + one + b" b/1\n": "b/1 out of order",
        b"more\n": "more to come, but nothing yet",
        b"more\n" + one + b" b/1\n": "b/1 out of order",
        b"end\n" + b"x" * 11_000_000: "an answer of more than",
    }
    looked_up = {
        b"": "instead of a hash",
        b"1 " + one[:39] + b"\n": "instead of a hash",
        b"1 " + one + b"\n" + b"x" * 100_000: "instead of a hash",
        b"\x1b[31m": "'\\x1b[31m' instead of a hash",
        b"0 no\n;0 no\n": "2 hashes instead of 3",
    }
    cases = [(b" listkeyspatterns", *row) for row in rows.items()] + [(b"", *row) for row in looked_up.items()]
    with hostile() as url:
        for Hostile.capability, answer, said in cases:
            Hostile.answer = answer
            told = user("pull", url, at="hostile", fails=True)
            assert said in told, (answer[:100], told)
            assert "Traceback" not in told
            figures.record("bad inputs refused", 1)
    assert user.described("hostile") == set()
    assert (user.path("hostile") / ".hg" / "selectivepull").read_text() == "selectivepull 1\nwant b/*\n"


@pytest.mark.parametrize(
    ("client", "server", "kind"),
    [("6.3.2", "7.2", "able"), ("7.2", "6.3.2", "plain"), ("6.9.5", "6.3.2", "able"), ("6.3.2", "6.9.5", "plain")],
)
def test_every_version_pulls_of_every_other_over_ssh(  # noqa: PLR0917 - fixtures and parameters
    root: Path, tmp_path: Path, mercurials: Mapping[str, Command], client: str, server: str, kind: str
) -> None:
    (tmp_path / "server.rc").write_text(KINDS[kind])
    ssh = tmp_path / "ssh"
    remote = shlex.join(mercurials[server])
    ssh.write_text(
        f"#!{sys.executable}\nimport os, shlex, sys\n"
        f"os.environ['HGRCPATH'] = {os.fspath(tmp_path / 'server.rc')!r}\n"
        f"words = shlex.split({remote!r}) + shlex.split(sys.argv[-1])[1:]\n"
        "os.execvp(words[0], words)\n"
    )
    ssh.chmod(0o755)
    user = User(mercurials[client], tmp_path / "user", f"{ABLE}[ui]\nssh = {ssh}\n")
    try:
        user("clone", "-q", f"ssh://user@host/{root / f'heads{FEW}'}", "copy")
        assert user.marks("copy") == {"main": "r0"}
        user("update", "-q", "b/3", at="copy")
        said = user("pull", "-B", "b/x", at="copy", fails=True)
        assert ("there are: b/" in said) == (kind == "able")
        assert user.marks("copy") == {"main": "r0", "b/3": "r4"}
    finally:
        user.close()


def test_a_pattern_stands_for_what_it_does_in_a_shell() -> None:
    chance = random.Random(11)
    for _ in range(3000):
        pattern = "".join(chance.choice("ab/*?") for _ in range(chance.randrange(1, 7)))
        name = "".join(chance.choice("ab/") for _ in range(chance.randrange(1, 7)))
        assert names.matcher(pattern.encode())(name.encode()) == fnmatch.fnmatchcase(name, pattern), (pattern, name)


def test_no_pattern_takes_long() -> None:
    """As many comparisons as there are ways to place the stars would take longer than the test may."""
    assert not names.matcher(b"*a*a*a*a*a*a*a*ab")(b"a" * names.LONGEST)
