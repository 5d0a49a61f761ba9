"""A TCP proxy on loopback that can cut connections and swallow what passes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType

from tests.edges.listeners import drop


class TcpProxy:
    """Passes connections on to ``upstream``, a port on loopback, which can be changed, until told otherwise.

    While ``refusing``, new connections are closed at once; while ``swallowing``, bytes
    vanish in both directions and the connections stay open, as in a suspended network.
    Everything that passes is held up for ``delay`` seconds.  Once ``allowance`` is a number, that many more bytes
    go to ``upstream``; all that would follow is counted in ``swallowed``, and vanishes.
    """

    def __init__(self, upstream: int) -> None:
        self.refusing = False
        self.swallowing = False
        self.delay = 0.0
        self.allowance: int | None = None
        self.swallowed = 0
        self.upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self._begun: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def swallow_present(self) -> None:
        """Swallow what passes on the connections there are, not on later ones."""
        self._dead |= self._writers

    def cut(self) -> None:
        """Reset every connection (RST, no FIN)."""
        for writer in self._writers:
            if writer.transport.is_closing():
                continue  # its socket may be gone already
            # A linger time of zero makes close() send RST (socket(7)).
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def __aenter__(self) -> TcpProxy:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.refusing = True  # what has just come in, too
        self.cut()
        await self._server.wait_closed()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for writer in self._begun:
            await drop(writer)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._begun.append(writer)
        serving = asyncio.create_task(self._connected(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.close()
            return
        self._begun.append(up_writer)
        if self.refusing:
            writer.close()
            up_writer.close()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        try:
            await asyncio.gather(self._pump(reader, up_writer, self._allowed), self._pump(up_reader, writer, bytes))
        finally:
            self._writers -= pair
            self._dead -= pair

    def _allowed(self, part: bytes) -> bytes:
        """Return what of ``part`` goes on to ``upstream``."""
        if self.allowance is None:
            return part
        allowed = part[: self.allowance]
        self.allowance -= len(allowed)
        self.swallowed += len(part) - len(allowed)
        return allowed

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, allowed: Callable[[bytes], bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not (self.swallowing or writer in self._dead):
                    writer.write(allowed(part))
                    await writer.drain()
        writer.close()
