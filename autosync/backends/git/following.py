"""Keeps remote-tracking branches up with the hub, those that the user has asked for and no others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from autosync.backends.git.hub import Hub
from autosync.backends.git.objects import is_branch
from autosync.backends.git.reflocks import FOLLOWING_LOCKS, RefLocks
from autosync.backends.git.repository import Repository
from autosync.backends.subscribed import Subscribed
from autosync.core.model import CommitId
from autosync.core.subscriptions import is_pattern, problem_of
from autosync.errors import Busy, ConfigError, Refused
from autosync.ports import Followed

MOST = 1000
"""Branches that are followed at once."""
_HEADS = "refs/heads/"
_PATIENCE = 30.0
"""Seconds that a command waits until the agent has fetched what it follows; the agent comes again by itself."""


class Following:
    """Implements :class:`autosync.ports.Following`: ``git fetch`` of exactly these branches, as the user would.

    Only ``refs/remotes`` move, never a branch of his; those follow whatever the hub says, forced pushes too.
    """

    def __init__(self, repo: Repository, hub: Hub, patterns: Sequence[str]) -> None:
        self._repo = repo
        self._hub = hub
        self._subscribed = Subscribed(os.path.join(repo.metadata, b"subscribed"), patterns)
        self._locks = RefLocks(repo, FOLLOWING_LOCKS)
        self.followed: Sequence[Followed] = ()

    def follow_by(self, patterns: Sequence[str]) -> None:
        """Follow what these say from the next time on."""
        self._subscribed.patterns = tuple(patterns)

    def added(self) -> Sequence[str]:
        """Return the names beside those of the configuration."""
        return self._subscribed.added()

    def add(self, names: Sequence[str]) -> None:
        """Follow these too.  Raises :class:`ConfigError`."""
        for name in names:
            _demand_branch(name)
        self._subscribed.add(names)

    def remove(self, names: Sequence[str]) -> None:
        """Follow these no longer."""
        self._subscribed.remove(names)

    def keep_up(self, names: Sequence[str] | None = None) -> Sequence[Followed]:
        """Fetch what the hub has of the followed branches, or of ``names``, that is not here."""
        wanted = self._subscribed.every() if names is None else names
        for name in wanted:
            _demand_branch(name)
        seen = self._fetch(wanted, patience=0.0 if names is None else _PATIENCE) if wanted else ()
        if names is None:
            self.followed = seen
        return seen

    def listed(self, pattern: str, *, after: str = "", limit: int) -> tuple[Sequence[tuple[str, CommitId]], bool]:
        """Return branches of the hub by name."""
        if pattern != "*":
            _demand_branch(pattern)
        found = sorted((name, CommitId(oid)) for name, oid in self._on_hub([pattern]).items() if name > after)
        return found[:limit], len(found) > limit

    def _on_hub(self, patterns: Sequence[str]) -> Mapping[str, str]:
        """Return where the hub has its branches that are meant."""
        found = self._hub.refs(*(_HEADS + pattern for pattern in patterns))
        return {ref.removeprefix(_HEADS): oid for ref, oid in found.items() if is_branch(ref)}

    def _fetch(self, wanted: Sequence[str], *, patience: float) -> Sequence[Followed]:
        remote = self._hub.remote_name()
        there = self._on_hub(wanted)
        exact = [name for name in wanted if not is_pattern(name)]
        if len(there) > MOST:
            raise Refused(
                f"What is followed means {len(there)} branches of the hub, more than {MOST}",
                hint="Follow fewer: `autosync branches` lists what is followed.",
            )
        here = self._here(remote)
        new = sorted(name for name, oid in there.items() if here.get(name) != oid)
        if new:
            folder = os.path.join(self._repo.common_dir, b"refs/remotes", os.fsencode(remote))
            locks = [os.path.join(folder, os.fsencode(name) + b".lock") for name in new]
            with self._alone(patience), self._locks.expected(locks):
                self._hub.fetch_tracking([f"+{_HEADS}{name}:refs/remotes/{remote}/{name}" for name in new])
            here = self._here(remote)
        told = [
            Followed(name=name, commit=CommitId(oid), state="current" if here.get(name) == oid else "refused")
            for name, oid in there.items()
        ]
        told += [Followed(name=name, commit=None, state="absent") for name in exact if name not in there]
        return sorted(told, key=lambda each: each.name)

    @contextmanager
    def _alone(self, patience: float) -> Iterator[None]:
        """Have no other process fetch what is followed.  Raises :class:`Busy`."""
        with self._locks.alone(patience=patience) as alone:
            if not alone:
                raise Busy(
                    "Branches of the hub are being fetched here by another autosync",
                    hint="It is tried again by itself; give a command again once that is done.",
                )
            yield

    def _here(self, remote: str) -> Mapping[str, str]:
        """Return where the remote-tracking branches are."""
        folder = f"refs/remotes/{remote}/"
        lines = os.fsdecode(self._repo.git.run("for-each-ref", "--format=%(objectname) %(refname)", folder))
        pairs = (line.partition(" ") for line in lines.splitlines())
        return {ref.removeprefix(folder): oid for oid, _, ref in pairs}


def _demand_branch(pattern: str) -> None:
    """Raise :class:`ConfigError` if ``pattern`` means no branch that git could have."""
    beginning = pattern.removesuffix("*")
    problem = problem_of(pattern)
    if problem is None and not is_branch(_HEADS + beginning + ("x" if is_pattern(pattern) else "")):
        problem = "git cannot have it"
    if problem is not None:
        raise ConfigError(
            f"{pattern[:200]!r} names no branch: {problem}",
            hint='Give a name as `autosync branches --remote` shows it, or how names begin and a *: "feature/*"',
        )
