"""A copy or a rename takes next to no place, and nothing else is different."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

import autosync.hgext
from tests.backends.hg_repos import DEBIAN, Vanilla, killed_at, put
from tests.figures import record

LWCOPY = os.path.join(os.path.dirname(autosync.hgext.__file__), "lwcopy")
LARGE = random.Random(7).randbytes(300_000)


class Light:
    """A repository with light-weight copies, its hg started once."""

    def __init__(self, place: Path, by: Sequence[str], *, light: bool = True) -> None:
        place.mkdir()
        self.root = os.fsencode(place)
        self.hg = Vanilla(self.root, (*by, "--config", f"extensions.lwcopy={LWCOPY}"), extensions=("strip", "censor"))
        self.hg("init", "--config", f"format.lwcopy={light}", self.root)

    def commit(self, message: str = "work", date: int = 0) -> None:
        self("commit", "-A", "-m", message, "-d", f"{date} 0")

    def __call__(self, *args: str | bytes, check: bool = True) -> bytes:
        return self.hg("--cwd", self.root, *args, check=check)

    def fails(self, *args: str | bytes) -> str:
        """Run a command that fails, and return what hg says."""
        code, output, errors = self.hg.run("--cwd", self.root, *args)
        assert code, output
        return (output + errors).decode()

    def close(self) -> None:
        self.hg.close()

    def links(self, path: str) -> list[int]:
        """Return the changesets that the revisions of a file belong to, in their order."""
        lines = self("debugindex", path).decode().splitlines()[1:]
        return [int(line.split()[1]) for line in lines]

    def light(self) -> tuple[int, int]:
        """Return how many copies are light, and how many are not."""
        found = json.loads(self("lwcopy", "-T", "json"))[0]
        return found["light"], found["full"]

    def everything(self) -> bytes:
        """Return what a bundle of all holds, which has every text; hg reads and checks each for it."""
        self("verify")
        self("bundle", "--all", "-t", "none-v2", "../all.hg")
        with open(os.path.join(self.root, b"../all.hg"), "rb") as file:
            return file.read()

    def stored(self) -> int:
        """Return how many bytes the store's files have."""
        place = os.path.join(self.root, b".hg/store/data")
        return sum(os.path.getsize(os.path.join(where, name)) for where, _, names in os.walk(place) for name in names)

    def write(self, path: str, content: bytes) -> None:
        put(self.root, path, content)


Make = Callable[..., Light]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Give a function that makes a repository; each one's hg ends with the test."""
    with ExitStack() as held:

        def made(name: str, by: Sequence[str] = DEBIAN, *, light: bool = True) -> Light:
            repo = Light(tmp_path / name, by, light=light)
            held.callback(repo.close)
            return repo

        yield made


@pytest.fixture
def repo(make: Make, hg: Sequence[str]) -> Light:
    return make("repo", hg)


def test_renamed_and_copied(make: Make) -> None:
    """Back and forth, with a change: the text is stored once."""
    repo = make("repo")
    repo.write("b", LARGE)
    repo.commit()
    repo("mv", "b", "a")
    repo.commit()
    repo.write("a", LARGE + b"more")
    repo("mv", "a", "b")
    repo.commit()
    repo("cp", "b", "dir/of/c")
    repo.commit()
    assert repo.stored() < len(LARGE) * 1.02
    assert repo("cat", "-r", "tip", "dir/of/c") == LARGE + b"more"
    assert repo("cat", "-r", "1", "a") == LARGE
    repo("verify")


def test_hashes_as_ever(repo: Light, make: Make, hg: Sequence[str]) -> None:
    """What hg debugdata prints, and every hash, is the same as in a repository without."""
    usual = make("usual", hg, light=False)
    for one in (repo, usual):
        one.write("from", LARGE)
        one.commit()
        one("mv", "from", "to")
        one.write("to", LARGE + b"x")
        one.commit()
    for command in (("log", "-T", "{node}"), ("debugdata", "to", "0"), ("manifest", "--debug")):
        assert repo(*command) == usual(*command)
    assert usual.stored() > 2 * len(LARGE) > repo.stored() * 1.5


def test_who_cannot_read_it_is_told(make: Make) -> None:
    repo = make("repo")
    vanilla = Vanilla(os.path.dirname(repo.root))
    code, _, said = vanilla.run("-R", repo.root, "log")
    vanilla.close()
    assert code == 255
    assert b"repository requires features unknown to this Mercurial: lwcopy-v1" in said


@pytest.fixture
def usual(make: Make, hg: Sequence[str]) -> Light:
    """Give a repository without, with a history of copies that sort before and after their sources."""
    found = make("usual", hg, light=False)
    found.write("m", LARGE)
    found.write("n", LARGE[:500])
    found.commit()
    for source, to in (("m", "a"), ("a", "z"), ("z", "m"), ("m", "b"), ("n", "o")):
        found("mv" if source != "m" else "cp", source, to, "--force")
        found.write(to, found("cat", source, "-r", ".") + to.encode() * 10)
        found.commit()
    return found


