"""`autosync shared`: what it says of each part is held against what git and hg do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autosync.cli.main import main as run_main
from tests.backends.hg_repos import Vanilla
from tests.figures import record
from tests.system.commandline import Home

GIT: dict[str, tuple[str, str]] = {
    "working files": ("echo {n} > untracked", "cat untracked"),
    "index": ("echo {n} > staged && git add staged", "git ls-files -s"),
    "HEAD: what is checked out": ("git checkout -q --detach", "git symbolic-ref HEAD"),
    "reflog of HEAD": ("git checkout -q --detach HEAD~1", "git reflog show HEAD"),
    "operation under way": ("git bisect start", "git bisect log"),
    "refs/bisect": ("git update-ref refs/bisect/bad HEAD", "git for-each-ref refs/bisect"),
    "refs/worktree": ("git update-ref refs/worktree/mine HEAD", "git for-each-ref refs/worktree"),
    "refs/rewritten": ("git update-ref refs/rewritten/mine HEAD", "git for-each-ref refs/rewritten"),
    "commits, trees and contents": ("echo object {n} | git hash-object -w --stdin", "git count-objects"),
    "branches": ("git branch b{n}", "git branch --list --format='%(refname)'"),
    "tags": ("git tag t{n}", "git tag"),
    "remote branches": ("git update-ref refs/remotes/o/b{n} HEAD", "git branch -r"),
    "notes": ("git notes add -f -m {n}", "git notes"),
    "stash": ("echo {n} >> a && git stash -q", "git stash list"),
    "settings and remotes": ("git remote add r{n} /nowhere", "git remote"),
    "ignore rules of the repository": (
        "echo x{n} >> $(git rev-parse --git-path info/exclude)",
        "git check-ignore x1 x2",
    ),
    "attributes of the repository": (
        "echo 'x{n} -diff' >> $(git rev-parse --git-path info/attributes)",
        "git check-attr diff x1 x2",
    ),
    "hooks": ("touch $(git rev-parse --git-path hooks)/hook{n}", "ls $(git rev-parse --git-path hooks)"),
    "packed refs": (
        "git update-ref refs/heads/p HEAD && git pack-refs --all",
        "cat $(git rev-parse --git-path packed-refs)",
    ),
    "reflogs of branches": ("git update-ref --create-reflog refs/heads/q HEAD", "git reflog show q"),
    "sparse patterns": ("git sparse-checkout set d", "cat $(git rev-parse --git-path info/sparse-checkout)"),
    "settings of one worktree": ("git config --worktree our.key {n}", "git config our.key"),
}
"""How each part is changed in one worktree, and what shows it in another."""

OWN_SETTINGS = {"settings of one worktree", "sparse patterns"}
"""What can be changed in one worktree only with extensions.worktreeConfig; git switches it on for the second."""
UNDO = {
    "operation under way": "git bisect reset",
    "refs/bisect": "git update-ref -d refs/bisect/bad",
    "sparse patterns": "git sparse-checkout disable",
}
LOCKED = {"index", "HEAD: what is checked out", "branches", "tags", "stash", "settings and remotes", "packed refs"}
"""Parts whose change is refused while somebody else has one of their locks."""


def told(path: Path, capsys: pytest.CaptureFixture[str], home: Home) -> dict[str, Any]:
    """Return what `autosync shared --json` prints."""
    assert run_main(["--config", str(home.config), "shared", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def parts_of(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in said["parts"]}


@pytest.fixture
def user(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A user at home, with a name."""
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    (home.path / ".gitconfig").write_text(
        "[user]\nname = You\nemail = you@example.org\n[init]\ndefaultBranch = main\n[core]\n"
        "packedRefsTimeout = 0\nfilesRefLockTimeout = 0\n"
    )
    home.configured("device: laptop\n")
    return home


