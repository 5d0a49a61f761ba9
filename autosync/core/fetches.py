"""Decides what is fetched next, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from autosync.core.commands import Command, Fetch, Source
from autosync.core.events import SnapshotFetched
from autosync.core.integration import Integration
from autosync.core.model import SnapshotId
from autosync.core.retry import FAILED_MOST
from autosync.core.sources import RETRY_MOST, Peer, Peers


@dataclass(slots=True)
class _Fetching:
    wanted: SnapshotId
    left: list[Source] = field(default_factory=list)
    for_ancestor_of: SnapshotId | None = None


class Fetches:
    """What is not here and somebody may have, source by source; at most one fetch is out at a time."""

    def __init__(self, peers: Peers, integration: Integration) -> None:
        self._peers = peers
        self._integration = integration
        self._fetching: _Fetching | None = None

    @property
    def under_way(self) -> bool:
        """Whether something is being fetched."""
        return self._fetching is not None

    @property
    def for_ancestor(self) -> bool:
        """Whether it is a state that a merge needs."""
        return self._fetching is not None and self._fetching.for_ancestor_of is not None

    def times(self, news: Sequence[Peer]) -> list[float]:
        """Return when the snapshots of ``news``, which are not here, are to be tried again."""
        return [] if self.under_way else [p.retry_at for p in news if p.retry_at]

    def commands(self, news: Sequence[Peer], now: float) -> list[Command]:
        """Return the fetch that is due: what a merge needs before the snapshots of ``news``."""
        if self.under_way:
            return []
        if (missing := self._integration.missing) is not None:
            sources = self._peers.direct(missing.theirs)
            if self._integration.ancestor_asked(sources=bool(sources)) is None:
                return []
            return self._next(_Fetching(missing.ancestor, sources, for_ancestor_of=missing.theirs))
        for peer in news:
            if peer.snapshot is not None and now >= peer.retry_at and (sources := self._peers.sources(peer.snapshot)):
                return self._next(_Fetching(peer.snapshot, sources))
        return []

    def ended(self, event: SnapshotFetched, now: float) -> list[Command]:
        """Take note of how a fetch ended; return the one from the next source if it failed."""
        fetching, self._fetching = self._fetching, None
        if event.snapshot is not None:
            self._peers.fetched(event.snapshot)
        elif fetching is not None and fetching.left:
            return self._next(fetching)
        elif fetching is not None and fetching.for_ancestor_of is not None:
            self._integration.ancestor_not_found(fetching.wanted)
        elif fetching is not None:
            most = FAILED_MOST if event.hint else RETRY_MOST
            self._peers.failed(event.wanted, event.reason, now, most=most)
        return []

    def _next(self, fetching: _Fetching) -> list[Command]:
        self._fetching = fetching
        return [Fetch(wanted=fetching.wanted, source=fetching.left.pop(0))]
