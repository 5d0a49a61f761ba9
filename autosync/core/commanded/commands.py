"""The commands that are another version control, and the argument lists they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from autosync.core.model import RelPath

Step = tuple[str, ...]
"""A program and its arguments; no shell ever reads them.  A program written ``-name`` may fail: as in
systemd.service(5), its exit code is then recorded and has no further effect."""


class Action(Enum):
    """What the commands are for."""

    STATUS = "status"
    ADD = "add"
    REMOVE = "remove"
    MODIFY = "modify"
    MOVE = "move"
    STARTUP = "startup"
    COMMIT = "commit"
    PUSH = "push"
    FETCH = "fetch"
    PULL = "pull"
    REMOTE_URL = "remote-url"


PLACEHOLDERS: Mapping[Action, tuple[str, ...]] = {
    **dict.fromkeys(Action, ()),
    **dict.fromkeys((Action.ADD, Action.REMOVE, Action.MODIFY), ("{path}", "{paths}")),
    Action.MOVE: ("{old}", "{new}"),
    Action.COMMIT: ("{message}",),
}
"""The words that an argument may be, each replaced by one argument (``{paths}`` by several)."""
BATCH = 64 * 1024
"""Bytes of paths given to one command: half of what one argument may have on Linux (execve(2))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """One version control as commands: of each action the steps, in their order.

    An action without steps is not there: nothing is run for it.  ``time_limit`` is in seconds,
    for each command.
    """

    steps: Mapping[Action, tuple[Step, ...]]
    time_limit: float = 300.0

    def has(self, action: Action) -> bool:
        """Return whether anything is to be run for ``action``."""
        return bool(self.steps.get(action))

    def plain(self, action: Action) -> tuple[Step, ...]:
        """Return the steps of an action that is about no path."""
        return self.steps.get(action, ())

    def commit(self, message: str) -> tuple[Step, ...]:
        """Return the steps that commit with ``message``."""
        return tuple(_filled(step, {"{message}": (message,)}) for step in self.plain(Action.COMMIT))

    def move(self, old: RelPath, new: RelPath) -> tuple[Step, ...]:
        """Return the steps that tell of a file that is called ``new`` now."""
        words = {"{old}": (as_argument(old),), "{new}": (as_argument(new),)}
        return tuple(_filled(step, words) for step in self.plain(Action.MOVE))

    def about(self, action: Action, paths: Sequence[RelPath]) -> tuple[Step, ...]:
        """Return the steps that tell of ``paths``: one run for each, or for many where ``{paths}`` stands."""
        runs: list[Step] = []
        for step in self.plain(action) if paths else ():
            if "{path}" in step:
                runs += [_filled(step, {"{path}": (as_argument(path),)}) for path in paths]
            elif "{paths}" in step:
                runs += [_filled(step, {"{paths}": batch}) for batch in _batches(paths)]
            else:
                runs.append(step)
        return tuple(runs)


def as_argument(path: RelPath) -> str:
    """Return a path as an argument that no program takes for an option; bytes as surrogate escapes."""
    text = path.decode("utf-8", "surrogateescape")
    return "./" + text if text.startswith("-") else text


def _filled(step: Step, words: Mapping[str, tuple[str, ...]]) -> Step:
    return tuple(argument for word in step for argument in words.get(word, (word,)))


def _batches(paths: Sequence[RelPath]) -> list[tuple[str, ...]]:
    batches: list[tuple[str, ...]] = []
    batch: list[str] = []
    size = 0
    for path in paths:
        if batch and size + len(path) > BATCH:
            batches.append(tuple(batch))
            batch, size = [], 0
        batch.append(as_argument(path))
        size += len(path) + 3
    return [*batches, tuple(batch)]
