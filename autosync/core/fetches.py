"""Decides what is fetched next, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from autosync.core.commands import Command, Fetch, Source, SourceKind
from autosync.core.events import AncestorMissing, SnapshotFetched
from autosync.core.integration import Integration
from autosync.core.model import SnapshotId
from autosync.core.retry import FAILED_MOST
from autosync.core.sources import RETRY_MOST, Peer, Peers

_AT_HAND = frozenset({SourceKind.STORE, SourceKind.INLINE})
"""Sources for which nothing has to come from elsewhere."""


@dataclass(slots=True)
class _Fetching:
    wanted: SnapshotId
    left: list[Source] = field(default_factory=list)
    for_ancestor_of: SnapshotId | None = None
    asked: Source = field(init=False)
    busy_until: float = 0.0
    """When the first of those who have it but served others may serve us; 0 if none was busy."""


class Fetches:
    """What is not here and somebody may have, source by source; at most one transfer is out at a time.

    Beside it, which may take hours, goes what came with an announcement or is in the store in common.
    """

    def __init__(self, peers: Peers, integration: Integration) -> None:
        self._peers = peers
        self._integration = integration
        self._fetching: _Fetching | None = None
        self._beside: SnapshotId | None = None
        """What is being fetched beside a transfer."""
        self._ancestor_at = 0.0
        """When those may have time who have what a merge needs; 0 if they do."""

    @property
    def under_way(self) -> bool:
        """Whether something is being fetched."""
        return self._fetching is not None or self._beside is not None

    @property
    def for_ancestor(self) -> bool:
        """Whether it is a state that a merge needs."""
        return self._fetching is not None and self._fetching.for_ancestor_of is not None

    def times(self, news: Sequence[Peer]) -> list[float]:
        """Return when the snapshots of ``news``, which are not here, are to be tried again."""
        if self.under_way:
            return []
        return [moment for moment in (self._ancestor_at, *(p.retry_at for p in news)) if moment]

    def commands(self, news: Sequence[Peer], now: float) -> list[Command]:
        """Return the fetch that is due: what a merge needs before the snapshots of ``news``."""
        if self._beside is not None:
            return []
        if self._fetching is not None:
            return self._at_hand(self._fetching, news, now)
        if now >= self._ancestor_at:
            self._ancestor_at = 0.0
        if (missing := self._integration.missing) is not None and not self._ancestor_at:
            sources = self._peers.direct(missing.theirs, now)
            if self._integration.ancestor_asked(sources=bool(sources)) is None:
                return []
            return self._next(_Fetching(missing.ancestor, sources, for_ancestor_of=missing.theirs))
        for peer in news:
            if peer.snapshot is not None and now >= peer.retry_at:
                # Never none: whoever is known for a snapshot has said so, or the hub lists it.
                return self._next(_Fetching(peer.snapshot, self._peers.sources(peer.snapshot, now)))
        return []

    def ended(self, event: SnapshotFetched, now: float) -> list[Command]:
        """Take note of how a fetch ended; return the one from the next source if it failed."""
        if event.snapshot is not None:
            self._peers.fetched(event.snapshot)
        if event.wanted == self._beside:
            self._beside = None
            if event.snapshot is None:
                self._peers.failed(event.wanted, event.reason, now)
            return []
        fetching = self._fetching
        if fetching is None or event.wanted != fetching.wanted:
            return []  # it had been said to be here, and could not be kept
        self._fetching = None
        by_peer = fetching.asked.kind is SourceKind.PEER
        if event.snapshot is not None:
            if by_peer:
                self._peers.gave(fetching.asked.device)
            return []
        if event.busy_for:
            self._was_busy(fetching, now + event.busy_for)
        elif by_peer and fetching.for_ancestor_of is None and not event.hint:
            self._peers.lapsed(fetching.asked.device, now)
        if fetching.left:
            return self._next(fetching)
        self._none_had_it(fetching, event, now)
        return []

    def _at_hand(self, fetching: _Fetching, news: Sequence[Peer], now: float) -> list[Command]:
        """Return the fetch of what need not wait for the transfer that is out."""
        if fetching.asked.kind in _AT_HAND or fetching.for_ancestor_of is not None:
            return []
        for peer in news:
            if peer.snapshot is None or peer.snapshot == fetching.wanted or now < peer.retry_at:
                continue
            for source in self._peers.sources(peer.snapshot, now)[:1]:
                if source.kind in _AT_HAND:
                    self._beside = peer.snapshot
                    return [Fetch(wanted=peer.snapshot, source=source)]
        return []

    def _was_busy(self, fetching: _Fetching, until: float) -> None:
        fetching.busy_until = min(fetching.busy_until, until) if fetching.busy_until else until
        self._peers.busy(fetching.asked.device, until)

    def _none_had_it(self, fetching: _Fetching, event: SnapshotFetched, now: float) -> None:
        if fetching.for_ancestor_of is not None and fetching.busy_until:
            self._ancestor_at = fetching.busy_until
            missing = AncestorMissing(theirs=fetching.for_ancestor_of, ancestor=fetching.wanted)
            self._integration.ancestor_missing(missing)
        elif fetching.for_ancestor_of is not None:
            self._integration.ancestor_not_found(fetching.wanted)
        elif fetching.busy_until:
            self._peers.postponed(fetching.wanted, fetching.busy_until)
        else:
            most = FAILED_MOST if event.hint else RETRY_MOST
            self._peers.failed(event.wanted, event.reason, now, most=most)

    def _next(self, fetching: _Fetching) -> list[Command]:
        self._fetching = fetching
        fetching.asked = fetching.left.pop(0)
        return [Fetch(wanted=fetching.wanted, source=fetching.asked)]
