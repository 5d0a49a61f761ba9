"""Makes a share of a Mercurial repository, and takes it away again (hg help -e share)."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence

from autosync.backends.hg.head import Head
from autosync.backends.hg.once import run_hg
from autosync.backends.hg.requirements import check_requirements
from autosync.backends.hg.server import HgFailed
from autosync.backends.linking import Spot, clear, holds_nothing
from autosync.config import Vcs
from autosync.errors import AutosyncError

_SETTINGS = ("--config", "extensions.share=", "--config", "ui.timeout=10")
"""Somebody waits at the terminal for a lock that an hg of his holds; by default hg waits ten minutes."""


class HgLink:
    """A share with shared bookmarks that is to be made.

    ``branch`` is what it is to be on: a bookmark or a named branch that is there, or a new bookmark where the source
    is; empty for where the source is, without a bookmark.  ``None`` makes one without changeset and files.
    """

    vcs = Vcs.HG

    def __init__(
        self, spot: Spot, branch: str | None, *, others: Sequence[bytes] = (), made: str = "", start: str = ""
    ) -> None:
        self.spot = spot
        self._source = os.fsencode(spot.source)
        self._dest = os.fsencode(spot.dest)
        self._branch = branch
        self._others = others
        """The roots of the other working copies of the store."""
        self._made = made
        self._start = start
        self._kind = ""
        self._was_there = os.path.isdir(spot.dest)

    def check(self) -> None:
        check_requirements(self._source)
        store = os.path.realpath(Head(self._source).source)
        for place in (self._source, store, self._dest):
            if set(place) & set(b"#$"):  # read as a branch and as a variable: another repository or place, or none
                raise AutosyncError(
                    f"{os.fsdecode(place)}: Mercurial makes no share where a path has a # or $",
                    hint="It would take what follows for something else. Choose another folder, or rename it.",
                )
        self._start = Head(self._source).base().commit or ""
        if self._branch:
            self._check_branch(self._branch)

    def _check_branch(self, branch: str) -> None:
        taken = self.holder(branch)
        if taken is not None:
            raise AutosyncError(
                f"the bookmark {branch} is active in {taken}: a commit in one would move it for both",
                hint="Choose another one: --branch NAME; one that is not there yet starts from where you are.",
            )
        if branch in self._listed("bookmarks", "{bookmark}\\n"):
            self._kind = "bookmark"
        elif branch in self._listed("branches", "{branch}\\n", "--closed"):
            self._kind = "named branch"
        elif (
            branch != branch.strip()
            or branch in ("tip", ".", "null")
            or set(branch) & set(":\0\n\r")
            or branch.isdigit()
        ):
            raise AutosyncError(
                f'"{branch}" cannot be the name of a bookmark',
                hint="Give another one: --branch NAME (`hg help bookmarks`).",
            )
        else:
            self._made, self._kind = branch, "new bookmark"

    def holder(self, branch: str) -> str | None:
        roots = (self._source, *self._others)
        return next((os.fsdecode(r) for r in roots if (Head(r).base().branch or "").partition(":")[2] == branch), None)

    def make(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.spot.dest), exist_ok=True)
            in_store = b"bookmarksinstore" in check_requirements(self._source)
            options = () if in_store else ("--bookmarks",)  # those in the store are everybody's anyway
            self._run(self._source, "share", "--quiet", "--noupdate", *options, "--", self._source, self._dest)
            self._take_settings()
            if self._branch is None:
                return
            target = self._branch if self._branch and not self._made else self._start
            if target:
                self._run(self._dest, "update", "--quiet", "--", target)
            if self._made:
                self._run(self._dest, "bookmark", "--", self._made)
        except HgFailed as failure:
            said = (failure.said.splitlines() or ["it gives no reason, perhaps a hook"])[-1].removeprefix("abort: ")
            raise AutosyncError(
                f"hg has made no share in {self.spot.dest}: {said}",
                hint="Nothing was changed.",
            ) from failure

    def _take_settings(self) -> None:
        """Give it the configuration of the source, unless it reads that by itself (share-safe)."""
        own = os.path.join(self._dest, b".hg")
        with open(os.path.join(own, b"requires"), "rb") as file:
            reads_it = b"share-safe" in file.read().splitlines()
        hgrc = os.path.join(self._source, b".hg", b"hgrc")
        if not reads_it and os.path.isfile(hgrc):
            shutil.copy2(hgrc, os.path.join(own, b"hgrc"))

    def unmake(self) -> None:
        clear(self.spot.dest, was_there=self._was_there)
        if self._made and self._made in self._listed("bookmarks", "{bookmark} {node}\\n", at=self._start or "0" * 40):
            self._run(self._source, "bookmark", "--quiet", "--delete", "--", self._made)

    def is_untouched(self) -> bool:
        # What an update was killed in says nothing of the files that it has written.
        return holds_nothing(self.spot.dest, ".hg")

    def by_hand(self) -> Sequence[str]:
        lines = [f"rm -r {shlex.quote(self.spot.dest)}"]
        hg = f"hg -R {shlex.quote(self.spot.source)}"
        return [*lines, f"{hg} bookmark --delete {shlex.quote(self._made)}"] if self._made else lines

    def words(self) -> str:
        there = f"a share of {self.spot.source}"
        return f"{there}, on the {self._kind} {self._branch}" if self._branch else there

    def facts(self) -> Mapping[str, str]:
        return {"branch": self._branch or "", "made": self._made, "start": self._start}

    def remotes(self) -> tuple[str, ...] | None:
        return None

    def how_to_add(self, remote: str) -> str:
        return f"Add it to {self.spot.dest}/.hg/hgrc, below [paths]: {remote} = URL"

    def _listed(self, command: str, template: str, *options: str, at: str | None = None) -> list[str]:
        """Return the names that hg lists; with ``at`` those of the lines that end with it."""
        said = self._run(self._source, command, *options, "--template", template)
        lines = said.decode("utf-8", "surrogateescape").splitlines()
        return lines if at is None else [line.removesuffix(f" {at}") for line in lines if line.endswith(f" {at}")]

    def _run(self, directory: bytes, *words: str | bytes) -> bytes:
        command, *rest = words
        return run_hg(self.spot.hg, directory, command, *_SETTINGS, *rest)
