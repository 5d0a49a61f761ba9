"""Commits, pulls and pushes one working copy by the commands of its version control."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from autosync.commanded.listing import Lister
from autosync.commanded.step import Ran, StepRunner
from autosync.core.commanded.commands import Action, Commands, Step
from autosync.core.commanded.edits import Edits, Listing, Telling, as_changes, compare, tellings
from autosync.core.commanded.session import Finished, Perform, Work
from autosync.core.message import commit_message
from autosync.core.model import Change, RelPath
from autosync.core.settings import Halt

log = logging.getLogger(__name__)

_NAMED = 3
"""Paths that are named before the rest is counted."""
_LONGEST_REMOTE = 1024
_LONGEST_MESSAGE = 16 * 1024
"""Characters: with four bytes each it still is one argument (execve(2))."""
_MOST_REFUSED = 20
"""Paths that are found not to be taken before the rest is left for the next time."""


@dataclass(slots=True, kw_only=True)
class CommandedWork:
    """What is done in one working copy, in one thread at a time.

    ``name`` is the device's, for commit messages; ``most_deleted`` the brake against accidents;
    ``may_commit`` is false where changes are only received.
    """

    lister: Lister
    commands: Commands
    steps: StepRunner
    name: str
    most_deleted: int | None
    may_commit: bool = True
    remote: str = ""
    """Where it is pushed to, as far as that is known; without a password."""
    refused: frozenset[RelPath] = frozenset()
    """Paths that version control did not take."""
    _known: Listing | None = None
    """What version control has been told of."""
    _has_asked: bool = False
    _uncommitted: list[Change] = field(default_factory=list)

    def perform(self, command: Perform) -> Finished:
        """Do ``command`` and return how it ended.  Raises :class:`OSError` if the files cannot be listed."""
        if not self._has_asked:
            self._has_asked = True
            self.ask_remote()
        if command.work is Work.RECORD:
            return self._record(command)
        return self._pull() if command.work is Work.PULL else self._push()

    # -- commit --------------------------------------------------------------------------------
    def _record(self, command: Perform) -> Finished:
        known = self._known or {}
        found = self.lister.list_all(known)
        edits = Edits() if self._known is None else compare(known, found)
        if not command.forced and (accident := self._accident(edits, known)):
            return Finished(work=Work.RECORD, problem=accident, done=False, halted=True)
        problems = []
        if command.whole and (startup := self._run(self.commands.plain(Action.STARTUP))):
            problems.append(startup)
        refused, told = self._tell(edits)
        self.refused = frozenset(refused)
        problems += told
        kept = {path: known[path] for path in refused if path in known}
        self._known = {**{path: seen for path, seen in found.items() if path not in refused}, **kept}
        self._uncommitted += as_changes(edits)
        return self._commit(problems[0] if problems else None, is_whole=command.whole)

    def _commit(self, problem: Halt | None, *, is_whole: bool) -> Finished:
        """Commit if there is anything to; ``problem`` is what was met before."""
        is_told = bool(self._uncommitted)
        dirty, failed = self._is_dirty(otherwise=is_told or is_whole)
        if dirty and failed is None:
            message = commit_message(self._uncommitted, device=self.name, time=int(time.time()))
            failed = self._run(self.commands.commit(message[:_LONGEST_MESSAGE]))
            if failed is not None and not is_told and not self.commands.has(Action.STATUS):
                dirty, failed = False, None  # nobody can say that there was anything to commit
        if failed is not None:
            return Finished(work=Work.RECORD, problem=failed, done=False)
        self._uncommitted.clear()
        # Clean although it was told of something: the user has committed it himself.
        return Finished(work=Work.RECORD, problem=problem, to_push=dirty or is_told)

    def _is_dirty(self, *, otherwise: bool) -> tuple[bool, Halt | None]:
        """Return whether there is something to commit, or why that is not known."""
        dirty = False
        for step in self.commands.plain(Action.STATUS):
            ran = self.steps.run(step)
            found = ran.is_dirty()
            if found is None:
                return False, ran.problem
            dirty = dirty or found
        return (dirty if self.commands.has(Action.STATUS) else otherwise), None

    def _tell(self, edits: Edits) -> tuple[set[RelPath], list[Halt]]:
        """Tell version control of ``edits``; return what it did not take, and why."""
        refused: set[RelPath] = set()
        problems: list[Halt] = []
        for telling in tellings(edits, self.commands):
            waiting = [telling]
            while waiting:
                one = waiting.pop(0)
                if len(problems) >= _MOST_REFUSED:
                    refused.update(one.paths)
                elif (failed := self._run(one.steps)) is None:
                    continue
                elif parts := _split(one, self.commands):
                    waiting = [*parts, *waiting]
                else:
                    refused.update(one.paths)
                    problems.append(replace(failed, title=f"{_show(one.paths[0])} is left out: {failed.title}"))
        return refused, problems

    def _accident(self, edits: Edits, known: Listing) -> Halt | None:
        count = len(edits.removed)
        if self.most_deleted is None or count < self.most_deleted or 2 * count < len(known):
            return None
        named = ", ".join(_show(path) for path in edits.removed[:_NAMED])
        return Halt(
            title=f"{count} of {len(known)} files are gone ({named} …); that was not committed",
            hint="Restore them, or say that it is meant with `autosync resume`.",
        )

    # -- pull and push -------------------------------------------------------------------------
    def _pull(self) -> Finished:
        problem = self._run(self.commands.plain(Action.FETCH))
        late = None if problem else self._record_late()
        if late is not None and not late.done:
            problem = late.problem
        if problem is not None:
            return Finished(work=Work.PULL, problem=problem, done=False)
        before = self._known if self._known is not None else self.lister.list_all({})
        problem = self._run(self.commands.plain(Action.PULL))
        # What the pull wrote is recognised here, by what the files are; its events find nothing more.
        self._known = self.lister.list_all(before)
        edits = compare(before, self._known)
        if edits:
            log.info("pulled: %s", _summary(edits))
        is_new = late is not None and late.to_push
        return Finished(work=Work.PULL, problem=problem, done=problem is None, touched=bool(edits), to_push=is_new)

    def _record_late(self) -> Finished | None:
        """Commit what was done since the last commit: an update would bring back what was deleted."""
        if self._known is None or not self.may_commit or not compare(self._known, self.lister.list_all(self._known)):
            return None
        return self._record(Perform(Work.RECORD))

    def _push(self) -> Finished:
        self.ask_remote()
        problem = self._run(self.commands.plain(Action.PUSH))
        return Finished(work=Work.PUSH, problem=problem, done=problem is None)

    def ask_remote(self) -> None:
        """Find out where it is pushed to."""
        for step in self.commands.plain(Action.REMOTE_URL):
            ran = self.steps.run(step)
            if ran.problem is None:
                self.remote = _presentable(ran)

    def _run(self, steps: Iterable[Step]) -> Halt | None:
        """Run steps up to the first that fails, and return why."""
        for step in steps:
            if (problem := self.steps.run(step).problem) is not None:
                return problem
        return None


def _split(telling: Telling, commands: Commands) -> Sequence[Telling]:
    """Return what is run to find out which path is not taken: halves, and of a rename what it is made of."""
    parts: list[tuple[Action, tuple[RelPath, ...]]] = []
    if telling.action is Action.MOVE:
        old, new = telling.paths
        parts = [(Action.REMOVE, (old,)), (Action.ADD, (new,))]
    elif len(telling.paths) > 1:
        middle = len(telling.paths) // 2
        parts = [(telling.action, telling.paths[:middle]), (telling.action, telling.paths[middle:])]
    return [Telling(action, paths, commands.about(action, paths)) for action, paths in parts]


def _summary(edits: Edits) -> str:
    counts = {"added": edits.added, "changed": edits.modified, "removed": edits.removed, "renamed": edits.moved}
    return ", ".join(f"{len(paths)} {what}" for what, paths in counts.items() if paths)


def _presentable(ran: Ran) -> str:
    """Return the first line that was printed, without a name and password in it."""
    line = ran.out.decode("utf-8", "replace").strip().partition("\n")[0]
    bare = re.sub(r"(?<=://)[^/@\s]*@", "", line)
    return "".join(c for c in bare if c.isprintable())[:_LONGEST_REMOTE]


def _show(path: RelPath) -> str:
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
