"""The serving side of one link: streams what the workspace writes, as fast as the peer takes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import BinaryIO

from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import AutosyncError, Missing, TransientError, Unreachable
from autosync.link import wire
from autosync.link.wire import CHUNK, Outcome, WireError
from autosync.link.workspace import AnswersByPeer, WorkspaceHandle

log = logging.getLogger(__name__)

MAX_PER_LINK = 8
"""Requests of one peer at a time; one more is answered with "busy"."""
MAX_AT_ONCE = 4
"""Answers of one device that are written at the same time; the others wait their turn."""
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
    ``turns`` is shared by all links of the device, ``stall`` is
    how many seconds a peer may take none of an answer, ``chunk`` how many bytes of it go
    into one frame.
    """

    def __init__(
        self,
        handle: WorkspaceHandle,
        peer: DeviceId,
        *,
        send: Callable[[bytes], None],
        room: Callable[[], Awaitable[None]],
        turns: asyncio.Semaphore,
        stall: float,
        chunk: int = CHUNK,
    ) -> None:
        self._handle = handle
        self._peer = peer
        self._send = send
        self._room = room
        self._turns = turns
        self._stall = stall
        self._chunk = chunk
        self._answers: dict[int, tuple[asyncio.Task[None], _Credit]] = {}

    def asked(self, payload: bytes) -> None:
        """Begin to answer a FETCH frame.  Raises :class:`WireError`."""
        request, want, have = wire.parse_fetch(payload)
        if request in self._answers:
            raise WireError("a request number that is in use")
        if len(self._answers) >= MAX_PER_LINK:
            self._send(wire.end(request, Outcome.FAILED, "busy with other requests"))
            return
        credit = _Credit()
        task = asyncio.create_task(self._answer(request, want, have, credit))
        self._answers[request] = task, credit
        task.add_done_callback(lambda _: self._answers.pop(request, None))

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

    async def stop(self) -> None:
        """End all answers."""
        tasks = [task for task, _ in self._answers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: int, want: SnapshotId, have: Sequence[str], credit: _Credit) -> None:
        try:
            async with self._turns:
                await self._stream(request, want, have, credit)
            ending = wire.end(request, Outcome.COMPLETE)
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
            log.exception("answering %s about %s failed", self._peer, want)
            ending = wire.end(request, Outcome.FAILED, "an internal error; its log says more")
        self._send(ending)

    async def _stream(self, request: int, want: SnapshotId, have: Sequence[str], credit: _Credit) -> None:
        """Send what the workspace writes into a pipe; a cancelled one finds its pipe broken."""
        read_end, write_end = os.pipe()
        source, out = open(read_end, "rb", buffering=0), open(write_end, "wb")  # noqa: ASYNC230, SIM115
        written = _in_thread(lambda: _write(self._handle, self._peer, want, have, out))
        reader = asyncio.StreamReader(limit=CHUNK)
        transport: asyncio.ReadTransport | None = None
        try:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), source
            )
            while content := await reader.read(self._chunk):
                async with asyncio.timeout(self._stall):
                    await credit.take(len(content))
                    await self._room()
                self._send(wire.chunk(request, content))
            await written
        except TimeoutError:
            raise Unreachable(f"the answer was not taken for {self._stall:.0f} s", hint="") from None
        finally:
            if transport is None:
                source.close()
            else:
                transport.close()


def _write(handle: WorkspaceHandle, peer: DeviceId, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
    with out:
        if isinstance(handle, AnswersByPeer):
            handle.serve_peer(peer, want, have, out)
        else:
            handle.serve(want, have, out)


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
