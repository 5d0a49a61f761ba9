"""The user's own git beside agents that sync all the time: none of it fails or comes out otherwise."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import subprocess
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.figures import record
from tests.system.fleet import Device, Fleet, pair, until

ROUNDS = int(os.environ.get("AUTOSYNC_USER_GIT_ROUNDS", "2"))
"""How often the user goes through everything that he does with git."""
COMMITS = int(os.environ.get("AUTOSYNC_USER_GIT_COMMITS", "10"))
"""How many commits arrive from the other device while the user holds the lock of the index now and then."""
HOOKS = (
    "pre-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "post-rewrite",
    "reference-transaction",
)
LINES = "".join(f"line {number}\n" for number in range(30))


@dataclass
class Writer:
    """Saves files, one after the other, in a thread until the end of the block; a context manager."""

    directory: Path
    saved: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Writer:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.wait(0.02):
                return
            self.directory.mkdir(exist_ok=True)  # `git clean -d` may have taken it
            (self.directory / f"{number % 7}.txt").write_text(f"{number}\n{LINES}")
            self.saved += 1


@dataclass
class Scripted:
    """A user whose every command has its own fixed time, so that two runs make the same commits."""

    root: Path
    environment: dict[str, str]
    patient: bool = False
    """Whether he does what git says when it meets index.lock: try again."""
    commands: int = 0
    met: int = 0
    """Commands that met the lock."""
    failed: list[str] = field(default_factory=list)

    def git(self, *arguments: str, ok: Sequence[int] = (0,)) -> str:
        """Run git; note the command if its exit code is not among ``ok``."""
        self.commands += 1
        stashed = self._stashed()
        done = self._run(arguments)
        if self.patient and _met_the_lock(arguments, done):
            self.met += 1
            while _met_the_lock(arguments, done):
                if arguments[:2] == ("stash", "push") and self._stashed() != stashed:
                    arguments = ("reset", "-q", "--hard")  # what is left of it
                done = self._run(arguments)
        if done.returncode not in ok:
            said = (done.stdout + done.stderr).decode("utf-8", "replace")
            self.failed.append(f"git {' '.join(arguments)}: {done.returncode}: {said}")
        return done.stdout.decode()

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        date = f"{1_700_000_000 + self.commands} +0000"
        return subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            env={**self.environment, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    def _stashed(self) -> bytes:
        return self._run(["rev-parse", "-q", "--verify", "refs/stash"]).stdout

    def write(self, name: str, content: str) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)

    def change(self, name: str, line: int, text: str) -> None:
        """Edit one line of a file in place."""
        lines = (self.root / name).read_text().splitlines(keepends=True)
        lines[line] = text + "\n"
        (self.root / name).write_text("".join(lines))


def _met_the_lock(arguments: Sequence[str], done: subprocess.CompletedProcess[bytes]) -> bool:
    """Return whether git did nothing, or not all, because of index.lock; `git stash` does not name it."""
    said = done.stdout + done.stderr
    if arguments[0] == "stash" and done.returncode == 1:
        return said in (b"", b"The stash entry is kept in case you need it again.\n")
    return done.returncode in (1, 128) and b"index.lock': File exists" in said


def everything(user: Scripted, number: int) -> None:
    """Do with git what users do, once; all of it is settled again at the end."""
    branch = f"topic{number}"
    user.git("checkout", "-q", "-b", branch)
    for step in range(3):
        user.change("src/a.txt", step, f"{branch} {step}")
        user.write(f"src/new{number}-{step}.txt", LINES)
        user.git("add", "src")
        user.git("commit", "-q", "-m", f"{branch}: {step}")
    user.git("checkout", "-q", "main")
    user.change("src/b.txt", 5, f"on main {number}")
    user.git("commit", "-q", "-a", "-m", f"main {number}")
    user.git("checkout", "-q", branch)
    user.git("rebase", "-q", "main")
    user.git("-c", "sequence.editor=true", "rebase", "-q", "-i", "--force-rebase", "HEAD~2")
    _conflicts(user, number)
    _stashes(user, number)
    user.git("commit", "-q", "--amend", "-m", f"{branch}: amended")
    user.git("bisect", "start", "HEAD", "HEAD~4")
    user.git("bisect", "run", "sh", "-c", f"test ! -e src/new{number}-1.txt")
    user.git("bisect", "reset")
    user.git("gc", "-q", "--prune=now")
    user.git("worktree", "add", "-q", "-b", f"side{number}", "../side", "HEAD~1")
    user.git("worktree", "remove", "--force", "../side")
    user.git("checkout", "-q", f"side{number}")
    user.write(f"src/picked{number}.txt", LINES)
    user.git("add", "src")
    user.git("commit", "-q", "-m", "to be picked")
    user.git("checkout", "-q", "main")
    user.git("merge", "-q", "--no-ff", "--no-edit", branch)
    user.git("cherry-pick", f"side{number}")
    user.change("src/b.txt", 9, "not wanted after all")
    user.write("scratch/leftover.txt", "of a build\n")
    user.git("reset", "-q", "--hard")
    user.git("clean", "-f", "-d", "-q", "--", "scratch")


def _conflicts(user: Scripted, number: int) -> None:
    """Rebase onto a change of the same line: give it up once, go through with it once."""
    branch = f"clash{number}"
    user.git("checkout", "-q", "-b", branch, "main")
    user.change("src/a.txt", 0, f"clash {number}")
    user.git("commit", "-q", "-a", "-m", branch)
    user.git("rebase", "-q", f"topic{number}", ok=(1,))
    user.git("rebase", "--abort")
    user.git("rebase", "-q", f"topic{number}", ok=(1,))
    user.write("src/a.txt", LINES.replace("line 0\n", f"joined {number}\n"))
    user.git("add", "src/a.txt")
    user.git("rebase", "--continue")
    user.git("checkout", "-q", f"topic{number}")


def _stashes(user: Scripted, number: int) -> None:
    user.change("src/b.txt", 7, f"put aside {number}")
    user.git("stash", "push", "-q")
    user.git("checkout", "-q", "main")
    user.git("checkout", "-q", f"topic{number}")
    user.git("stash", "pop", "-q")
    user.git("checkout", "-q", "--", "src/b.txt")
    user.change("src/b.txt", 8, f"kept in the stash {number}")
    user.git("stash", "push", "-q", "-m", f"stash {number}")


def hook(root: Path, log: Path) -> None:
    """Have every hook of a repository write its name to ``log``."""
    for name in HOOKS:
        path = root / ".git/hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $1" >>"{log}"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


def hooks_run(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def users_own(device: Device) -> dict[str, object]:
    """Return what is the user's in a repository; of the index what it says, for it holds times as well."""
    found = device.fingerprint()
    del found["index"]
    return {
        **found,
        "(index)": device.git("ls-files", "--stage", "-z"),
        "(refs)": device.git("for-each-ref"),
        "(stashes)": device.git("stash", "list"),
    }


