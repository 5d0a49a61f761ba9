"""Turns light-weight copies on and off for a repository that there is: by our command, and in hg debugupgraderepo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mercurial import error, scmutil
from mercurial.i18n import _

from . import versions
from .converting import lighten, store_full
from .requirement import NARROW, REQUIREMENT
from .surveying import light_copies
from .writing import OPTION

Counted = Callable[[], Any]


def turn_on(ui: Any, repo: Any) -> int:
    """Make the copies of a repository light, and return how many became so; it may be light already."""
    _check(repo)
    with repo.wlock(), repo.lock():
        if REQUIREMENT not in repo.requirements:
            # First, as nobody without us may read what comes; a kill in between leaves nothing light, or all.
            _require(repo, repo.requirements | {REQUIREMENT})
        repo.svfs.options[OPTION] = True
        return _converted(ui, repo, _(b"lightening"), lambda transaction, step: lighten(repo, transaction, step))


def turn_off(ui: Any, repo: Any) -> int:
    """Store all copies in full again, and return how many became so."""
    _check(repo)
    with repo.wlock(), repo.lock():
        if REQUIREMENT not in repo.requirements:
            return 0
        changed = make_full(ui, repo)
        _require(repo, repo.requirements - {REQUIREMENT})
        return changed


def make_full(ui: Any, repo: Any) -> int:
    """Store all light-weight copies in full, in a repository that is locked; it goes on to store new ones so."""
    repo.svfs.options.pop(OPTION, None)
    copies = list(light_copies(repo))
    return _converted(
        ui, repo, _(b"storing in full"), lambda transaction, step: store_full(repo, transaction, copies, step)
    )


def _converted(ui: Any, repo: Any, topic: bytes, convert: Callable[[Any, Counted], int]) -> int:
    with repo.transaction(b"lwcopy") as transaction, ui.makeprogress(topic, unit=_(b"copies")) as progress:
        changed = convert(transaction, progress.increment)
    # `hg rollback` must not bring copies back that the requirements no longer speak of.
    versions.forget_undo(repo)
    return changed


def _check(repo: Any) -> None:
    if NARROW.intersection(repo.requirements):
        raise error.Abort(
            _(b"a narrow clone cannot have light-weight copies"), hint=_(b"their sources may be outside of it")
        )
    if repo.shared() and not versions.is_share_safe(repo):
        raise error.Abort(
            _(b"this repository is a share of %s") % repo.sharedpath, hint=_(b"run the command in that repository")
        )


def _require(repo: Any, requirements: set[bytes]) -> None:
    scmutil.writereporequirements(repo, requirements)
