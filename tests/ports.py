"""Ports for servers of the tests: none is given twice, also where several processes share the work."""

from __future__ import annotations

import itertools
import os
import re
import socket

_FIRST, _SHARE = 20_000, 3_000
"""Below the ports that the kernel gives to outgoing connections (ip(7), ip_local_port_range)."""

# Other runs on this machine begin elsewhere.
_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % 4
_offsets = itertools.count(os.getpid() * 37 % _SHARE)


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on."""
    found: list[int] = []
    while len(found) < count:
        port = _FIRST + _worker * _SHARE + next(_offsets) % _SHARE
        try:
            with socket.create_server(("127.0.0.1", port)):
                found.append(port)
        except OSError:  # somebody has it
            continue
    return found
