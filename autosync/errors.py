"""Deliberate errors: each says what went wrong, where, and what to do next."""

from __future__ import annotations


class AutosyncError(Exception):
    """An expected failure that is shown to the user as a title and a hint.

    ``title`` says what happened and where (file and key, path or peer);
    ``hint`` says what to do next.  Both are plain sentences without a
    trailing newline.  The command line prints them and exits with 1.
    """

    def __init__(self, title: str, *, hint: str) -> None:
        super().__init__(title)
        self.title = title
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.title}\n  {self.hint}" if self.hint else self.title


class ConfigError(AutosyncError):
    """The configuration cannot be used."""


class StateError(AutosyncError):
    """A state file cannot be used."""


class NotAWorkingCopy(AutosyncError):
    """A path is no working copy of a supported version control system."""


class Unsupported(AutosyncError):
    """A repository uses a feature that autosync does not handle yet."""


class TransientError(AutosyncError):
    """A failure that is expected to pass: trying again later may succeed."""


class Busy(TransientError):
    """The user's own git or hg is at work here (a lock, a rebase, a merge)."""


class Unreachable(TransientError):
    """A hub, peer or server does not answer."""


class Occupied(TransientError):
    """A peer has what was asked for, but serves others first: somebody else may have it by now."""


class Missing(TransientError):
    """An object that was asked for is not (yet) at that source."""


class Shortage(TransientError):
    """The machine does not allow it now (no room, no rights, no open files left); passes with the cause."""


class Refused(AutosyncError):
    """The other side answered and said no (authentication, permission)."""


class TooLarge(AutosyncError):
    """A message is larger than what would carry it takes."""


class Unsafe(AutosyncError):
    """Input from a peer that would write outside the working copy or into its metadata."""


class Diverged(AutosyncError):
    """Two branches have commits that the other lacks; nothing is forced."""
