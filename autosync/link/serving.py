"""The serving side of one link: streams what the workspace writes, as fast as the peer takes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from autosync.core.model import DeviceId
from autosync.errors import AutosyncError, Missing, TransientError, Unreachable
from autosync.link import wire
from autosync.link.allotment import SMALL, Crowded, Turn
from autosync.link.prefix import OtherBytes, Skipping
from autosync.link.traffic import Traffic
from autosync.link.transfers import Transfer
from autosync.link.wire import CHUNK, Outcome, WireError, Wish
from autosync.link.workspace import AnswersByPeer, WorkspaceHandle

log = logging.getLogger(__name__)

MAX_PER_LINK = 8
"""Requests of one peer at a time; one more is answered with "busy"."""
_LEAST = 1024
"""Bytes of an answer in one frame, however slow it has to be."""
_MOST_CREDIT = 2**31


class _Credit:
    """How many bytes the peer is ready for."""

    def __init__(self) -> None:
        self._left = 0
        self._more = asyncio.Event()

    def grant(self, count: int) -> None:
        self._left = min(self._left + count, _MOST_CREDIT)
        self._more.set()

    async def take(self, count: int) -> None:
        while self._left < count:
            self._more.clear()
            await self._more.wait()
        self._left -= count


class Serving:
    """All answers that are being given on one link.

    ``send`` puts a frame on the link, ``room`` waits until little is left to be sent;
    ``traffic`` is shared by all links of the device, ``stall`` is
    how many seconds a peer may take none of an answer, ``lane`` the kind of the link, ``chunk`` how many bytes of it go
    into one frame.  ``idle`` is called whenever the last answer has ended.
    """

    def __init__(
        self,
        handle: WorkspaceHandle,
        peer: DeviceId,
        *,
        send: Callable[[bytes], None],
        room: Callable[[], Awaitable[None]],
        traffic: Traffic,
        stall: float,
        lane: str,
        chunk: int = CHUNK,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._handle = handle
        self._peer = peer
        self._send = send
        self._room = room
        self._traffic = traffic
        self._stall = stall
        self._lane = lane
        self._chunk = traffic.upload.portion(chunk, _LEAST)
        self._idle = idle
        self._answers: dict[int, tuple[asyncio.Task[None], _Credit]] = {}

    def asked(self, payload: bytes) -> None:
        """Begin to answer a FETCH frame.  Raises :class:`WireError`."""
        request, wish = wire.parse_fetch(payload)
        if request in self._answers:
            raise WireError("a request number that is in use")
        if len(self._answers) >= MAX_PER_LINK:
            self._send(wire.end(request, Outcome.FAILED, "busy with other requests"))
            return
        credit = _Credit()
        task = asyncio.create_task(self._answer(request, wish, credit))
        self._answers[request] = task, credit
        task.add_done_callback(lambda _: self._over(request))

    def granted(self, payload: bytes) -> None:
        """Take a CREDIT frame.  Raises :class:`WireError`."""
        request, count = wire.parse_credit(payload)
        if request in self._answers:
            self._answers[request][1].grant(count)

    def cancelled(self, payload: bytes) -> None:
        """Take a CANCEL frame.  Raises :class:`WireError`."""
        request, _ = wire.split_number(payload)
        if request in self._answers:
            self._answers[request][0].cancel()

    @property
    def under_way(self) -> bool:
        """Whether an answer is being given."""
        return bool(self._answers)

    def _over(self, request: int) -> None:
        self._answers.pop(request, None)
        if not self._answers:
            self._idle()

    async def stop(self) -> None:
        """End all answers."""
        tasks = [task for task, _ in self._answers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: int, wish: Wish, credit: _Credit) -> None:
        workspace, traffic = self._handle.key.id, self._traffic
        snapshot, transfers = (workspace, wish.want), traffic.transfers
        question = hash((wish.want, wish.have))
        large = wish.begun.size > SMALL or traffic.allotment.is_known_to_be_large(snapshot, question)
        try:
            async with traffic.allotment.turn(snapshot, self._peer, question) as turn:
                if large:
                    turn.expect(SMALL + 1)
                with transfers.outgoing(
                    workspace, self._peer, wish.want, skipped=wish.begun.size, lane=self._lane
                ) as transfer:
                    await self._stream(request, wish, credit, turn, transfer)
            ending = wire.end(request, Outcome.COMPLETE)
        except Crowded:
            ending = wire.end(request, Outcome.BUSY, "it serves others first")
        except OtherBytes:
            ending = wire.end(request, Outcome.OTHER_BYTES, "the answer is another one now")
        except Missing as error:
            ending = wire.end(request, Outcome.MISSING, error.title)
        except TransientError as error:
            ending = wire.end(request, Outcome.FAILED, error.title)
        except AutosyncError as error:
            ending = wire.end(request, Outcome.REFUSED, error.title)
        except ConnectionError:
            return  # the link has ended, and with it whoever asked
        except Exception:
            # A bug in one answer must not take the link, or the agent, with it.
            log.exception("answering %s about %s failed", self._peer, wish.want)
            ending = wire.end(request, Outcome.FAILED, "an internal error; its log says more")
        self._send(ending)

    async def _stream(self, request: int, wish: Wish, credit: _Credit, turn: Turn, transfer: Transfer) -> None:
        """Send what the workspace writes into a pipe; a cancelled one finds its pipe broken."""
        read_end, write_end = os.pipe()
        source, out = open(read_end, "rb", buffering=0), open(write_end, "wb")  # noqa: ASYNC230, SIM115
        written = _in_thread(lambda: _write(self._handle, self._peer, wish, out))
        turn.made_by(written)
        reader = asyncio.StreamReader(limit=CHUNK)
        transport: asyncio.ReadTransport | None = None
        try:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), source
            )
            skipping, held = Skipping(wish.begun), list[bytes]()
            while read := await reader.read(self._chunk):
                turn.expect(len(read))
                held.append(skipping.rest(read))
                if turn.large:  # before that is known nothing is sent: whoever is refused has got nothing for nothing
                    await self._deliver(request, held, credit, transfer)
            turn.begun()
            await self._deliver(request, held, credit, transfer)
            await asyncio.shield(written)
            skipping.end()
        except TimeoutError:
            raise Unreachable(f"the answer was not taken for {self._stall:.0f} s", hint="") from None
        finally:
            if transport is None:
                source.close()
            else:
                transport.close()

    async def _deliver(self, request: int, held: list[bytes], credit: _Credit, transfer: Transfer) -> None:
        """Send and forget what is held."""
        for content in held:
            await self._traffic.upload.pass_on(len(content))
            async with asyncio.timeout(self._stall):
                await credit.take(len(content))
                await self._room()
            if content:
                self._send(wire.chunk(request, content))
                transfer.add(len(content))
        held.clear()


def _write(handle: WorkspaceHandle, peer: DeviceId, wish: Wish, out: BinaryIO) -> None:
    with out:
        if isinstance(handle, AnswersByPeer):
            handle.serve_peer(peer, wish.want, wish.have, out)
        else:
            handle.serve(wish.want, wish.have, out)


def _in_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Return the outcome-to-be of ``work`` in a thread of its own.

    Not of a pool: the end of the program would wait for its threads, and with them for
    a version control system that is deep in thought.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(error)
            outcome.exception()  # whoever was waiting may be gone, which is no news for the log

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="serve", daemon=True).start()
    return outcome
