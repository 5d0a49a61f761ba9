"""Servers of a test's own, of which no task and no connection outlives the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """Serve who connects to the port that is yielded, each in a task.

    A connection that breaks is no fault of a server; what else ends ``serve`` fails the test.
    """
    serving: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                await serve(reader, writer)
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        serving.add(asyncio.create_task(attend(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        ended = await asyncio.gather(*serving, return_exceptions=True)
        for writer in writers:
            await drop(writer)
        for fault in ended:
            if isinstance(fault, Exception):
                raise fault


async def drop(writer: asyncio.StreamWriter) -> None:
    """End a connection now: the farewell of TLS waits for the other side, which may be gone."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