def test_converted_both_ways(usual: Light) -> None:
    before, size = usual.everything(), usual.stored()
    assert size > 4 * len(LARGE)
    assert usual.light() == (0, 5)
    assert usual("lwcopy", "--on") == b"5 copies became light\n"
    assert "no rollback information" in usual.fails("rollback", "--config", "ui.rollback=yes")
    assert usual.light() == (5, 0)
    assert usual.stored() < len(LARGE) * 1.02
    assert usual.everything() == before
    assert usual("lwcopy", "--on") == b"0 copies became light\n"
    assert usual("lwcopy", "--off") == b"5 copies are stored in full again\n"
    assert usual.stored() == size
    assert usual.everything() == before
    assert usual("lwcopy", "--off") == b"0 copies are stored in full again\n"
    assert "cannot specify both" in usual.fails("lwcopy", "--on", "--off")


def test_converted_by_hg_itself(usual: Light) -> None:
    """hg debugupgraderepo knows the format, keeps it when it writes the store anew, and takes it away again."""
    before, size = usual.everything(), usual.stored()
    run = ("debugupgraderepo", "--run", "--no-backup", "--quiet")
    usual(*run, "--config", "format.lwcopy=yes")
    assert usual.light() == (5, 0)
    usual(*run, "-o", "re-delta-all")
    assert usual.light() == (5, 0)
    assert usual.everything() == before
    usual(*run, "--config", "format.lwcopy=no")
    assert usual.light() == (0, 5)
    assert usual.stored() == size
    assert usual.everything() == before


@pytest.mark.parametrize(("word", "count"), [("--on", 4), ("--on", 9), ("--off", 4)])
def test_killed_in_the_middle(make: Make, word: str, count: int) -> None:
    """Whatever a kill leaves, hg recover brings back, and the conversion can be done again."""
    usual = make("usual", light=word == "--off")
    usual.write("m", LARGE)
    usual.commit()
    for source, to in (("m", "n"), ("n", "o"), ("o", "p")):
        usual("mv", source, to)
        usual.commit()
    before = usual.everything()
    usual.hg.close()
    killed = (*killed_at("rename", count), "-R", usual.root, "--config", f"extensions.lwcopy={LWCOPY}")
    ended_by = subprocess.run([*killed, "lwcopy", word], capture_output=True, check=False).returncode
    assert ended_by == -signal.SIGKILL
    record("kills survived", 1)
    usual.hg = Vanilla(usual.root, (*DEBIAN, "--config", f"extensions.lwcopy={LWCOPY}"))
    usual("recover", check=False)
    assert usual.everything() == before
    usual("lwcopy", word)
    assert usual.light() == ((3, 0) if word == "--on" else (0, 3))
    assert usual.everything() == before


def test_many_renames_on_end(make: Make) -> None:
    """However often a file is renamed, no text is put together from more than 24 others."""
    repo = make("repo")
    repo.write("f0", LARGE)
    repo.commit()
    for number in range(26):
        repo("mv", f"f{number}", f"f{number + 1}")
        repo.commit()
    light, full = repo.light()
    assert light + full == 26
    assert full == 1
    before = repo.everything()
    repo("lwcopy", "--off")
    repo("lwcopy", "--on")
    assert repo.light()[1] == 1
    assert repo.everything() == before


def test_stripped_across(repo: Light) -> None:
    """A source that an older changeset brought, but that stands after what is stripped, is taken out for a moment."""
    repo.write("base", b"base")
    repo.commit("base")
    repo.write("s", LARGE)
    repo.commit("stripped first")
    repo("update", "-q", "0")
    repo.write("s", LARGE[::-1])
    repo.commit("keeps")
    repo("cp", "s", "y")
    repo.commit("copies")
    repo("update", "-q", "0")
    repo.write("s", LARGE)
    repo.commit("stripped second")
    repo("strip", "--no-backup", "-q", "1")
    assert repo.links("s") == [3, 1]
    assert repo.light() == (1, 0)
    repo("update", "-q", "2")
    repo("strip", "--no-backup", "-q", "3")
    assert repo.links("s") == [1]
    assert repo.light() == (0, 1)
    assert repo("cat", "-r", "tip", "y") == LARGE[::-1]
    repo("verify")


def test_source_censored(repo: Light) -> None:
    """What was copied before a source is censored stays readable, as it does without us."""
    repo.write("s", LARGE)
    repo.commit()
    repo("cp", "s", "y")
    repo.commit()
    repo("cp", "y", "z")
    repo.write("s", b"not a secret" + LARGE[::-1])
    repo.commit()
    assert repo.light() == (2, 0)
    repo("censor", "-r", "0", "s", "-t", "gone")
    assert repo.light() == (1, 1)
    assert repo("cat", "-r", "1", "y") == LARGE
    assert repo("cat", "-r", "2", "z") == LARGE
    assert "censored" in repo.fails("cat", "-r", "0", "s")
    # Of what is censored itself hg says so in any repository.
    assert "1 integrity errors encountered" in repo.fails("verify")
    repo.hg.run("--cwd", repo.root, "rollback", "--config", "ui.rollback=yes")
    assert repo("cat", "-r", "1", "y") == repo("cat", "-r", "2", "z") == LARGE