@pytest.mark.timeout(600)
def test_git_does_the_same_with_and_without_autosync(tmp_path: Path) -> None:
    with Fleet(tmp_path / "fleet") as fleet:
        names = ("src/a.txt", "src/b.txt", "here/tracked.txt", "there/tracked.txt")
        laptop, desktop = fleet.clone(fleet.seed(dict.fromkeys(names, LINES), hub=False), "laptop", "desktop")
        plain = Device("plain", tmp_path / "plain", tmp_path / "plain/notes", fleet.environment)
        plain.home.mkdir()
        shutil.copytree(laptop.root, plain.root, symlinks=True)
        logs = {device.name: tmp_path / f"{device.name}.hooks" for device in (laptop, desktop, plain)}
        for device in (laptop, desktop, plain):
            hook(device.root, logs[device.name])
        fleet.configure([laptop, desktop])
        fleet.start(laptop, desktop)
        fleet.equal(laptop, desktop)
        user, alone = (Scripted(device.root, fleet.environment) for device in (laptop, plain))
        with Writer(laptop.root / "here") as here, Writer(desktop.root / "there") as there:
            for number in range(ROUNDS):
                everything(user, number)
        for number in range(ROUNDS):
            everything(alone, number)
        assert alone.failed == []
        assert user.failed == []
        fleet.equal(laptop, desktop)
        ours, theirs = users_own(laptop), users_own(plain)
        assert {k: v for k, v in ours.items() if theirs.get(k) != v} == {}
        assert ours.keys() == theirs.keys()
        assert hooks_run(logs["laptop"]) == hooks_run(logs["plain"]) != Counter()
        assert hooks_run(logs["desktop"]) == Counter()
        assert here.saved
        assert there.saved
        assert desktop.activities("applied")
        assert laptop.activities("applied")
        record("user commands run", user.commands)


