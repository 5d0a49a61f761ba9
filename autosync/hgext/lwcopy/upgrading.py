"""Lets hg debugupgraderepo and hg debugformat know light-weight copies as one more format."""

from __future__ import annotations

from typing import Any

from mercurial import extensions, upgrade
from mercurial.i18n import _
from mercurial.upgrade_utils import actions

from . import versions
from .requirement import REQUIREMENT, is_light
from .switching import make_full, turn_on

NAME = b"lwcopy"


class Variant(actions.requirementformatvariant):  # type: ignore[misc]  # hg has no types for us
    """Light-weight copies, as the commands about formats list them."""

    name = NAME
    _requirement = REQUIREMENT
    default = False
    description = _(b"copies and renames are stored in full")
    upgrademessage = _(b"copies and renames are stored as deltas to what they were copied from")
    # Our own conversion touches only files with copies; hg's would write every file anew.
    touches_filelogs = False
    touches_manifests = False
    touches_changelog = False
    touches_requirements = True

    @classmethod
    def fromconfig(cls, repo: Any) -> bool:
        return wanted(repo)


def wanted(repo: Any) -> bool:
    """Return whether a repository should be light: as the configuration says, else as it is."""
    if repo.ui.hasconfig(b"format", NAME):
        return bool(repo.ui.configbool(b"format", NAME)) and is_light(repo.requirements | {REQUIREMENT})
    return REQUIREMENT in repo.requirements


def install() -> None:
    """Put ours into hg's upgrade."""
    actions.registerformatvariant(Variant)
    extensions.wrapfunction(actions, "preservedrequirements", _preserved)
    for name in ("supportremovedrequirements", "supporteddestrequirements", "allowednewrequirements"):
        extensions.wrapfunction(actions, name, _supported)
    extensions.wrapfunction(upgrade, "upgraderepo", _upgrading)


def _preserved(orig: Any, repo: Any) -> Any:
    return orig(repo) | ({REQUIREMENT} if wanted(repo) else set())


def _supported(orig: Any, *args: Any) -> Any:
    return orig(*args) | {REQUIREMENT}


def _upgrading(orig: Any, ui: Any, repo: Any, run: bool = False, *more: Any, **named: Any) -> Any:
    """Upgrade; before, store in full what will not be light any more; after it, lighten what was written anew."""
    if run and REQUIREMENT in repo.requirements and not wanted(repo):
        with repo.wlock(), repo.lock():
            make_full(ui, repo.unfiltered())
    done = orig(ui, repo, run, *more, **named)
    if run:
        fresh = versions.opened_again(repo)
        if REQUIREMENT in fresh.requirements:
            turn_on(ui, fresh)
    return done