def test_copy_censored(make: Make) -> None:
    repo = make("repo")
    repo.write("s", LARGE)
    repo.commit()
    repo("mv", "s", "y")
    repo.commit()
    repo("mv", "y", "s")
    repo.commit()
    repo.write("s", b"not a secret" + LARGE[::-1])
    repo.commit()
    repo("censor", "-r", "2", "s", "-t", "gone")
    assert repo("cat", "-r", "1", "y") == LARGE
    assert repo("cat", "-r", "0", "s") == LARGE
    assert "censored" in repo.fails("cat", "-r", "2", "s")
    # Of what is censored itself hg says so in any repository.
    assert "1 integrity errors encountered" in repo.fails("verify")


DAMAGE = [
    (1, 9, "version 9 of its layout is not known"),
    (2, 0, "its header makes no sense"),
    (2, 25, "its header makes no sense"),
    (3, 2, "its header makes no sense"),
    (4, 255, "it is cut off"),
    (6, 0, "its source s"),
    (26, 120, "its source x"),
    (27, 0, "its chunk is damaged"),
]
"""Where in the chunk another byte stands, which one, and what is said."""


def test_damaged(repo: Light) -> None:
    """A chunk that makes no sense is refused with the file and the revision; the others can be read."""
    repo.write("s", LARGE)
    repo.commit()
    repo("cp", "s", "y")
    repo.commit()
    with open(os.path.join(repo.root, b".hg/store/data/y.i"), "r+b", buffering=0) as file:
        whole = file.read()
        for place, byte, words in DAMAGE:
            file.seek(0)
            file.write(whole[: 64 + place] + bytes([byte]) + whole[64 + place + 1 :])
            said = repo.fails("cat", "-r", "1", "y")
            assert "y:0: light-weight copy cannot be read: " in said
            assert words in said
            assert repo("cat", "-r", "0", "s") == LARGE
            assert b"0 copies are light" in repo("lwcopy")
            record("bad inputs refused", 1)
    repo.fails("verify")


def test_in_a_circle(make: Make) -> None:
    """Chunks that need each other are refused, whoever made them."""
    repo = make("repo")
    repo.write("s", LARGE)
    repo.commit()
    repo("cp", "s", "y")
    repo.commit()
    node = bytes.fromhex(repo("manifest", "--debug", "-r", "1").decode().splitlines()[1].split()[0])
    index = os.path.join(repo.root, b".hg/store/data/y.i")
    with open(index, "r+b") as file:
        content = bytearray(file.read())
        content[64 + 6 : 64 + 26] = node
        content[64 + 26 : 64 + 27] = b"y"
        file.seek(0)
        file.write(content)
    assert "level 1 inside of level 1" in repo.fails("cat", "-r", "1", "y")


def test_shared(repo: Light, make: Make, tmp_path: Path, hg: Sequence[str]) -> None:
    """A share stores light as well, and can be told to convert."""
    repo.write("s", LARGE)
    repo.commit()
    one = make("none", hg, light=False)
    one("--config", "extensions.share=", "share", repo.root, "../share")
    one.root = os.fsencode(tmp_path / "share")
    one("cp", "s", "y")
    one.commit()
    assert one.light() == repo.light() == (1, 0)
    one("lwcopy", "--off")
    assert repo("lwcopy", "-T", "{state} {full}\n") == b"off 1\n"


def test_narrow_and_unsafe_shares_are_refused(make: Make, tmp_path: Path) -> None:
    repo = make("repo", light=False)
    requires = os.path.join(repo.root, b".hg/store/requires")
    with open(requires, "ab") as file:
        file.write(b"narrowhg-experimental\n")
    narrow = ("--config", "extensions.narrow=")
    assert "a narrow clone cannot have light-weight copies" in repo.fails(*narrow, "lwcopy", "--on")
    old = make("old", (*DEBIAN, "--config", "format.use-share-safe=no"), light=False)
    old("--config", "extensions.share=", "share", old.root, "../share")
    old.root = os.fsencode(tmp_path / "share")
    said = old.fails("lwcopy", "--on")
    assert "this repository is a share of" in said
    assert "run the command in that repository" in said


def test_aborted_and_recovered(make: Make) -> None:
    """What a transaction that is aborted has stored light is gone."""
    repo = make("repo")
    repo.write("s", LARGE)
    repo.commit()
    before = repo.everything()
    repo("cp", "s", "y")
    repo.fails("commit", "-m", "no", "--config", "hooks.pretxncommit=false")
    assert repo.everything() == before
    repo.commit()
    assert repo.light() == (1, 0)
    repo("verify")
