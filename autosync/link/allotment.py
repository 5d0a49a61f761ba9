"""Decides how many answers a device gives at once, and to whom not now."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from types import TracebackType

SMALL = 512 * 1024
"""Bytes of an answer that nobody is refused."""
AT_ONCE = 4
"""Answers that may be made at one time until it is known that they are small or large; the others wait for that."""
LARGE_AT_ONCE = 8
"""Large answers of the whole device."""
COPIES_AT_ONCE = 2
"""Large answers about the same snapshot."""
COPIES_FREE = 4
"""Copies of a large snapshot after which another device is to ask those who have got one by now."""
TRIES = 3
"""Refusals after which a device may be one that reaches nobody else."""
_REMEMBERED = 64
"""Snapshots of which it is remembered who got and asked."""


class Crowded(Exception):
    """There are enough large answers under way: to be asked again later, better of somebody else."""


@dataclass(slots=True)
class _Copies:
    """Of one large snapshot."""

    under_way: int = 0
    given: int = 0
    refused: Counter[Hashable] = field(default_factory=Counter)
    large: set[Hashable] = field(default_factory=set)
    """Questions that turned out to have a large answer."""


class Allotment:
    """Shared by all links of a device."""

    def __init__(self) -> None:
        self._beginning = asyncio.Semaphore(AT_ONCE)
        self._copies: OrderedDict[Hashable, _Copies] = OrderedDict()

    def turn(self, snapshot: Hashable, asker: Hashable, question: Hashable) -> Turn:
        """Return the place of one answer, to be entered; ``question`` is all that the answer depends on."""
        return Turn(self, self._beginning, snapshot, asker, question)

    def is_known_to_be_large(self, snapshot: Hashable, question: Hashable) -> bool:
        """Return whether such an answer has been a large one before."""
        return snapshot in self._copies and question in self._copies[snapshot].large

    def admit(self, snapshot: Hashable, asker: Hashable, question: Hashable) -> None:
        """Let one more large answer be given.  Raises :class:`Crowded`."""
        copies = self._copies.setdefault(snapshot, _Copies())
        self._copies.move_to_end(snapshot)
        copies.large.add(question)
        full = copies.under_way >= COPIES_AT_ONCE or sum(c.under_way for c in self._copies.values()) >= LARGE_AT_ONCE
        others_have_it = copies.given + copies.under_way >= COPIES_FREE and copies.refused[asker] < TRIES
        if full or others_have_it:
            copies.refused[asker] += 1
            raise Crowded
        copies.under_way += 1
        self._forget()

    def ended(self, snapshot: Hashable, *, complete: bool) -> None:
        """Take note of the end of a large answer."""
        copies = self._copies[snapshot]
        copies.under_way -= 1
        copies.given += complete

    def _forget(self) -> None:
        for snapshot in [s for s, copies in self._copies.items() if not copies.under_way][:-_REMEMBERED]:
            del self._copies[snapshot]


class Turn:
    """The place of one answer: a short one first, and once it is a large answer one of those."""

    def __init__(
        self,
        allotment: Allotment,
        beginning: asyncio.Semaphore,
        snapshot: Hashable,
        asker: Hashable,
        question: Hashable,
    ) -> None:
        self._allotment = allotment
        self._beginning = beginning
        self._what = snapshot, asker, question
        self._bytes = 0
        self._begins = True
        self._made: asyncio.Future[None] | None = None
        self.large = False
        """Whether it has turned out to be a large answer, and was admitted as one."""

    async def __aenter__(self) -> Turn:
        await self._beginning.acquire()
        return self

    def made_by(self, work: asyncio.Future[None]) -> None:
        """Take note of what makes the answer: it may go on after nobody wants it, and others wait for it then too."""
        self._made = work
        work.add_done_callback(lambda _: self.begun())

    def begun(self) -> None:
        """Let another one begin: how long this one takes now is for its taker to say."""
        if self._begins:
            self._begins = False
            self._beginning.release()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._made is None or self._made.done():
            self.begun()
        if self.large:
            self._allotment.ended(self._what[0], complete=error is None)

    def expect(self, count: int) -> None:
        """Take note that the answer has at least ``count`` bytes more.  Raises :class:`Crowded`."""
        self._bytes += count
        if self._bytes > SMALL and not self.large:
            self._allotment.admit(*self._what)
            self.large = True
            self.begun()
