"""One in-band bytestream (XEP-0047): a socket on one side, numbered blocks in IQs on the other."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import socket
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from autosync.channels.xmpp_pace import Pace

IBB = "http://jabber.org/protocol/ibb"
BLOCK = 4096
"""Bytes of a block: 5.6 kB as a stanza, which the slowest server lets through in two seconds."""
MAX_BLOCK = 8192
"""Bytes of the largest block that a peer may propose."""
MAX_UNANSWERED = 64
"""Blocks that a peer may send without an answer; it sends :data:`~autosync.channels.xmpp_pace.MOST`."""
BUFFER = 16 * 1024
"""Bytes that the kernel keeps of each direction: they cannot be overtaken, nor cancelled."""
OVERDUE = 15.0
"""Seconds after which a block no longer counts as on its way: it is not the server that is slow, but the peer."""
_NUMBERS = 1 << 16

Ask = Callable[[ET.Element], "asyncio.Future[Any]"]
"""Sends an IQ of type "set" to the peer at once; its outcome is that of the answer."""


class BadBlock(Exception):
    """What came cannot be the next block; ``condition`` is the stanza error (RFC 6120, 8.3.3)."""

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


class Bytestream:
    """Carries bytes between :attr:`end`, a socket for somebody else, and a peer.

    A block is answered when it has been written to the socket, so a side that reads slowly
    slows the other down.  ``ask`` speaks to the peer, ``pace`` is shared by all streams of the
    connection.
    """

    def __init__(self, sid: str, *, block_size: int, ask: Ask, pace: Pace, overdue: float = OVERDUE) -> None:
        self.sid = sid
        self.end, self._socket = socket.socketpair()
        for end in (self.end, self._socket):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._block_size = block_size
        self._ask = ask
        self._pace = pace
        self._overdue_after = overdue
        self._expected = 0
        self._received: deque[tuple[bytes, Callable[[], None]]] = deque()
        self._news = asyncio.Event()
        self._closed_by_peer = False
        self._lost = asyncio.Event()
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._overdue: set[asyncio.Future[Any]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def opening(self) -> ET.Element:
        """Return the request that opens it."""
        return ET.Element(f"{{{IBB}}}open", {"sid": self.sid, "block-size": str(self._block_size), "stanza": "iq"})

    async def run(self) -> None:
        """Carry until one of the two sides closes or the way between them is lost."""
        sides: list[Awaitable[Any]] = [self._send_blocks(), self._write_blocks(), self._lost.wait()]
        tasks = [asyncio.ensure_future(side) for side in sides]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._socket.close()
            for answer in tuple(self._unanswered):  # they take no turn of other streams any longer
                answer.cancel()
            if not (self._closed_by_peer or self._lost.is_set()):
                self._say_goodbye()

    def lose(self) -> None:
        """End without a word to the peer, which is not there any more."""
        self._lost.set()

    def break_off(self) -> None:
        """End, and tell the peer, which may not know that blocks were lost."""
        self._lost.set()
        self._say_goodbye()

    def discard(self) -> None:
        """Drop one that has never run."""
        self._socket.close()
        self.end.close()

    # -- what the peer sends -----------------------------------------------------------------

    def take(self, block: ET.Element, answer: Callable[[], None]) -> None:
        """Take a ``<data/>``; ``answer`` is called when the bytes have been passed on.

        Raises :class:`BadBlock`; the stream then cannot go on, and ends.
        """
        try:
            content = self._content(block)
        except BadBlock:
            self.lose()
            raise
        self._expected = (self._expected + 1) % _NUMBERS
        self._received.append((content, answer))
        self._news.set()

    def close(self) -> None:
        """The peer sends no more and wants no more; what it has sent is still passed on."""
        self._closed_by_peer = True
        self._news.set()

    def _content(self, block: ET.Element) -> bytes:
        if block.get("seq") != str(self._expected) or self._closed_by_peer:
            raise BadBlock("unexpected-request")
        if len(self._received) >= MAX_UNANSWERED:
            raise BadBlock("resource-constraint")
        try:
            content = base64.b64decode((block.text or "").strip(), validate=True)
        except (binascii.Error, ValueError):
            raise BadBlock("bad-request") from None
        if not 0 < len(content) <= self._block_size:
            raise BadBlock("bad-request")
        return content

    async def _write_blocks(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # the other end was closed
            while True:
                while self._received:
                    content, answer = self._received[0]
                    await loop.sock_sendall(self._socket, content)
                    self._received.popleft()
                    answer()
                if self._closed_by_peer:
                    return
                self._news.clear()
                await self._news.wait()

    # -- what goes to the peer -----------------------------------------------------------------

    async def _send_blocks(self) -> None:
        loop = asyncio.get_running_loop()
        number = 0
        with contextlib.suppress(OSError):
            while content := await loop.sock_recv(self._socket, self._block_size):
                await self._turn()
                block = ET.Element(f"{{{IBB}}}data", {"sid": self.sid, "seq": str(number)})
                block.text = base64.b64encode(content).decode("ascii")
                answer = self._ask(block)
                self._unanswered.add(answer)
                late = loop.call_later(self._overdue_after, self._late, answer)
                answer.add_done_callback(partial(self._answered, loop.time(), late))
                number = (number + 1) % _NUMBERS

    async def _turn(self) -> None:
        """Return when a block may be sent: it is this stream's turn, and its peer is not overdue with an answer."""
        while True:
            await self._flowing.wait()
            await self._pace.turn()
            if self._flowing.is_set():
                return
            self._pace.pass_on()

    def _say_goodbye(self) -> None:
        _unheeded(self._ask(ET.Element(f"{{{IBB}}}close", {"sid": self.sid})))

    def _late(self, answer: asyncio.Future[Any]) -> None:
        self._overdue.add(answer)
        self._flowing.clear()
        self._pace.over(took=None)

    def _answered(self, sent_at: float, late: asyncio.TimerHandle, outcome: asyncio.Future[Any]) -> None:
        late.cancel()
        self._unanswered.discard(outcome)
        lost = outcome.cancelled() or outcome.exception() is not None
        if outcome in self._overdue:
            self._overdue.discard(outcome)
            if not self._overdue:
                self._flowing.set()
        else:
            self._pace.over(took=None if lost else asyncio.get_running_loop().time() - sent_at)
        if lost:
            # It cannot be repeated: whether the peer took it is not known.
            self.lose()


def _unheeded(outcome: asyncio.Future[Any]) -> None:
    outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
