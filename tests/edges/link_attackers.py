"""Those whom links must withstand: an eavesdropper on the path, and a member that sends what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from autosync.core.model import DeviceId
from autosync.link import wire
from autosync.link.hello import Hello, open_hello, receive_hello, secure
from autosync.link.wire import Kind
from autosync.trust.identity import load_or_create_identity
from tests.edges.linked_devices import KEY, PATIENT, Device
from tests.edges.listeners import drop, listening
from tests.waiting import PATIENCE


def hello_of(device: str = "eve-00000000", certificate: bytes = b"no certificate") -> Hello:
    """A hello that says so."""
    return Hello(
        device=DeviceId(device),
        name="eve",
        certificate_der=certificate,
        instance=bytes(8),
        number=1,
        nonce=os.urandom(16),
    )


async def say_hello(listener: Device, hello: Hello) -> tuple[socket.socket, Hello]:
    """Return the connection and the listener's answer."""
    connection = socket.create_connection(("127.0.0.1", listener.links.port))
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(connection, hello.sealed(KEY, answers=None))
    return connection, open_hello(KEY, await receive_hello(connection), answers=hello.nonce)


@contextlib.asynccontextmanager
async def member(
    listener: Device, state: Path, name: str = "mallory", *, instance: bytes = bytes(8), number: int = 1
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A link, to say on it whatever one likes."""
    identity = load_or_create_identity(str(state / name))
    mine = Hello(
        device=identity.device_id(name),
        name=name,
        certificate_der=identity.certificate_der,
        instance=instance,
        number=number,
        nonce=os.urandom(16),
    )
    connection, theirs = await say_hello(listener, mine)
    reader, writer = await secure(connection, identity, theirs, dialled=True, timing=PATIENT)
    try:
        assert (await wire.read_frame(reader))[0] == Kind.READY
        yield reader, writer
    finally:
        await close(writer)


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes until the other side closes."""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionResetError):
            return await reader.read()
    return b""


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection that may be broken."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class Relay:
    """What stands between two devices and writes down what the one that dials says."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.recorded = bytearray()

    def first_hello(self) -> bytes:
        """Return the sealed hello with its length."""
        return bytes(self.recorded[: 2 + int.from_bytes(self.recorded[:2], "big")])


@contextlib.asynccontextmanager
async def relay(address: str) -> AsyncIterator[Relay]:
    """Pass all connections on to ``address``."""
    host, _, port = address.partition(":")

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, record: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while part := await source.read(65536):
                if record is not None:
                    record += part
                target.write(part)
                await target.drain()
        await close(target)

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(copy(reader, onward[1], between.recorded), copy(onward[0], writer, None))
        finally:
            await drop(onward[1])

    async with listening(connect) as listens:
        between = Relay(f"127.0.0.1:{listens}")
        yield between