def busy_hands(user: Scripted, stop: threading.Event) -> None:
    """Take the lock of the index again and again, by commands that leave the branch where it is."""
    for number in itertools.count():
        if stop.wait(0.3):
            return
        user.change("there/tracked.txt", number % 30, f"edited {number}")
        user.git("add", "there/tracked.txt")
        user.git("stash", "push", "-q")
        user.git("stash", "pop", "-q")
        user.git("reset", "-q")
        user.git("checkout", "-q", "--", "there/tracked.txt")
        if number % 4 == 0:
            user.git("gc", "-q", "--prune=now")


@pytest.mark.timeout(600)
def test_commits_that_arrive_make_no_command_of_the_user_fail(tmp_path: Path) -> None:
    """Only then does autosync take the lock of the index, and move what a running git relies upon.

    It holds it for about a millisecond.  Git does not wait for that lock: a command that begins just
    then says so, and must succeed when it is repeated.  Nothing else may ever go wrong.
    """
    with pair(tmp_path / "fleet", dict.fromkeys(("src/a.txt", "there/tracked.txt"), LINES)) as fleet:
        laptop, desktop = fleet.devices
        user, stop = Scripted(desktop.root, fleet.environment, patient=True), threading.Event()
        hands = threading.Thread(target=busy_hands, args=(user, stop))
        hands.start()
        try:
            for number in range(COMMITS):
                laptop.write("src/a.txt", LINES + str(number))
                # Alone: what the desktop's user stashes a moment later must not become what his branch is at.
                laptop.git("commit", "-q", "-m", f"number {number}", "--", "src/a.txt")
                head = laptop.head()
                until(lambda head=head: desktop.head() == head, 60)  # type: ignore[misc]
        finally:
            stop.set()
            hands.join()
        assert user.failed == []
        assert len([m for m in desktop.git("reflog", "--format=%gs").splitlines() if "autosync" in m]) >= COMMITS
        fleet.equal()
        for store in (desktop.root, desktop.root / ".git/autosync/store.git"):
            assert desktop.git("-C", str(store), "fsck", "--no-dangling", "--no-progress") == ""
        assert user.met <= user.commands / 10
        record("user commands run", user.commands)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("end", ["--continue", "--abort"])
def test_a_rebase_in_progress_is_left_alone_and_what_stands_at_its_end_travels(tmp_path: Path, end: str) -> None:
    """Meanwhile nothing is applied and nothing recorded: half a rebase is no state that anybody wants elsewhere.

    So what the user saves *and replaces again* before he ends it has no older version to go back to.
    """
    with pair(tmp_path / "fleet", dict.fromkeys(("src/a.txt", "src/b.txt"), LINES)) as fleet:
        laptop, desktop = fleet.devices
        user = Scripted(laptop.root, fleet.environment)
        user.git("checkout", "-q", "-b", "topic")
        user.change("src/a.txt", 0, "on topic")
        user.git("commit", "-q", "-a", "-m", "topic")
        user.git("checkout", "-q", "main")
        user.change("src/a.txt", 0, "on main")
        user.git("commit", "-q", "-a", "-m", "main")
        user.git("checkout", "-q", "topic")
        fleet.equal()
        user.git("rebase", "-q", "main", ok=(1,))
        until(lambda: laptop.status()["waiting-for"] == "a rebase is in progress", why=laptop.status)
        conflicted, mine = laptop.fingerprint(), laptop.read("src/a.txt")
        desktop.write("src/b.txt", "from the desktop\n")
        until(lambda: laptop.status()["peers"][0]["snapshot"] == desktop.status()["snapshot"], why=laptop.status)
        laptop.write("note.txt", "saved in the middle of it\n")
        until(lambda: laptop.status()["pending"], why=laptop.status)
        assert (laptop.read("src/b.txt"), laptop.read("src/a.txt")) == (LINES, mine)
        assert laptop.fingerprint() == conflicted
        assert desktop.read("note.txt") is None
        if end == "--continue":
            user.write("src/a.txt", LINES.replace("line 0\n", "joined\n"))
            user.git("add", "src/a.txt")
        user.git("rebase", end)
        assert user.failed == []
        fleet.equal()
        assert desktop.read("src/a.txt") == LINES.replace("line 0", "joined" if end == "--continue" else "on topic")
        assert desktop.read("note.txt") == "saved in the middle of it\n"
        assert laptop.read("src/b.txt") == "from the desktop\n"
        assert (desktop.branch(), desktop.head()) == ("topic", laptop.head())
