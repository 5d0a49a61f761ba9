"""A user who works with hg as well, and whose hg is killed now and then."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.backends.hg_repos import Vanilla
from tests.system.fleet import Device, entries
from tests.system.torture.ledger import Ledger
from tests.system.torture.users import NAMES, Choice, User

OURS = (
    b"waiting for lock",
    b"abandoned",
    b"integrity",
    b"unknown parent",
    b"working directory has unknown",
    b"corrupt",
)
"""What hg would say if something else were in its way or had broken its repository."""
NAMEABLE = tuple(name for name in NAMES if b"\n" not in name)
"""Names that hg can have."""
_OPERATIONS = (
    ("rebasestate", "rebase"),
    ("graftstate", "graft"),
    ("histedit-state", "histedit"),
    ("shelvedstate", "unshelve"),
)
"""What stands in .hg while an operation is in progress, and the command that ends it."""


class HgUser(User):
    """A user who commits, amends, shelves, updates, moves by hg, reverts, rebases, grafts and folds.

    What an hg command takes out of the working copy counts as taken away by the user.
    """

    def __init__(
        self,
        device: Device,
        place: bytes,
        seed: int,
        ledger: Ledger,
        seconds: float,
        *,
        names: Sequence[bytes] = NAMEABLE,
        kills: bool = True,
    ) -> None:
        super().__init__(device, place, seed, ledger, seconds, names=names)
        self.refused: list[str] = []
        self.kills = kills
        self.killed = 0
        self.commands = 0
        self._metadata = Path(device.root) / ".hg"
        self._hg = self._launched()

    def work(self) -> list[Choice]:
        return [
            *super().work(),
            (self.commit, 4),
            (self.amend, 1),
            (self.shelve, 2),
            (self.branch, 1),
            (self.bookmark, 1),
            (self.go_back, 1),
            (self.revert, 1),
            (self.move, 2),
            (self.copy, 1),
            (self.add, 1),
            (self.untrack, 2),
            (self.rebase, 1),
            (self.graft, 1),
            (self.fold, 1),
        ]

    def finish(self) -> None:
        self.kills = False
        try:
            self.tidy_up()
        finally:
            self._hg.close()

    # -- running hg --------------------------------------------------------------------------
    def hg(self, *arguments: str | bytes) -> bool:
        """Run hg, perhaps until somebody kills it; return whether it succeeded."""
        before = entries(self.device.root)
        code, said = self._run(*arguments)
        self.commands += 1
        left = {content for _, content in entries(self.device.root).values()}
        taken = [content for _, content in before.values() if content not in left]
        self.ledger.undone(self.device.name, taken, f"hg {os.fsdecode(arguments[0])}")
        if code is None:
            self.killed += 1
            self.repair()
        elif any(sign in said for sign in OURS):
            self.refused.append(f"hg {arguments}: {said.decode(errors='replace')}")
        return code == 0

    def _run(self, *arguments: str | bytes) -> tuple[int | None, bytes]:
        """Return hg's exit code, ``None`` if it was killed meanwhile, and what it said."""
        moment = threading.Timer(self.random.random() * 0.06, self._hg.kill)
        if self.kills and self.random.random() < 0.15:
            moment.start()
        try:
            code, output, errors = self._hg.run(*arguments)
        except EOFError:
            code, output, errors = None, b"", b""
        moment.cancel()
        if moment.ident is not None:
            moment.join()
            self._hg.close()
            self._hg = self._launched()
        return code, output + errors

    def _launched(self) -> Vanilla:
        return Vanilla(os.fsencode(self.device.root), environment={**self.device.environment, "HGEDITOR": "true"})

    def repair(self) -> None:
        """Do what hg asks for after a crash of its: finish or undo what it was about to write."""
        kills, self.kills = self.kills, False
        if (self._metadata / "store/journal").exists():
            self.hg("recover")
        self.tidy_up()
        self.kills = kills

    def tidy_up(self) -> None:
        """End whatever operation is in progress; one that was killed may know no better than to be forgotten."""
        for state, command in _OPERATIONS:
            if (self._metadata / state).exists() and not self.hg(command, "--abort"):
                (self._metadata / state).unlink(missing_ok=True)
        if (self._metadata / "updatestate").exists() or (self._metadata / "merge").exists():
            self.hg("update", "-q", "--clean", ".")

    def said(self, *arguments: str) -> str:
        """Return what hg answers, undisturbed."""
        return self._hg(*arguments).decode()

    # -- the commands ------------------------------------------------------------------------
    def commit(self) -> None:
        self.hg("commit", "--addremove", "-q", "-m", f"number {self.done}")

    def amend(self) -> None:
        self.hg("commit", "-q", "--amend", "-m", f"amended {self.done}")

    def shelve(self) -> None:
        if self.hg("shelve", "-q", *self.random.choice(((), ("--unknown",)))):
            self.hg("unshelve", "-q")
            self.tidy_up()

    def branch(self) -> None:
        self.hg("branch", "-q", "-f", f"branch{self.done}")

    def bookmark(self) -> None:
        self.hg("bookmark", "-q", f"mark{self.done}")

    def go_back(self) -> None:
        """Look at the changeset before, and come back to the bookmark or the changeset."""
        here = self.said("log", "-r", ".", "-T", "{ifeq(activebookmark, '', node, activebookmark)}")
        if self.hg("update", "-q", "--merge", "-r", ".^"):
            self.hg("update", "-q", "--merge", "-r", here)
        self.tidy_up()

    def revert(self) -> None:
        self.hg("revert", "-q", "--all", "--no-backup")

    def move(self) -> None:
        """Move a file as hg does."""
        old, new = self.file(), self.target()
        self.hg("move", "-q", *self.random.choice(((), ("--after",))), "--", old, new)

    def copy(self) -> None:
        """Copy a file and make the copy another content: each is to be found by what it holds."""
        old, new = self.file(), self.target()
        if os.path.islink(old) or os.path.lexists(new) or not self.hg("copy", "-q", "--", old, new):
            return
        content = self.new()
        with open(new, "wb") as file:
            file.write(content)
        self.saved(new, content)

    def add(self) -> None:
        self.hg("add", "-q", "--", self.file())

    def untrack(self) -> None:
        self.hg(self.random.choice(("forget", "remove")), "-q", "--", self.file())

    def rebase(self) -> None:
        """Have the last changeset begin where the one before does."""
        if self.hg("shelve", "-q", "--unknown"):
            self.hg("rebase", "-q", "-r", ".", "-d", ".^^")
            self.tidy_up()
            self.hg("unshelve", "-q")
            self.tidy_up()

    def graft(self) -> None:
        """Go back behind the last changeset and graft it there again."""
        last = self.said("log", "-r", ".", "-T", "{node}")
        if self.hg("update", "-q", "-r", ".^"):
            self.hg("graft", "-q", "--force", "-r", last)
            self.tidy_up()

    def fold(self) -> None:
        """Make one changeset of the last two."""
        plan = self.device.home / "plan"
        nodes = self.said("log", "-r", "last(draft() and only(., public()), 2)", "-T", "{node|short}\n").split()
        if len(nodes) == 2:
            plan.write_text(f"pick {nodes[0]}\nroll {nodes[1]}\n")
            self.hg("histedit", "-q", "-r", nodes[0], "--commands", os.fspath(plan))
            self.tidy_up()
