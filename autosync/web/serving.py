"""Serves HTTP on the loopback interface, within bounds of size, time and number."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import h11

from autosync.errors import AutosyncError
from autosync.web.exchange import HEADERS, Request, Response, text_response

log = logging.getLogger(__name__)

HEAD_LIMIT = 16 * 1024
"""Bytes of a request before its body."""
BODY_LIMIT = 64 * 1024
"""Bytes of a request's body: what the agent's control socket takes."""
_PIECE = 64 * 1024
_LET_GO = 1 << 20
"""Bytes that are taken after a refusal."""
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a client may use.  Times are in seconds."""

    connections: int = 64
    request_within: float = 10.0
    """A request has come whole within this time."""
    write_within: float = 30.0
    """A piece of an answer is taken within this time."""
    let_go_within: float = 1.0
    """What comes after a refusal is taken for this time."""


class LoopbackServer:
    """Answers one request on each connection to ``port`` of 127.0.0.1 and ::1 with what ``answer`` returns.

    Where all connections are in use, a new one takes the place of the oldest that has not yet
    been answered with anything but a refusal: strangers cannot keep out who is let in.
    """

    def __init__(self, answer: Callable[[Request], Awaitable[Response]], bounds: Bounds | None = None) -> None:
        self._answer = answer
        self._bounds = bounds or Bounds()
        self._servers: list[asyncio.Server] = []
        self._strangers: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._admitted: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, port: int) -> None:
        """Listen; port 0 is any free one.  Raises :class:`AutosyncError` if it is in use."""
        listeners = _listeners(port)
        self.port = listeners[0].getsockname()[1]
        for listener in listeners:
            self._servers.append(await asyncio.start_server(self._accept, sock=listener, limit=_PIECE))

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        for server in self._servers:
            server.close()
        tasks = [*self._strangers, *self._admitted]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (we run in one)
        if len(self._strangers) + len(self._admitted) >= self._bounds.connections:
            oldest = next(iter(self._strangers), None)
            if oldest is None:
                writer.close()
                return
            del self._strangers[oldest]
            oldest.cancel()
        self._strangers[task] = None
        try:
            await self._serve(reader, writer)
            writer.close()
            async with asyncio.timeout(self._bounds.write_within):
                await writer.wait_closed()
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the client has gone, or is sent away: nobody reads an answer
        finally:
            self._strangers.pop(task, None)
            self._admitted.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        try:
            async with asyncio.timeout(self._bounds.request_within):
                request = await _receive(connection, reader, writer)
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint if 400 <= error.error_status_hint < 600 else 400
            response = text_response(status, "The request is not understood.")
        except _TooLarge:
            response = text_response(413, f"The request is longer than {BODY_LIMIT} bytes.")
        except TimeoutError:
            response = text_response(408, "The request did not come whole in time.")
        else:
            if request is None:
                return
            response = await self._safely(request)
            if response.status < 400:
                self._admit()
        await self._send(connection, reader, writer, response)
        if connection.their_state is not h11.DONE:
            await self._let_go(reader, writer)

    async def _let_go(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take for a moment what is still coming: closing before would take the answer away (RFC 9112, 9.6)."""
        writer.write_eof()
        left = _LET_GO
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._bounds.let_go_within):
                while left > 0 and (piece := await reader.read(_PIECE)):
                    left -= len(piece)

    def _admit(self) -> None:
        task = asyncio.current_task()
        if task in self._strangers:  # not sent away meanwhile
            del self._strangers[task]
            self._admitted.add(task)

    async def _safely(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except Exception:
            # One bad answer must not end the page.  The request is not logged: it has secrets in it.
            log.exception("web: an answer failed")
            return text_response(500, "The page failed at this. The terminal that `autosync web` runs in has more.")

    async def _send(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        response: Response,
    ) -> None:
        headers = {**HEADERS, **response.headers, "Connection": "close"}
        if response.stream is None:
            headers["Content-Length"] = str(len(response.body))
        if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        head = h11.Response(status_code=response.status, headers=list(headers.items()))
        await self._write(writer, connection.send(head))
        if response.stream is not None:
            await self._stream(connection, reader, writer, response.stream)
            return
        for at in range(0, len(response.body), _PIECE):
            await self._write(writer, connection.send(h11.Data(data=response.body[at : at + _PIECE])))
        await self._write(writer, connection.send(h11.EndOfMessage()))

    async def _stream(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stream: AsyncGenerator[bytes, None],
    ) -> None:
        """Send what comes until it ends, or the client has gone."""
        sending = asyncio.ensure_future(self._pass_on(connection, writer, stream))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            gone.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _pass_on(
        self, connection: h11.Connection, writer: asyncio.StreamWriter, stream: AsyncGenerator[bytes, None]
    ) -> None:
        async with contextlib.aclosing(stream):
            async for piece in stream:
                await self._write(writer, connection.send(h11.Data(data=piece)))

    async def _write(self, writer: asyncio.StreamWriter, data: bytes | None) -> None:
        writer.write(data or b"")
        async with asyncio.timeout(self._bounds.write_within):
            await writer.drain()


class _TooLarge(Exception):
    """A body is longer than :data:`BODY_LIMIT`."""


async def _receive(
    connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | None:
    """Return the request, ``None`` if the client has gone.  Raises :class:`h11.RemoteProtocolError`, ``_TooLarge``."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                writer.write(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            connection.receive_data(await reader.read(_PIECE))
        elif isinstance(event, h11.Request):
            head = event
            if any(name == b"content-length" and int(value) > BODY_LIMIT for name, value in event.headers):
                raise _TooLarge
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                raise _TooLarge
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _request(head, bytes(body))
        else:
            return None


def _request(head: h11.Request, body: bytes) -> Request:
    path, _, query = head.target.decode("latin-1").partition("?")
    return Request(method=head.method.decode("latin-1"), path=path, query=query, headers=_headers(head), body=body)


def _headers(head: h11.Request) -> Mapping[str, str]:
    """Return the headers by name; what is there twice is joined, and so equals nothing that is allowed (RFC 9110)."""
    found: dict[str, str] = {}
    for name, value in head.headers:
        key = name.decode("latin-1").lower()
        found[key] = f"{found[key]}, {value.decode('latin-1')}" if key in found else value.decode("latin-1")
    return found


def _listeners(port: int) -> list[socket.socket]:
    """Return sockets on ``port`` of 127.0.0.1 and, where the machine has IPv6, of ::1.

    Both, so that nobody else can answer to the name localhost on this port.
    """
    for _ in range(_ATTEMPTS):
        try:
            first = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise _in_use(port) if error.errno in (errno.EADDRINUSE, errno.EACCES) else error from None
        try:
            return [first, socket.create_server(("::1", first.getsockname()[1]), family=socket.AF_INET6)]
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return [first]
            first.close()
            if port:
                raise _in_use(port) from None
    raise _in_use(port)


def _in_use(port: int) -> AutosyncError:
    return AutosyncError(
        f"Port {port} cannot be used: another program has it, or this user may not",
        hint="Give another one, or none at all: without --port a free one is taken.",
    )


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[Request], Awaitable[Response]], port: int, bounds: Bounds | None = None
) -> AsyncIterator[LoopbackServer]:
    """Serve within the ``with`` block."""
    server = LoopbackServer(answer, bounds)
    await server.start(port)
    try:
        yield server
    finally:
        await server.stop()
