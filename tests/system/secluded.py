"""Runs a program in a network of its own, from which one port of the outside can be reached and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

from tests.waiting import PATIENCE

Passing = Callable[[int], Awaitable[None]]
"""Told of the size of each piece; the piece waits until it returns."""
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


class Hatch:
    """Leads from a socket in the file system, which has no network, to ``port`` of the loopback interface here.

    ``prefix`` is what comes before a command line so that the program sees nothing but that port.
    """

    def __init__(self, path: Path, port: int) -> None:
        self._path = path
        self._port = port
        self._loop = asyncio.new_event_loop()
        self.carried = 0
        """Bytes that went through, in both directions."""
        self._allowed = math.inf
        """Bytes that may still come out."""
        self._more = asyncio.Event()
        self._server: asyncio.Server
        self._thread = threading.Thread(target=self._loop.run_forever, name="hatch")

    @property
    def prefix(self) -> tuple[str, ...]:
        alone = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--net")
        return (*alone, sys.executable, "-m", "tests.system.secluded", str(self._path), str(self._port))

    def __enter__(self) -> Hatch:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(PATIENCE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    async def _open(self) -> None:
        async def outside(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _join(reader, writer, asyncio.open_connection("127.0.0.1", self._port), self._let_out, self._let_in)

        self._server = await asyncio.start_unix_server(outside, self._path)

    @property
    def is_holding(self) -> bool:
        """Whether something waits to come out."""
        return self._allowed < 0

    def hold_after(self, size: float) -> None:
        """Let ``size`` more bytes out, and nothing after them; what goes in goes in."""

        def hold() -> None:
            self._allowed = size
            self._more.set()

        self._loop.call_soon_threadsafe(hold)

    async def _let_in(self, size: int) -> None:
        self.carried += size

    async def _let_out(self, size: int) -> None:
        self._allowed -= size
        while self._allowed < 0:
            self._more.clear()
            await self._more.wait()
        self.carried += size

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # in which aborted connections are closed


async def _freely(_size: int) -> None:
    """Hold nothing back."""


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
    outward: Passing = _freely,
    inward: Passing = _freely,
) -> None:
    try:
        to_reader, to_writer = await connecting
    except OSError:
        writer.transport.abort()
        return
    try:
        await asyncio.gather(_copy(reader, to_writer, outward), _copy(to_reader, writer, inward))
    except asyncio.CancelledError:  # not to be raised: asyncio would report it as unnoticed
        writer.transport.abort()
        to_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passing: Passing) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(65536):
            await passing(len(content))
            writer.write(content)
            await writer.drain()
    writer.close()


def _main(path: str, port: int, command: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP))
    listening = socket.create_server(("127.0.0.1", port))
    agent = os.pidfd_open(os.getpid())
    if os.fork():
        listening.close()
        os.execvp(command[0], command)  # noqa: S606 - it takes the place of this one
    asyncio.run(_serve(listening, path, agent))
    os._exit(0)


async def _serve(listening: socket.socket, path: str, agent: int) -> None:
    """Lead what connects inside to the hatch, until the program has ended."""

    async def inside(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, asyncio.open_unix_connection(path))

    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(agent, ended.set)
    await asyncio.start_server(inside, sock=listening)
    await ended.wait()


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
