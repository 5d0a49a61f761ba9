"""Says what a session and its user are told of what went wrong."""

from __future__ import annotations

import logging
import os

from autosync.causes import shortage_of
from autosync.core import events as ev
from autosync.core.commands import Fetch
from autosync.errors import AutosyncError, Shortage, TransientError
from autosync.ports import Backend

log = logging.getLogger(__name__)


def not_opened(error: OSError, backend: Backend) -> AutosyncError:
    """Return why a working copy cannot be opened."""
    return _shortage(error, backend.metadata) or TransientError(
        f"{os.fsdecode(backend.root)} cannot be opened: {title_of(error)}",
        hint="Nothing was touched. Start the agent again when the cause is gone.",
    )


def failure(command: object, error: Exception, place: bytes) -> ev.CommandFailed:
    """Return the event for a command that raised ``error``; ``place`` is where it was at work."""
    name = type(command).__name__
    shortage = _shortage(error, place)
    if shortage is not None:  # nobody knows when it passes, so it is told as a halt at once
        return ev.CommandFailed(command=name, title=shortage.title, hint=shortage.hint, transient=False)
    if isinstance(error, AutosyncError):
        return ev.CommandFailed(
            command=name, title=error.title, hint=error.hint, transient=isinstance(error, TransientError)
        )
    log.error("%s failed unexpectedly", name, exc_info=error)
    return ev.CommandFailed(
        command=name,
        title=f"{name} failed unexpectedly: {title_of(error)}",
        hint="Nothing was lost; the log has the details. Please report it.",
        transient=False,
    )


def not_fetched(command: Fetch, error: Exception, place: bytes) -> ev.SnapshotFetched:
    """Return the event for a fetch that raised ``error``; ``place`` is where it was at work."""
    source, shortage = str(command.source), _shortage(error, place)
    if shortage is not None:
        return ev.SnapshotFetched(
            wanted=command.wanted, source=source, snapshot=None, reason=shortage.title, hint=shortage.hint
        )
    if not isinstance(error, AutosyncError):
        log.error("fetching %s from %s", command.wanted, source, exc_info=error)
    return ev.SnapshotFetched(wanted=command.wanted, source=source, snapshot=None, reason=title_of(error))


def _shortage(error: Exception, place: bytes) -> Shortage | None:
    if isinstance(error, Shortage):
        return error
    return shortage_of(error, place) if isinstance(error, OSError) else None


def title_of(error: Exception) -> str:
    """Return one line that says what went wrong."""
    if isinstance(error, AutosyncError):
        return error.title
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename!r})" if error.filename else ""
        return f"{error.strerror}{where}"
    return f"{type(error).__name__}: {error}"
