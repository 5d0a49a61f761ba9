"""Turns a TCP connection between two members of a workspace into a mutually authenticated TLS one."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import socket
import ssl
import struct
from dataclasses import dataclass

from autosync.core.announcement import is_device_id
from autosync.core.candidates import CandidateKind
from autosync.core.model import DeviceId
from autosync.link.wire import MAX_FRAME
from autosync.link.workspace import Timing
from autosync.trust.identity import Identity
from autosync.trust.sealing import SealBroken, WorkspaceKey
from autosync.trust.signing import Forged, key_of

MAX_HELLO = 4096
"""Bytes of a sealed hello."""
NONCE_BYTES = 16
INSTANCE_BYTES = 8
_LENGTH = struct.Struct(">H")
_FORMAT = 1
_DIALLING = b"hello"
_ANSWERING = b"hello back to "


class HelloRefused(Exception):
    """A connection that does not lead to a peer.

    ``reason`` is short and is counted by; empty if there is nothing wrong.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoHello(HelloRefused):
    """The connection was closed before a whole hello came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """How a device presents itself.

    ``instance`` is drawn when the agent starts, ``number`` counts the connections it
    dials; together they tell which of two links is the newer one.  ``kind`` is that of the way
    on which it dials.
    """

    device: DeviceId
    name: str
    certificate_der: bytes
    instance: bytes
    number: int
    nonce: bytes
    kind: CandidateKind = CandidateKind.LAN

    def sealed(self, key: WorkspaceKey, *, answers: bytes | None) -> bytes:
        """Return it length-prefixed and sealed, bound to the nonce of the hello it ``answers``."""
        body = {
            "v": _FORMAT,
            "device": self.device,
            "name": self.name,
            "certificate": base64.b64encode(self.certificate_der).decode("ascii"),
            "instance": self.instance.hex(),
            "number": self.number,
            "nonce": self.nonce.hex(),
            "kind": self.kind.value,
        }
        sealed = key.seal(json.dumps(body, separators=(",", ":")).encode("ascii"), context=_context(answers))
        return _LENGTH.pack(len(sealed)) + sealed


def open_hello(key: WorkspaceKey, sealed: bytes, *, answers: bytes | None) -> Hello:
    """Return what :meth:`Hello.sealed` sealed.  Raises :class:`HelloRefused`."""
    try:
        body = json.loads(key.open(sealed, context=_context(answers)))
        if body["v"] != _FORMAT:
            raise HelloRefused("hello of another format")  # not of which: reasons are counted and shown
        hello = Hello(
            device=DeviceId(body["device"]),
            name=body["name"],
            certificate_der=base64.b64decode(body["certificate"], validate=True),
            instance=bytes.fromhex(body["instance"]),
            number=body["number"],
            nonce=bytes.fromhex(body["nonce"]),
            kind=CandidateKind(body["kind"]),
        )
        sound = (
            is_device_id(hello.device)
            and 1 <= len(hello.name) <= 128
            and hello.name.isprintable()
            and type(hello.number) is int
            and len(hello.instance) == INSTANCE_BYTES
            and len(hello.nonce) == NONCE_BYTES
        )
        if sound:
            key_of(hello.device, hello.certificate_der)
    except SealBroken:
        raise HelloRefused("stranger") from None
    except Forged:
        raise HelloRefused("impostor") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error):
        sound = False
    if not sound:
        raise HelloRefused("malformed hello")
    return hello


async def receive_hello(connection: socket.socket) -> bytes:
    """Return the sealed hello that comes in, and not a byte more: what follows is TLS.

    Raises :class:`HelloRefused` if it is no hello or does not come whole.
    """
    (length,) = _LENGTH.unpack(await _exactly(connection, _LENGTH.size))
    if length > MAX_HELLO:
        raise HelloRefused("stranger")
    return await _exactly(connection, length, begun=True)


async def secure(
    connection: socket.socket, identity: Identity, peer: Hello, *, dialled: bool, timing: Timing
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return the streams of TLS 1.3 over ``connection``, with nobody but the holder of ``peer``'s key.

    Raises :class:`OSError` (of which :class:`ssl.SSLError` is one) or :class:`HelloRefused`.
    """
    loop = asyncio.get_running_loop()
    try:
        context = _tls(identity, peer, dialled=dialled)
    except BaseException:
        connection.close()
        raise
    reader = asyncio.StreamReader(limit=MAX_FRAME)
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        if dialled:
            transport, _ = await loop.create_connection(
                lambda: protocol,
                sock=connection,
                ssl=context,
                server_hostname="",
                ssl_handshake_timeout=timing.hello,
                ssl_shutdown_timeout=1.0,
            )
        else:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=timing.hello,
                ssl_shutdown_timeout=1.0,
            )
    except BaseException:
        # A transport that is closed before its first step goes on with the handshake; this
        # lets it fail at once.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        raise
    tls = transport.get_extra_info("ssl_object")
    # OpenSSL checked a chain to this certificate; that must be this certificate itself.
    if tls.version() != "TLSv1.3" or tls.getpeercert(binary_form=True) != peer.certificate_der:
        transport.abort()
        raise HelloRefused("other certificate than in its hello")
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _tls(identity: Identity, peer: Hello, *, dialled: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if dialled else ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_cert_chain(identity.path)
    try:
        context.load_verify_locations(cadata=peer.certificate_der)
    except (ssl.SSLError, ValueError):
        raise HelloRefused("malformed hello") from None
    if not dialled:
        context.num_tickets = 0  # a session is never resumed
    return context


def _context(answers: bytes | None) -> bytes:
    return _DIALLING if answers is None else _ANSWERING + answers


async def _exactly(connection: socket.socket, count: int, *, begun: bool = False) -> bytes:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < count:
        part = await loop.sock_recv(connection, count - len(received))
        if not part:
            # A peer whose other attempt was quicker goes without a word.
            raise NoHello("stranger" if received or begun else "")
        received += part
    return bytes(received)
