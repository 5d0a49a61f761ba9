"""Decides which version of a contested file stays and what becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from autosync.core.copies import ConflictName


class Keep(Enum):
    """What the user wants to keep of a conflict."""

    MINE = "mine"
    THEIRS = "theirs"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is to be done: ``kept`` gets the original's name (``None``: what stands there stays),
    ``dropped`` go, ``renamed`` get ordinary names."""

    kept: ConflictName | None = None
    dropped: tuple[ConflictName, ...] = ()
    renamed: tuple[ConflictName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """More than one version fits: each is named by the calls, each on one copy, that keep it.

    ``ways`` maps each version (``None``: what stands at the original's path) to them.
    """

    ways: tuple[tuple[ConflictName | None, tuple[tuple[ConflictName, Keep], ...]], ...]


def choose(copies: Sequence[ConflictName], *, stands: bool, keep: Keep, device: str) -> Choice | Ambiguous:
    """Return what becomes of the ``copies`` of one file; ``stands`` tells whether something is at its own path.

    *Mine* is what ``device`` made: the copy that bears its name, else what stands at the
    path; *theirs* are the others.  If there is only one version left, it is kept whatever is asked for.
    """
    if keep is Keep.BOTH:
        return Choice(renamed=tuple(copies))
    if not stands and len(copies) == 1:
        return Choice(kept=copies[0], dropped=tuple(copies))
    standing: list[ConflictName | None] = [None] if stands else []
    mine: list[ConflictName | None] = [c for c in copies if c.is_by(device)]
    theirs: list[ConflictName | None] = [c for c in copies if c not in mine]
    mine, theirs = (mine, standing + theirs) if mine else (standing, theirs)
    fitting = mine if keep is Keep.MINE else theirs
    if len(fitting) == 1:
        return Choice(kept=fitting[0], dropped=tuple(copies))
    return Ambiguous(ways=tuple((version, _way(version, copies, device)) for version in fitting or copies))


def _way(
    version: ConflictName | None, copies: Sequence[ConflictName], device: str
) -> tuple[tuple[ConflictName, Keep], ...]:
    """Return the calls, each for one copy by its name, that keep ``version``."""
    if version is not None:
        return ((version, Keep.MINE if version.is_by(device) else Keep.THEIRS),)
    return tuple((copy, Keep.THEIRS if copy.is_by(device) else Keep.MINE) for copy in copies)
