"""The texts ``host:port`` under which peers reach each other."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_GETADDR = 22
_NLM_F_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")

BACKLOG = 128
MAX_ADDRESSES = 16
"""Addresses that one device tells or is dialled at."""
UNACKNOWLEDGED_MS = 20_000
"""How long sent bytes may stay without an answer of the other kernel, in ms."""

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, order=True)
class InterfaceAddress:
    """An address of this machine and the number of the interface that has it."""

    interface: int
    ip: Ip


def split(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``[IPv6]:port``.  Raises :class:`ValueError`."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address}: an IPv6 address needs brackets")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{address}: not host:port")
    return host, int(port)


def join(host: str, port: int) -> str:
    """Return ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def machine_addresses() -> tuple[InterfaceAddress, ...]:
    """Return the addresses of all interfaces, asked of the kernel (rtnetlink(7), ``RTM_GETADDR``).

    Empty where that is forbidden, as it may be in a sandbox.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(1)
            body = _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            kernel.sendto(
                _HEADER.pack(_HEADER.size + len(body), _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + body, (0, 0)
            )
            return tuple(sorted(set(_dumped(kernel)), key=lambda a: (a.interface, a.ip.version, a.ip.packed)))
    except OSError:
        return ()


def _dumped(kernel: socket.socket) -> Iterator[InterfaceAddress]:
    while True:
        received = kernel.recv(65536)
        at = 0
        while at + _HEADER.size <= len(received):
            length, kind, *_ = _HEADER.unpack_from(received, at)
            if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < _HEADER.size:
                return
            yield from _addresses_in(received[at + _HEADER.size : at + length])
            at += (length + 3) & ~3


def _addresses_in(message: bytes) -> Iterator[InterfaceAddress]:
    *_, interface = _IFADDRMSG.unpack_from(message)
    found: dict[int, bytes] = {}
    at = _IFADDRMSG.size
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size:
            return
        found[kind] = message[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    # On a point-to-point interface IFA_ADDRESS is the other end's.
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    if len(packed) in (4, 16):
        yield InterfaceAddress(interface, ipaddress.ip_address(packed))


def reachable(host: str, port: int) -> tuple[str, ...]:
    """Return where peers reach a listener bound to ``host`` (empty: all interfaces), best first.

    Link-local addresses are left out: they mean nothing without the peer's own
    interface name.  Loopback comes last, for agents of the same machine.
    """
    if host:
        return (join(host, port),)
    ips = [a.ip for a in machine_addresses() if not a.ip.is_link_local]
    outer = [ip for ip in ips if not ip.is_loopback]
    texts = dict.fromkeys(join(str(ip), port) for ip in sorted(outer, key=lambda ip: ip.version))
    return (*list(texts)[: MAX_ADDRESSES - 1], join("127.0.0.1", port))


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a listening, non-blocking socket for ``host``, or for all interfaces if it is empty.

    Raises :class:`OSError`.
    """
    if host:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(where[:2], family=family, backlog=BACKLOG)
    else:
        try:
            listener = socket.create_server(("", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise
            listener = socket.create_server(("", port), backlog=BACKLOG)  # a kernel without IPv6
    listener.setblocking(False)
    return listener


def tune(connection: socket.socket) -> None:
    """Set what every TCP connection between agents needs; pipes of other kinds are left as they are."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Bytes that wait in the kernel cannot be overtaken: with little unsent there, an
    # announcement does not queue behind megabytes of a fetch (tcp(7), TCP_NOTSENT_LOWAT).
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 64 * 1024)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)


def remote(connection: socket.socket) -> str:
    """Return the other end's ``host:port``; empty for what is no TCP connection."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    host, port = connection.getpeername()[:2]
    return join(str(host).removeprefix("::ffff:"), port)


def explain(error: OSError) -> str:
    """Return in words why a connection failed."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, TimeoutError) and error.errno is None:
        return "no answer in time"
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)
