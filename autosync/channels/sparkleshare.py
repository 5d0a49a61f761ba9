"""Speaks to SparkleShare's clients on the same server: which commit is new on the hub."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

from autosync.reflector.protocol import is_name

_COMMIT = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_RECENT = 10
"""Commits of an id that are not told again, as SparkleShare remembers them (its ``BaseListener``)."""


class Commits(Protocol):
    """The working copies that SparkleShare keeps too; called in the event loop."""

    def identifiers(self) -> Iterable[str]:
        """Return what SparkleShare calls their repositories."""

    def commit_announced(self, identifier: str, commit: str) -> None:
        """Somebody says that the hub has ``commit``.  Must not raise."""


class Speaker:
    """What of it is said and heard; without ``commits`` nothing is."""

    def __init__(self, commits: Commits | None) -> None:
        self._commits = commits
        self._subscribed: set[bytes] = set()
        self._recent: dict[bytes, OrderedDict[bytes, None]] = {}

    def subscriptions(self) -> list[bytes]:
        """Return the lines that subscribe to every id, for a new connection."""
        self._subscribed = set()
        return self.additions()

    def additions(self) -> list[bytes]:
        """Return the lines that subscribe to every id that is new."""
        wanted = self._commits.identifiers() if self._commits is not None else ()
        names = {name for i in wanted if is_name(name := i.encode("utf-8", "surrogateescape"))}
        new = sorted(names - self._subscribed)
        self._subscribed |= names
        return [b"subscribe " + name for name in new]

    def announcement(self, identifier: str, commit: str) -> list[bytes]:
        """Return the lines that tell of a commit on the hub, none if that is no news."""
        name, message = identifier.encode("utf-8", "surrogateescape"), commit.encode("ascii")
        if not is_name(name) or not self._is_news(name, message):
            return []
        new = [] if name in self._subscribed else [b"subscribe " + name]
        self._subscribed.add(name)
        return [*new, b"announce %b %b" % (name, message)]

    def heard(self, name: bytes, message: bytes) -> bool:
        """Take a message if it is of a subscribed id; return whether it is."""
        if self._commits is None or name not in self._subscribed:
            return False
        if _COMMIT.fullmatch(message.strip()) and self._is_news(name, message.strip()):
            self._commits.commit_announced(name.decode("utf-8", "surrogateescape"), message.strip().decode("ascii"))
        return True

    def _is_news(self, name: bytes, message: bytes) -> bool:
        recent = self._recent.setdefault(name, OrderedDict())
        if message in recent:
            return False
        recent[message] = None
        if len(recent) > _RECENT:
            recent.popitem(last=False)
        return True
