"""Sets what both ends of a connection to the reflector ask of TCP."""

from __future__ import annotations

import socket

_OPTIONS = (
    (socket.TCP_NODELAY, 1),
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 15),
    (socket.TCP_KEEPCNT, 4),
    (socket.TCP_USER_TIMEOUT, 60_000),
)


def tune(connection: socket.socket) -> None:
    """Let each line leave at once, and find out within two minutes who is gone without saying so (tcp(7)).

    Raises :class:`OSError` if that is so already.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _OPTIONS:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
