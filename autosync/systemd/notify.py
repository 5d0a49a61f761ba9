"""Tells the service manager that started this process how it is doing (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

PATIENCE = 0.5
"""Seconds that the manager may take to make room for a message that is said once; for others nobody waits."""
_MOST = 500
"""Characters of a status; the manager shows one line."""


class Notifier:
    """The socket that ``$NOTIFY_SOCKET`` names; says nothing if there is none.

    Takes the variables out of ``environ``: what this process starts speaks for itself.
    ``watchdog`` is after how many seconds without :meth:`alive` the manager ends this process, ``None`` if it does not.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        if address and address[0] not in "@/":
            log.warning("NOTIFY_SOCKET=%s is no unix socket: the service manager is told nothing", address)
            self._address = ""
        mine = pid in ("", str(os.getpid()))
        self.watchdog = int(usec) / 1e6 if usec.isdecimal() and int(usec) and mine and self._address else None
        self._status = ""
        self._is_heard = True

    def __bool__(self) -> bool:
        return bool(self._address)

    def ready(self) -> None:
        """Everything is up, or up again after :meth:`reloading`."""
        self._send("READY=1", PATIENCE)

    def reloading(self) -> None:
        """The configuration is read again; :meth:`ready` ends that."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}", PATIENCE)

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1", PATIENCE)

    def alive(self) -> None:
        """There is evidence that the work goes on; nothing is said to a manager that does not ask."""
        if self.watchdog is not None:
            self._send("WATCHDOG=1")

    def wait_for(self, seconds: float) -> None:
        """The start, or the end, takes at least ``seconds`` more."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, words: str) -> None:
        """Show ``words``, one line, to whoever asks the manager; only what is new is sent."""
        line = " ".join(words.split())[:_MOST]
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, message: str, patience: float = 0.0) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(patience)
                sending.connect(self._address)
                sending.sendall(message.encode("utf-8", "backslashreplace"))
        except OSError as error:
            if self._is_heard:
                log.warning("the service manager is not told %r: %s", message[:40], error)
            self._is_heard = False
        else:
            self._is_heard = True
