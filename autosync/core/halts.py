"""Keeps what stops a working copy from being in sync until someone acts, or its cause is gone."""

from __future__ import annotations

from dataclasses import dataclass, field

from autosync.core.commands import Command, Tell
from autosync.core.settings import Halt


@dataclass(slots=True)
class Halts:
    """Why a working copy is halted, apart from what its peers have; each cause is told once."""

    root_gone: Halt | None = None
    """Set while the folder is away, and with it whoever watched it."""
    _failure: Halt | None = None
    _shortages: dict[str, Halt] = field(default_factory=dict)

    @property
    def first(self) -> Halt | None:
        """Return what the user has to hear of first, ``None`` if nothing is in the way."""
        return self.root_gone or self._failure or next(iter(self._shortages.values()), None)

    def root_vanished(self, halt: Halt) -> list[Command]:
        """Take note that the folder went away."""
        before, self.root_gone = self.root_gone, halt
        return [] if before == halt else [_tell(halt)]

    def failed(self, halt: Halt) -> None:
        """Take note of a failure that does not pass by itself."""
        self._failure = halt

    def worked(self) -> None:
        """Take note that a command succeeded."""
        self._failure = None

    def short_of(self, what: str, title: str, hint: str) -> list[Command]:
        """Take note of what the machine does not allow now, or, without a hint, that it does again."""
        before = self._shortages.pop(what, None)
        if not hint:
            return []
        halt = self._shortages[what] = Halt(title=title, hint=hint)
        return [_tell(halt)] if before is None else []

    def begin_again(self) -> None:
        """Forget what the user, or the folder's return, may have mended."""
        self.root_gone = self._failure = None


def _tell(halt: Halt) -> Tell:
    return Tell(title=halt.title, hint=halt.hint)
