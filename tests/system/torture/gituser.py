"""A user who works with git as well, and whose git is killed now and then."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.system.fleet import Device, entries
from tests.system.torture.ledger import Ledger
from tests.system.torture.users import NAMES, Choice, User

OURS = ("index.lock", "cannot lock", "unable to create", "unable to write", "bad object", "corrupt")
"""What git would say if something else were in its way or had broken its repository."""
_OPERATIONS = (("rebase-merge", "rebase"), ("CHERRY_PICK_HEAD", "cherry-pick"), ("sequencer", "cherry-pick"))
"""What stands in .git while an operation is in progress, and the command that ends it."""


class GitUser(User):
    """A user who commits, amends, stashes, switches, resets, rebases, picks and collects garbage.

    What a git command takes out of the working copy counts as taken away by the user.
    """

    def __init__(
        self,
        device: Device,
        place: bytes,
        seed: int,
        ledger: Ledger,
        seconds: float,
        *,
        names: Sequence[bytes] = NAMES,
        kills: bool = True,
    ) -> None:
        super().__init__(device, place, seed, ledger, seconds, names=names)
        self.refused: list[str] = []
        self.kills = kills
        self.killed = 0
        self.commands = 0

    def work(self) -> list[Choice]:
        return [
            *super().work(),
            (self.commit, 4),
            (self.amend, 1),
            (self.stash, 2),
            (self.switch, 2),
            (self.go_back, 1),
            (self.reset, 1),
            (self.rebase, 2),
            (self.pick, 2),
            (self.collect, 1),
        ]

    def finish(self) -> None:
        """End with nothing staged: what is staged stays on its device, and shows in `git status` there only."""
        self.kills = False
        self.tidy_up()
        self.git("reset", "-q")

    # -- running git -------------------------------------------------------------------------
    def git(self, *arguments: str) -> bool:
        """Run git, perhaps until somebody kills it; return whether it succeeded."""
        before = entries(self.device.root)
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=self.device.root,
            env=self.device.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        killed = self.kills and self.random.random() < 0.15 and self._kill(process)
        said = process.communicate()[1].decode("utf-8", "replace")
        self.commands += 1
        left = {content for _, content in entries(self.device.root).values()}
        taken = [content for _, content in before.values() if content not in left]
        self.ledger.undone(self.device.name, taken, f"git {arguments[0]}")
        if killed:
            self.killed += 1
            self.remove_locks()
        elif process.returncode and any(sign in said.lower() for sign in OURS):
            self.refused.append(f"git {' '.join(arguments)}: {said}")
        return process.returncode == 0

    def _kill(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill git and all that it has started after a moment; return whether it still ran."""
        time.sleep(self.random.random() * 0.04)
        if process.poll() is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return True

    def remove_locks(self) -> None:
        """Do what git asks for after a crash of its: remove the lock files that nobody holds any more."""
        git = Path(self.device.root) / ".git"
        found = [git / "gc.pid"]
        for directory, below, names in os.walk(git):  # in which an agent is at work
            if directory == str(git):
                below[:] = [name for name in below if name != "autosync"]
            found += [Path(directory, name) for name in names if name.endswith(".lock")]
        for lock in found:
            with contextlib.suppress(FileNotFoundError):
                if not lock.read_bytes().startswith(b"autosync "):
                    lock.unlink()

    def tidy_up(self) -> None:
        """End whatever operation is in progress; one that was killed may know no better than to be forgotten."""
        git = Path(self.device.root) / ".git"
        for state, command in _OPERATIONS:
            if (git / state).exists() and not self.git(command, "--abort"):
                self.git(command, "--quit")
        if self.device.git("ls-files", "--unmerged"):
            self.git("reset", "-q", "--hard")

    # -- the commands ------------------------------------------------------------------------
    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", f"number {self.done}")

    def amend(self) -> None:
        self.git("commit", "-q", "-a", "--amend", "--no-edit")

    def stash(self) -> None:
        if self.git("stash", "push", "-q", *self.random.choice(((), ("-u",)))):
            self.git("stash", "pop", "-q")
            self.tidy_up()

    def switch(self) -> None:
        self.git("checkout", "-q", "-b", f"branch{self.done}")

    def go_back(self) -> None:
        """Look at the commit before, and come back."""
        branch = self.device.branch()
        if branch and self.git("checkout", "-q", "HEAD~1"):
            self.git("checkout", "-q", branch)

    def reset(self) -> None:
        self.git("reset", "-q", self.random.choice(("--hard", "--soft", "--mixed")))

    def rebase(self) -> None:
        self.git("stash", "push", "-q", "-u")
        self.git("-c", "sequence.editor=true", "rebase", "-q", "-i", "--force-rebase", "HEAD~2")
        self.tidy_up()
        self.git("stash", "pop", "-q")
        self.tidy_up()

    def pick(self) -> None:
        """Take back the last commit and pick it again."""
        last = self.device.head()
        if self.git("reset", "-q", "--keep", "HEAD~1"):
            self.git("cherry-pick", "--allow-empty", "--keep-redundant-commits", last)
            self.tidy_up()

    def collect(self) -> None:
        self.git("gc", "-q", "--prune=now")
