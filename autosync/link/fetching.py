"""The fetching side of one link: requests that are under way and what has come of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import BinaryIO

from autosync.core.model import SnapshotId
from autosync.errors import Missing, Occupied, Refused, Unreachable
from autosync.link import wire
from autosync.link.flow import Flow
from autosync.link.prefix import NOTHING, Prefix
from autosync.link.wire import CHUNK, WINDOW, Outcome, WireError

_LEAST = 4096
"""Bytes that have to come within the time of a stall: nobody holds up what others have with a byte now and then."""
_MADE_AGAIN = 4e6
"""Bytes per second at which an answer is made up to where it goes on, at the least."""
_HINT = "It is tried again; other sources are used meanwhile."


class NothingCame(Unreachable):
    """The link ended before the first byte of an answer was written: asking on another link is safe."""


class OtherAnswer(Unreachable):
    """The answer does not go on from the part that is here: it is to be asked for from the beginning."""


class _Inbox:
    """What has arrived of one fetch and is not written yet."""

    def __init__(self, window: int) -> None:
        self.chunks: list[bytes] = []
        self.written = 0
        self.granted = window
        self.end: tuple[Outcome, str] | None = None
        self.lost = False
        self.news = asyncio.Event()


class Fetches:
    """All fetches that this side has asked for on one link.

    ``send`` puts a frame on the link, ``peer`` is what messages call the other side;
    ``download`` is shared by all links of the device.  ``idle`` is called whenever the last
    fetch has ended.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        *,
        peer: str,
        stall: float,
        download: Flow | None = None,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._send = send
        self._peer = peer
        self._stall = stall
        self._download = download or Flow()
        self._window = self._download.portion(WINDOW, CHUNK)
        self._idle = idle
        self._numbers = itertools.count(1)
        self._inboxes: dict[int, _Inbox] = {}
        self._lost: str | None = None

    @property
    def under_way(self) -> bool:
        """Whether something is being fetched."""
        return bool(self._inboxes)

    async def fetch(
        self,
        want: SnapshotId,
        have: Sequence[str],
        sink: BinaryIO,
        *,
        begun: Prefix = NOTHING,
        moved: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Write to ``sink`` what the peer answers, without the ``begun`` part; ``moved`` is told of each piece.

        At most :data:`~autosync.link.wire.WINDOW` bytes wait in memory; who sends less than a few kB
        in the time of a stall counts as silent.  Raises
        :class:`Missing`, :class:`Refused`, :class:`Occupied`, :class:`Unreachable` (of which
        :class:`OtherAnswer` is one), or what writing raises.
        """
        if self._lost is not None:
            raise NothingCame(f"{self._peer}: {self._lost}", hint=_HINT)
        request = next(self._numbers)
        inbox = self._inboxes[request] = _Inbox(self._window)
        self._send(wire.fetch(request, want, have, begun))
        self._send(wire.credit(request, self._window))
        try:
            outcome, reason = await self._drain(request, inbox, sink, moved, first=begun.size / _MADE_AGAIN)
        except BaseException:
            self._send(wire.cancel(request))
            raise
        finally:
            del self._inboxes[request]
            if not self._inboxes:
                self._idle()
        match outcome:
            case Outcome.MISSING:
                raise Missing(f"{self._peer} does not have snapshot {want[:12]}", hint="It is looked for elsewhere.")
            case Outcome.REFUSED:
                raise Refused(f"{self._peer} refuses snapshot {want[:12]}: {reason}", hint="Look at its `status`.")
            case Outcome.BUSY:
                raise Occupied(f"{self._peer}: {reason}", hint="It is asked again soon, and others before it.")
            case Outcome.OTHER_BYTES:
                raise OtherAnswer(f"{self._peer}: {reason}", hint=_HINT)
            case Outcome.FAILED if inbox.lost and not inbox.written:
                raise NothingCame(f"{self._peer}: {reason}", hint=_HINT)
            case Outcome.FAILED:
                raise self._unreachable(reason)

    def chunk_arrived(self, payload: bytes) -> None:
        """Take a DATA frame.  Raises :class:`WireError` if it was not asked for."""
        request, chunk = wire.split_number(payload)
        if not chunk:
            raise WireError("an empty piece of an answer")
        inbox = self._inboxes.get(request)
        if inbox is None:
            return  # cancelled, but the peer did not know yet
        inbox.granted -= len(chunk)
        if inbox.granted < 0:
            raise WireError("more data than it was allowed to send")
        inbox.chunks.append(chunk)
        inbox.news.set()

    def end_arrived(self, payload: bytes) -> None:
        """Take an END frame."""
        request, outcome, reason = wire.parse_end(payload)
        inbox = self._inboxes.get(request)
        if inbox is not None:
            inbox.end = outcome, reason
            inbox.news.set()

    def link_lost(self, reason: str) -> None:
        """Let every fetch, also a later one, end with :class:`Unreachable`."""
        self._lost = reason
        for inbox in self._inboxes.values():
            if inbox.end is None:
                inbox.end, inbox.lost = (Outcome.FAILED, reason), True
                inbox.news.set()

    async def _drain(
        self, request: int, inbox: _Inbox, sink: BinaryIO, moved: Callable[[int], None], *, first: float
    ) -> tuple[Outcome, str]:
        clock = asyncio.get_running_loop().time
        came, due = 0, clock() + self._stall + first
        while True:
            try:
                async with asyncio.timeout_at(due):
                    await inbox.news.wait()
            except TimeoutError:
                what = "too little" if came else "nothing"
                raise self._unreachable(f"{what} came for {self._stall:.0f} s") from None
            inbox.news.clear()
            chunks, inbox.chunks = inbox.chunks, []
            if chunks:
                began = clock()
                await _finish(asyncio.create_task(asyncio.to_thread(_write_all, sink, chunks)))
                count = sum(map(len, chunks))
                inbox.granted += count
                inbox.written += count
                moved(count)
                if inbox.end is None:
                    await self._download.pass_on(count)
                self._send(wire.credit(request, count))
                came, due = came + count, due + clock() - began  # the peer had to wait as well
                if came >= _LEAST:
                    came, due = 0, clock() + self._stall
            if inbox.end is not None and not inbox.chunks:
                return inbox.end

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(f"{self._peer}: {reason}", hint=_HINT)


async def _finish(writing: asyncio.Task[None]) -> None:
    """Wait for a write in a thread, even when cancelled: its file is the caller's to close then."""
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        writing.exception()  # the cancellation is what counts
        raise


def _write_all(sink: BinaryIO, chunks: Sequence[bytes]) -> None:
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:  # an unbuffered file may take a part
            rest = rest[sink.write(rest) :]
