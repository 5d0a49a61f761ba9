"""The texts ``host:port`` under which peers reach each other."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_GETLINK, _RTM_GETADDR = 18, 22
_NLM_F_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_TEMPORARY, _FAILED, _DEPRECATED, _TENTATIVE = 0x01, 0x08, 0x20, 0x40
"""Flags of an address (linux/if_addr.h); of an IPv4 one the first says that it is a secondary one."""
_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_IFINFOMSG = struct.Struct("=HHiII")
IFF_UP, IFF_RUNNING = 0x1, 0x40
_ATTRIBUTE = struct.Struct("=HH")

BACKLOG = 128
MAX_ADDRESSES = 16
"""Addresses that one device tells or is dialled at."""
_LINKS_TRIED = 4
_MOST_JOINED = 20
"""Interfaces with IPv4 that one socket can listen to (ip-sysctl, igmp_max_memberships)."""
UNACKNOWLEDGED_MS = 20_000
"""How long sent bytes may stay without an answer of the other kernel, in ms."""

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, order=True)
class InterfaceAddress:
    """An address of this machine and the number of the interface that has it."""

    interface: int
    ip: Ip
    passing: bool = field(default=False, compare=False)
    """It will be replaced by another one soon: made for privacy (RFC 8981), or deprecated."""


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
    """Return the addresses of all interfaces that are up, asked of the kernel (rtnetlink(7)).

    Empty where that is forbidden, as it may be in a sandbox.
    """
    try:
        up = {interface for interface, flags in machine_links().items() if flags & IFF_UP}
        found = (address for message in _dump(_RTM_GETADDR) for address in _addresses_in(message))
        return tuple(
            sorted({a for a in found if a.interface in up}, key=lambda a: (a.interface, a.ip.version, a.ip.packed))
        )
    except OSError:
        return ()


def machine_links() -> dict[int, int]:
    """Return the flags (netdevice(7), ``SIOCGIFFLAGS``) of each interface, by its number.  Raises :class:`OSError`."""
    messages = [_IFINFOMSG.unpack_from(message) for message in _dump(_RTM_GETLINK)]
    return {interface: flags for _, _, interface, flags, _ in messages}


def _dump(kind: int) -> list[bytes]:
    """Return the kernel's answers to a question for everything of one kind."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(1)
        body = bytes(_IFINFOMSG.size)  # a longer one than RTM_GETADDR needs is taken as well
        kernel.sendto(_HEADER.pack(_HEADER.size + len(body), kind, _NLM_F_REQUEST_DUMP, 1, 0) + body, (0, 0))
        return list(_answers(kernel))


def _answers(kernel: socket.socket) -> Iterator[bytes]:
    while True:
        for kind, message in netlink_messages(kernel.recv(65536)):
            if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                return
            yield message


def netlink_messages(received: bytes) -> Iterator[tuple[int, bytes]]:
    """Return kind and body of each message (netlink(7))."""
    at = 0
    while at + _HEADER.size <= len(received):
        length, kind, *_ = _HEADER.unpack_from(received, at)
        if length < _HEADER.size:
            return
        yield kind, received[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _addresses_in(message: bytes) -> Iterator[InterfaceAddress]:
    _, _, flags, _, interface = _IFADDRMSG.unpack_from(message)
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
    if _IFA_FLAGS in found:  # the header has room for eight of them only
        (flags,) = struct.unpack_from("=I", found[_IFA_FLAGS])
    if len(packed) in (4, 16) and not flags & (_TENTATIVE | _FAILED):
        passing = len(packed) == 16 and bool(flags & (_TEMPORARY | _DEPRECATED))
        yield InterfaceAddress(interface, ipaddress.ip_address(packed), passing)


def reachable(host: str, port: int) -> tuple[str, ...]:
    """Return where peers reach a listener bound to ``host`` (empty: all interfaces), best first.

    Link-local addresses are left out: they mean nothing without the peer's own
    interface name.  Loopback comes last, for agents of the same machine.
    """
    if host:
        return (join(host, port),)
    outer = [a for a in machine_addresses() if not a.ip.is_link_local and not a.ip.is_loopback]
    texts = dict.fromkeys(join(str(a.ip), port) for a in sorted(outer, key=lambda a: (a.passing, a.ip.version)))
    return (*list(texts)[: MAX_ADDRESSES - 1], join("127.0.0.1", port))


def link_local(addresses: Iterable[InterfaceAddress]) -> tuple[str, ...]:
    """Return those that mean something on one link only, IPv4 (RFC 3927) first."""
    found = sorted({a.ip for a in addresses if a.ip.is_link_local}, key=lambda ip: (ip.version, ip.packed))
    return tuple(str(ip) for ip in found)


def scoped(local: Iterable[str], port: int) -> tuple[str, ...]:
    """Return ``host:port`` for link-local addresses of a peer.

    An IPv6 one is meant on one of our links, but not said on which: it is returned for each that
    has such addresses, though for four at most.
    """
    here = {a.interface for a in machine_addresses() if a.ip.version == 6 and a.ip.is_link_local}
    found: list[str] = []
    for text in local if port else ():
        if ":" not in text:
            found.append(join(text, port))
            continue
        for interface in sorted(here)[:_LINKS_TRIED]:
            with contextlib.suppress(OSError):  # it is gone in this moment
                found.append(join(f"{text}%{socket.if_indextoname(interface)}", port))
    return tuple(found)


def multicast_addresses(addresses: Iterable[InterfaceAddress]) -> list[InterfaceAddress]:
    """Return one IPv4 address and one IPv6 address, rather a link-local one, of each interface that can do multicast.

    IPv6 does none on the loopback interface.
    """
    found: dict[tuple[int, int], InterfaceAddress] = {}
    for at in addresses:
        place = (at.interface, at.ip.version)
        if at.ip.version == 6 and at.ip.is_loopback:
            continue
        if place not in found or (at.ip.version == 6 and at.ip.is_link_local and not found[place].ip.is_link_local):
            found[place] = at
    return list(found.values())[:_MOST_JOINED]


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
