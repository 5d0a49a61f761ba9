"""The targets that are servers: each input goes over a real socket to the code that listens in the agent."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import socket
import struct
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from autosync.control import ControlServer
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import AutosyncError
from autosync.link import Links, Timing, wire
from autosync.link.carriage import Carriage
from autosync.link.connection import Link, Origin
from autosync.link.hello import Hello
from autosync.link.traffic import Traffic
from autosync.link.wire import Kind, frame
from autosync.trust.identity import Identity, load_or_create_identity
from tests.fuzz.formats import KEY, Member, scratch
from tests.fuzz.target import Broken, Target

PATIENCE = 10.0
"""Seconds after which a server that does not end counts as hanging."""
TIMING = Timing(hello=5.0, ping=60.0, patience=60.0, stall=5.0)
REASONS = {
    *("stranger", "malformed hello", "hello of another format", "replay", "flood", "copied state-dir"),
    "impostor",
    "other certificate than in its hello",
}


class _Complaints(logging.Handler):
    """Keeps what the servers log as errors: they log what would have ended them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(logging.Formatter().format(record))


@functools.cache
def _loop() -> tuple[asyncio.AbstractEventLoop, _Complaints]:
    complaints = _Complaints()
    for name in ("autosync", "asyncio"):
        logging.getLogger(name).addHandler(complaints)
        logging.getLogger(name).propagate = False
    return asyncio.new_event_loop(), complaints


def _run(work: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
    loop, complaints = _loop()
    complaints.heard.clear()
    accepted = loop.run_until_complete(asyncio.wait_for(work(), PATIENCE))
    if complaints.heard:
        raise Broken("\n".join(complaints.heard))
    return accepted


# -- the control socket -------------------------------------------------------------------------
async def _answer(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Answer as the agent does: one command is known, of the others the name is repeated."""
    if command != "status":
        raise AutosyncError(f"There is no command {command!r}", hint="Ask for status.")
    return {"arguments": arguments}


@functools.cache
def _control() -> str:
    server = ControlServer(str(scratch() / "agent.sock"), _answer)
    _loop()[0].run_until_complete(server.start())
    return server.path


def _ask(content: bytes) -> bool:
    path = _control()

    async def ask() -> bool:
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
        try:
            writer.write(content)
            # Not the whole way: a client that has gone gets no answer.
            if not content.endswith(b"\n"):
                writer.write_eof()
            line = await reader.readline()
        except ConnectionError:
            return False
        finally:
            writer.close()
        answer = json.loads(line)
        if not isinstance(answer, dict) or answer.keys() not in ({"error"}, {"arguments"}):
            raise Broken(f"answered {line[:200]!r}")
        return "error" not in answer

    return _run(ask)


# -- the first word on a link ---------------------------------------------------------------------
@functools.cache
def _links() -> Links:
    async def start() -> Links:
        links = Links(load_or_create_identity(str(scratch())), listen=("127.0.0.1", 0), timing=TIMING)
        await links.start()
        links.add(Member())
        return links

    return _loop()[0].run_until_complete(start())


def _hello(content: bytes) -> bool:
    """Say ``content``, and the same sealed as a hello; what answers has taken it for one."""
    links = _links()

    async def say() -> bool:
        answered = False
        for said in (_framed(KEY.seal(content[:4000], context=b"hello")), content):
            reader, writer = await asyncio.open_connection("127.0.0.1", links.port)
            try:
                writer.write(said)
                writer.write_eof()
                answered = bool(await reader.read()) or answered
            except ConnectionError:
                pass
            finally:
                writer.close()
        if unknown := links.dropped.keys() - REASONS:
            raise Broken(f"counted as {unknown}")
        return answered

    return _run(say)


def _framed(sealed: bytes) -> bytes:
    return struct.pack(">H", len(sealed)) + sealed


def _hello_seeds() -> Sequence[bytes]:
    body = _body(load_or_create_identity(str(scratch())))
    return [body, body.replace(b'"v":1', b'"v":2'), body.replace(b'"number":1', b'"number":-1'), b"\0\x05hello"]


def _body(identity: Identity) -> bytes:
    hello = Hello(
        device=identity.device_id("desktop"),
        name="desktop",
        certificate_der=identity.certificate_der,
        instance=bytes(8),
        number=1,
        nonce=bytes(16),
    )
    return KEY.open(hello.sealed(KEY, answers=None)[2:], context=b"hello")


# -- what follows -----------------------------------------------------------------------------------
def _wire(content: bytes) -> bool:
    """Send ``content`` as what a linked peer says; TLS has let through only what a member wrote."""

    async def talk() -> bool:
        ours, theirs = socket.socketpair()
        streams = await asyncio.open_connection(sock=ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        peer = Hello(
            device=DeviceId("desktop-00000000"),
            name="desktop",
            certificate_der=b"",
            instance=bytes(8),
            number=1,
            nonce=bytes(16),
        )
        origin = Origin(dialled=False, address="127.0.0.1:1", instance=bytes(8), number=1)
        link = Link(Member(), peer, origin, streams, carriage=Carriage(timing=TIMING), traffic=Traffic())
        running = asyncio.create_task(link.run())
        try:
            writer.write(content)
            writer.write_eof()
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()
        ended = await running
        if not ended or not ended.isprintable():
            raise Broken(f"it ended with {ended!r}")
        return not link.misbehaved

    return _run(talk)


def _wire_seeds() -> Sequence[bytes]:
    wanted = SnapshotId("a" * 40)
    return [
        frame(Kind.ANNOUNCE, b"x" * 50) + frame(Kind.PING, bytes(8)) + frame(Kind.PONG),
        wire.fetch(1, wanted, ["b" * 40]) + wire.credit(1, 1 << 20) + wire.cancel(1),
        wire.chunk(1, b"x") + wire.end(1, wire.Outcome.COMPLETE, "done") + frame(Kind.READY),
        b"".join(wire.fetch(n, wanted, []) for n in range(12)),
        struct.pack(">IB", 1 << 31, 1),
    ]


TARGETS = (
    Target(
        name="control",
        feed=_ask,
        seeds=lambda: [b'{"command": "status", "arguments": {"path": "x"}}\n', b'{"command": "die"}\n', b"[" * 50],
    ),
    Target(name="hello", feed=_hello, seeds=_hello_seeds),
    Target(name="wire", feed=_wire, seeds=_wire_seeds),
)
