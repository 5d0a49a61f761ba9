"""The port of the reflector: how it is opened, and what each connection to it is given."""

from __future__ import annotations

import errno
import ipaddress
import socket

from autosync.errors import AutosyncError
from autosync.reflector.tcp import tune

_BUFFER = 256 * 1024
"""Bytes that the kernel may hold for one client in each direction."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; an empty ``host`` is every interface.  Raises :class:`AutosyncError`."""
    shown = f"{host or '*'}:{port}"
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
        family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family, backlog=1024)
    except socket.gaierror as error:
        hint = "Name an address of this machine, or * for all."
        raise AutosyncError(f"Cannot listen on {shown}: {error.strerror}", hint=hint) from None
    except OSError as error:
        hint = "Choose another address or port; `ss -tlnp` shows who listens where."
        if error.errno == errno.EACCES:
            hint = "A port below 1024 is root's: choose a higher one."
        raise AutosyncError(f"Cannot listen on {shown}: {_reason(error)}", hint=hint) from None


def _reason(error: OSError) -> str:
    # create_server adds the address to the text that the kernel has for the error.
    return (error.strerror or str(error)).partition(" (while")[0]


def origin_of(address: str) -> str:
    """Return what connections are counted by: an IPv4 address, or the /64 of an IPv6 one, which one host may own."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if parsed.version == 6:
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def prepare(connection: socket.socket) -> None:
    """Let it block nobody, and bound what the kernel holds."""
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    tune(connection)
