"""Leads an agent's connections over a proxy, as a rule of the firewall would; loaded in its processes only."""

import os
import socket

_ROUTES = dict(pair.split(":") for pair in os.environ.get("AUTOSYNC_TEST_ROUTES", "").split())


class _Routed(socket.socket):
    """A socket whose way to a device may lead over another port."""

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and str(address[1]) in _ROUTES:
            address = (address[0], int(_ROUTES[str(address[1])]), *address[2:])
        super().connect(address)


if _ROUTES:
    socket.socket = _Routed
