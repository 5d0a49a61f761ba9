"""A reflector in a thread, and clients that say to it what they like."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import TracebackType

from autosync.reflector.limits import Limits
from autosync.reflector.server import Reflector
from tests.waiting import PATIENCE

GREETING = "debug!connected..."


class Clock:
    """A clock that goes on when it is told to; a real reflector in a thread reads it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Running:
    """A reflector that serves in a thread; its port stays the same over restarts."""

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None, port: int = 0) -> None:
        self.limits = limits
        self.clock = clock
        self.port = port
        self.reflector: Reflector
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        options = {} if self.clock is None else {"clock": self.clock}
        self.reflector = Reflector("127.0.0.1", self.port, self.limits, **options)
        self.port = self.reflector.port
        self._thread = threading.Thread(target=self.reflector.serve, name="reflector")
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self.reflector.stop()
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()
            self._thread = None

    def client(self, **options: int) -> Client:
        """Return a client that has been greeted."""
        client = Client(self.port, **options)
        assert client.line() == GREETING
        return client


@contextlib.contextmanager
def running(limits: Limits | None = None, clock: Clock | None = None) -> Iterator[Running]:
    """Run a reflector until the end of the block."""
    server = Running(limits, clock)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Client:
    """One connection; every wait ends in an error after a while."""

    def __init__(self, port: int, *, receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self._held = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def say(self, *lines: str) -> None:
        """Say lines, all in one piece."""
        self.raw("".join(f"{line}\n" for line in lines).encode())

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> str:
        """Return the next line; fails at the end of the connection."""
        while b"\n" not in self._held:
            piece = self.socket.recv(65536)
            assert piece, f"the connection ended after {self._held!r}"
            self._held += piece
        line, _, self._held = self._held.partition(b"\n")
        return line.decode()

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def settle(self) -> None:
        """Return once the server has done all that this client said."""
        self.say("ping")
        while not self.line().isdigit():
            pass

    def rest(self) -> list[str]:
        """Return the lines until the server ends the connection."""
        with contextlib.suppress(ConnectionError):
            while piece := self.socket.recv(65536):
                self._held += piece
        return self._held.decode().splitlines()
