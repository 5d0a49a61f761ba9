"""Addresses at which no hub answers, or one that lets nobody in."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _No(BaseHTTPRequestHandler):
    """A server that lets nobody in."""

    def do_GET(self) -> None:
        self.send_error(403)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


class ClosedHubs:
    """``deaf`` answers nobody, ``stern`` says no to everybody."""

    def __init__(self) -> None:
        self._stern = ThreadingHTTPServer(("127.0.0.1", 0), _No)
        threading.Thread(target=self._stern.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        # Bound, but it does not listen: whoever connects is turned away at once.
        self._deaf = socket.socket()
        self._deaf.bind(("127.0.0.1", 0))
        self.deaf = b"http://127.0.0.1:%d/hub" % self._deaf.getsockname()[1]
        self.stern = b"http://127.0.0.1:%d/hub" % self._stern.server_address[1]

    def close(self) -> None:
        self._stern.shutdown()
        self._stern.server_close()
        self._deaf.close()
