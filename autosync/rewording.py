"""Gives the last commit that autosync has made a better message, as long as no hub has it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from autosync.core.message import described, maker_of, text_of
from autosync.core.model import Base, CommitId
from autosync.errors import AutosyncError, Busy, TransientError
from autosync.ports import Backend
from autosync.vocabulary import vocabulary

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCommit:
    """The checked out commit, which autosync has made here, and its message without who made it."""

    base: Base
    commit: CommitId
    text: str


def last_commit(backend: Backend, *, name: str) -> LastCommit:
    """Return the checked out commit.  ``name`` is this device.

    Raises :class:`AutosyncError` if it is not one that autosync has made here, or if others may have it.
    """
    base = backend.base()
    if base.commit is None:
        raise AutosyncError("There is no commit yet that could be described", hint="Commit first.")
    message = backend.message(base.commit)
    maker = maker_of(message)
    if maker != name:
        whose = "autosync's" if maker is None else f"this device's: {maker} has made it"
        raise AutosyncError(
            f"The last commit, {base.commit[:10]}, is not {whose}",
            hint=f"To change it nevertheless: {vocabulary(backend.vcs).amend}"
            if maker is None
            else f"Run `autosync describe` on {maker}.",
        )
    if backend.is_published(base.commit):
        raise _published(base.commit)
    return LastCommit(base=base, commit=base.commit, text=text_of(message))


def describe(backend: Backend, text: str, *, name: str, commit: CommitId | None, hub: bool) -> Base:
    """Give the last commit, which has to be ``commit`` if that is given, the message ``text``; return the new base.

    With ``hub`` the hub is asked whether it has the commit; one that cannot be reached is taken for one that
    has not.  Raises :class:`Busy` if the user is in the middle of something, and as :func:`last_commit`; then
    nothing has changed.
    """
    if (reason := backend.busy()) is not None:
        raise Busy(f"Not now: {reason}", hint="Describe it again when that has ended.")
    last = last_commit(backend, name=name)
    if commit is not None and commit != last.commit:
        raise AutosyncError(
            f"The last commit is {last.commit[:10]} by now, not {commit[:10]}",
            hint="Look at it, then describe it again.",
        )
    if not text.strip():
        raise AutosyncError("The message is empty", hint="The message that the commit has stays.")
    if hub and last.base.branch is not None and _is_on_hub(backend, last.base.branch, last.commit):
        raise _published(last.commit)
    backend.secure(last.commit)
    return backend.reword(last.base, described(backend.message(last.commit), text))


def _is_on_hub(backend: Backend, branch: str, commit: CommitId) -> bool:
    try:
        tip = backend.fetch_branch(branch)
    except TransientError as error:
        log.info("described without asking the hub: %s", error.title)
        return False
    return tip is not None and backend.is_ancestor(commit, tip)


def _published(commit: CommitId) -> AutosyncError:
    return AutosyncError(
        f"The last commit, {commit[:10]}, was pushed to the hub already: others build on it",
        hint="Its message stays. Of the next one `autosync describe` can change it until it is pushed.",
    )
