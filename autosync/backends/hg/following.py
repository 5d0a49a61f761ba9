"""Keeps the bookmarks of the hub that a user has asked for up to date in his repository."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from autosync.backends.hg.branches import is_branch
from autosync.backends.hg.hub import Hub
from autosync.backends.hgext.refusal import BUSY
from autosync.core.model import CommitId
from autosync.core.subscriptions import MOST_PATTERNS, is_pattern, problem_of
from autosync.errors import AutosyncError, Busy, ConfigError, Refused, Unsafe
from autosync.ports import Followed

MOST = 1000
"""Bookmarks that are followed at once."""
_FILE = b"selectivepull"
"""The list of the extension of that name (``autosync.hgext.selectivepull.subscription``), one for both."""
_HEADER = "selectivepull 1"
_WANT = "want "
_TOLD = re.compile(r"(current|absent|diverged|checked-out|unlisted) ([0-9a-f]{40}|-) (.+)")
_ROW = re.compile(r"row ([0-9a-f]{40}) (.+)")


class Following:
    """Implements :class:`autosync.ports.Following`: ``hg pull -B`` of exactly these bookmarks, forward only."""

    def __init__(self, root: bytes, hub: Hub, patterns: Sequence[str]) -> None:
        self._file = os.path.join(root, b".hg", _FILE)
        self._hub = hub
        self._patterns = tuple(patterns)
        self.followed: Sequence[Followed] = ()

    def follow_by(self, patterns: Sequence[str]) -> None:
        """Follow what these say from the next time on."""
        self._patterns = tuple(patterns)

    def added(self) -> Sequence[str]:
        """Return the names beside those of the configuration: what `hg pull -B` and the like have shown interest in."""
        try:
            with open(self._file, encoding="utf-8", errors="replace", newline="\n") as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            return ()
        wanted = (line.removeprefix(_WANT) for line in lines[1:] if lines[0] == _HEADER and line.startswith(_WANT))
        return tuple(dict.fromkeys(name for name in wanted if _problem_of(name) is None))

    def add(self, names: Sequence[str]) -> None:
        """Follow these too.  Raises :class:`ConfigError`, :class:`Busy`."""
        for name in names:
            _demand_bookmark(name)
        if len({*self.added(), *names}) > MOST_PATTERNS:
            raise ConfigError(
                f"More than {MOST_PATTERNS} names would be followed here",
                hint='Follow many that begin alike by one pattern, like this: "feature/*"',
            )
        self._note("add", names)

    def remove(self, names: Sequence[str]) -> None:
        """Follow these no longer.  Raises :class:`Busy`."""
        if set(names) & set(self.added()):
            self._note("remove", names)

    def keep_up(self, names: Sequence[str] | None = None) -> Sequence[Followed]:
        """Pull what the hub has of the followed bookmarks, or of ``names``, that is not here."""
        wanted = tuple(dict.fromkeys((*self._patterns, *self.added()))) if names is None else names
        for name in wanted:
            _demand_bookmark(name)
        seen = self._pull(wanted) if wanted else ()
        if names is None:
            self.followed = seen
        return seen

    def listed(self, pattern: str, *, after: str = "", limit: int) -> tuple[Sequence[tuple[str, CommitId]], bool]:
        """Return bookmarks of the hub by name.  Raises :class:`Refused` for a pattern, if the hub lists none by it."""
        if pattern != "*":
            _demand_bookmark(pattern)
        said = self._hub.ask("autosync-hub-list", pattern, str(limit), after)
        if said.words[-1] == "unlisted":
            raise Refused(
                f"The hub {self._hub.shown(said)} lists bookmarks by pattern for nobody, only all at once",
                hint="Give an exact name; `hg bookmarks --remote` lists all. Its owner can load the extension "
                "selectivepull there: `autosync hgext selectivepull`.",
            )
        rows = [match.groups() for match in map(_ROW.fullmatch, said.words) if match is not None]
        return [(name, CommitId(node)) for node, name in rows], said.words[-1] == "more"

    def _pull(self, wanted: Sequence[str]) -> Sequence[Followed]:
        said = self._hub.ask("autosync-hub-follow", *wanted)
        if said.words[-1] == "many":
            raise Refused(
                f"What is followed means more than {MOST} bookmarks of the hub",
                hint="Follow fewer: `autosync branches` lists what is followed.",
            )
        _raise_if_declined(said.words[-1])
        told = [match.groups() for match in map(_TOLD.fullmatch, said.words) if match is not None]
        return [
            Followed(name=name, commit=None if node == "-" else CommitId(node), state=state)
            for state, node, name in told
        ]

    def _note(self, deed: str, names: Sequence[str]) -> None:
        _raise_if_declined(self._hub.note(deed, names).words[-1])


def _raise_if_declined(words: str) -> None:
    """Raise what an answer ``declined REASON WORDS`` means."""
    kind, _, rest = words.partition(" ")
    if kind != "declined":
        return
    reason, _, said = rest.partition(" ")
    if reason == BUSY.decode():
        raise Busy(said, hint="It is tried again by itself.")
    error: type[AutosyncError] = Unsafe if reason == "unsafe" else Refused
    raise error(f"What the hub has was not taken: {said}", hint="Nothing of it was stored.")


def _problem_of(pattern: str) -> str | None:
    problem = problem_of(pattern)
    if problem is not None:
        return problem
    sample = pattern.removesuffix("*") + ("x" if is_pattern(pattern) else "")
    return None if is_branch(f"default:{sample}") else "Mercurial cannot have it"


def _demand_bookmark(pattern: str) -> None:
    if (problem := _problem_of(pattern)) is not None:
        raise ConfigError(
            f"{pattern[:200]!r} names no bookmark: {problem}",
            hint='Give a name as the hub has it, or how names begin and a *: "feature/*"',
        )