def sh(at: Path, command: str) -> tuple[int, str]:
    """Run a line of the user's; return its exit code and what it printed."""
    done = subprocess.run(["sh", "-c", command], cwd=at, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.fixture
def worktrees(user: Home) -> tuple[Path, Path]:
    """A repository with two commits and a linked worktree."""
    main, linked = user.path / "main", user.path / "linked"
    main.mkdir()
    for line in (
        "git init -q",
        "mkdir d && echo 1 > a && echo 1 > d/b && git add -A && git commit -qm first",
        "echo 2 > a && git commit -qam second",
        f"git worktree add -q -b topic {linked}",
    ):
        assert sh(main, line)[0] == 0, line
    return main, linked


@pytest.mark.parametrize("own_settings", [False, True])
def test_git_shares_what_is_said(
    worktrees: tuple[Path, Path], user: Home, capsys: pytest.CaptureFixture[str], *, own_settings: bool
) -> None:
    here, there = worktrees[::-1] if own_settings else worktrees
    if own_settings:
        sh(here, "git config extensions.worktreeConfig true")
    said = told(here, capsys, user)
    assert (said["vcs"], said["kind"]) == ("git", "linked worktree" if own_settings else "main worktree")
    assert [other["path"] for other in said["others"]] == [str(there)]
    for name, part in parts_of(said).items():
        assert part["shared"] is {"never": False, "always": True}.get(part["category"], not own_settings)
        assert part["with"] == ([str(there)] if part["shared"] else [])
        if name not in GIT or (name in OWN_SETTINGS and not own_settings):
            continue
        change, look = (line.format(n=1) for line in GIT[name])
        before = sh(here, look), sh(there, look)
        assert sh(here, change)[0] == 0, change
        assert sh(here, look) != before[0], name
        assert (sh(there, look) != before[1]) is part["shared"], name
        sh(here, UNDO.get(name, "true"))


def test_git_takes_the_locks_that_are_named(
    worktrees: tuple[Path, Path], user: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    _, linked = worktrees
    found = parts_of(told(linked, capsys, user))
    for name in LOCKED:
        for place in found[name]["locks"]:
            lock = Path(place.replace("*", {"branches": "b3", "tags": "t3"}.get(name, "x")))
            change = GIT[name][0].format(n=3)
            if lock.name == "packed-refs.lock":  # taken to remove a ref, or to pack them
                change = "git pack-refs --all"
            lock.touch()
            code, _ = sh(linked, change)
            lock.unlink()
            assert code != 0, (name, lock)
            record("faults injected", 1)


# -- Mercurial -------------------------------------------------------------------------------------
@pytest.fixture
def hg(user: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vanilla]:
    """The hg of a user who has the extension `share`."""
    hgrc = user.path / ".hgrc"
    hgrc.write_text("[ui]\nusername = You\n[extensions]\nshare =\nshelve =\n")
    vanilla = Vanilla(bytes(user.path), environment={**user.environment, "HGRCPATH": str(hgrc)})
    yield vanilla
    vanilla.close()


HG: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "working files": (("revert", "-q", "--no-backup", "-r", "0", "a"), ("diff",)),
    "dirstate: what is checked out": (("update", "-q", "--clean", "0"), ("log", "-r", ".", "-T", "{rev}")),
    "named branch of the next commit": (("branch", "-q", "other"), ("branch",)),
    "active bookmark": (("bookmark", "--force", "active"), ("log", "-r", ".", "-T", "{activebookmark}")),
    "shelved changes": (("shelve", "-q", "--name", "put"), ("shelve", "--list", "-q")),
    "local tags": (("tag", "--local", "local"), ("tags", "-q")),
    "changesets, manifests and file history": (("commit", "-q", "-m", "third"), ("log", "-r", "tip", "-T", "{node}")),
    "phases": (("phase", "-q", "--public", "tip"), ("log", "-r", "tip", "-T", "{phase}")),
    "obsolescence markers": (
        ("debugobsolete", "1" * 40, "--config", "experimental.evolution=all"),
        ("debugobsolete",),
    ),
    "bookmarks": (("bookmark", "--force", "-i", "mark"), ("bookmarks", "-q")),
}

KINDS = {
    "safe-plain": ({"format.use-share-safe": "yes"}, ()),
    "safe-bookmarks": ({"format.use-share-safe": "yes"}, ("-B",)),
    "old-plain": ({"format.use-share-safe": "no"}, ()),
    "old-bookmarks": ({"format.use-share-safe": "no"}, ("-B",)),
    "in-store": ({"format.use-share-safe": "yes", "format.bookmarks-in-store": "yes"}, ()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_hg_shares_what_is_said(kind: str, hg: Vanilla, user: Home, capsys: pytest.CaptureFixture[str]) -> None:
    settings, options = KINDS[kind]
    source, share = user.path / "source", user.path / "share"
    hg("init", str(source), *(word for item in settings.items() for word in ("--config", "=".join(item))))
    for n in (1, 2):
        (source / "a").write_text(f"{n}\n")
        hg("--cwd", str(source), "commit", "-q", "-A", "-m", str(n))
    hg("share", "-q", *options, str(source), str(share))
    here, there = (source, share) if options else (share, source)
    said = told(here, capsys, user)
    assert (said["vcs"], said["kind"]) == ("hg", "source of the store" if options else "share")
    known = "neighbours" if options else "store"
    assert [(o["path"], o["known-by"]) for o in said["others"]] == [(str(there), known)]
    found = parts_of(said)
    shared = {name: part["shared"] for name, part in found.items() if part["category"] == "optional"}
    assert shared == {
        "bookmarks": kind in ("safe-bookmarks", "old-bookmarks", "in-store"),
        "configuration of the source": "old" not in kind,
        "requirements of the store": "old" not in kind,
    }
    for name, (change, look) in HG.items():
        (here / "a").write_text(f"changed for {name}\n")
        before = [hg.run("--cwd", str(at), *look) for at in (here, there)]
        hg("--cwd", str(here), *change)
        after = [hg.run("--cwd", str(at), *look) for at in (here, there)]
        assert after[0] != before[0], name
        assert (after[1] != before[1]) is found[name]["shared"], name
        hg("--cwd", str(here), "update", "-q", "--clean", "default")
    (source / ".hg/hgrc").write_text("[paths]\nfrom = /source\n")
    assert (b"from" in hg("--cwd", str(share), "paths", "-q")) is shared["configuration of the source"]


def test_shares_in_other_places_are_found_by_the_configuration(
    hg: Vanilla, user: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    source, share, far = user.path / "source", user.path / "share", user.path / "far" / "away"
    far.parent.mkdir()
    hg("init", str(source))
    hg("share", "-q", str(source), str(share))
    hg("share", "-q", "-B", str(source), str(far))
    assert [o["path"] for o in told(source, capsys, user)["others"]] == [str(share)]
    user.configured(f"paths:\n- path: {far}\n  workspace: far\n  key-file: far.key\n")
    said = told(source, capsys, user)
    shown = [(o["path"], o["workspace"], o["known-by"]) for o in said["others"]]
    assert shown == [(str(far), "far", "configuration"), (str(share), None, "neighbours")]
    assert parts_of(said)["bookmarks"]["with"] == [str(far)]
    assert told(share, capsys, user)["others"][0]["path"] == str(source)


# -- what is printed -------------------------------------------------------------------------------
def test_the_table_is_for_people(worktrees: tuple[Path, Path], user: Home, capsys: pytest.CaptureFixture[str]) -> None:
    main, linked = worktrees
    user.configured(f"paths:\n- path: {linked}\n  workspace: second\n  key-file: second.key\n")
    assert run_main(["--config", str(user.config), "shared", str(main / "d")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{main}: git, main worktree, which autosync does not keep", f"STORE: {main}/.git"]
    assert [line.split() for line in lines if line.startswith(str(linked))] == [
        [str(linked), "second", "topic", "store"]
    ]
    assert [line.split("  ")[0] for line in lines if line and line.split("  ")[0].isupper()] == [
        "ALSO ON THIS STORE",
        "NEVER SHARED",
        "SHARED IF YOU WANT IT",
        "ALWAYS SHARED",
    ]
    stash = next(line for line in lines if line.startswith("stash"))
    assert stash.split()[1:3] == ["STORE/refs/stash", "stash.lock"]
    assert run_main(["--config", str(user.config), "shared", "second"]) == 0
    assert capsys.readouterr().out.startswith(f'{linked}: git, linked worktree, of the workspace "second"')


def test_a_worktree_that_is_gone_is_missing(
    worktrees: tuple[Path, Path], user: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    main, linked = worktrees
    os.rename(linked, user.path / "moved")
    said = told(main, capsys, user)
    assert [(other["path"], other["missing"]) for other in said["others"]] == [(str(linked), True)]
    assert not any(part["with"] for part in said["parts"])


def make_nothing(_place: Path) -> None:
    """Leave it as it is."""


def make_bare(place: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", place], check=True)


def make_lost_share(place: Path) -> None:
    (place / ".hg").mkdir(parents=True)
    (place / ".hg/requires").write_text("shared\nshare-safe\n")
    (place / ".hg/sharedpath").write_text("/gone/.hg\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_nothing, "does not exist"),
        (Path.mkdir, "lies in no working copy of git or Mercurial"),
        (Path.touch, "is not a directory"),
        (make_bare, "lies in no working copy of git or Mercurial"),
        (make_lost_share, "shares the repository /gone/.hg, which is not there"),
    ],
)
def test_what_is_no_working_copy_is_told(
    make: Callable[[Path], object], words: str, user: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    place = user.path / "place"
    make(place)
    assert run_main(["--config", str(user.config), "shared", str(place)]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert str(place) in said
    record("bad inputs refused", 1)
