"""A client that reads as SparkleShare 1.5.1 does: at most 4096 bytes, and of them the first line."""

from __future__ import annotations

import socket
import time

from tests.waiting import PATIENCE


class SparkleShare:
    """One connection of ``TcpListener.cs``; a line it cannot read ends it, as it ends the original's thread."""

    def __init__(self, port: int, *identifiers: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.heard: list[tuple[str, str]] = []
        for identifier in identifiers:
            self.send(f"subscribe {identifier}")
        self.received()  # the greeting
        self.ping()  # and the subscriptions count from here

    def send(self, line: str) -> None:
        """Send a line in one piece."""
        self._socket.send(f"{line}\n".encode())

    def received(self) -> str:
        """Return the first line of what can be read at once; as in the original the rest of it is lost."""
        piece = self._socket.recv(4096).decode()
        return piece[: piece.index("\n")]

    def ping(self) -> None:
        """Make sure that the server lives: any line will do."""
        self.send("ping")
        self._take(self.received())

    def announce(self, identifier: str, commit: str) -> None:
        """Tell of a commit that was pushed."""
        self.send(f"announce {identifier} {commit}")

    def wait_for(self, identifier: str, commit: str) -> None:
        """Return once somebody told of ``commit``."""
        deadline = time.monotonic() + PATIENCE
        while (identifier, commit) not in self.heard:
            assert time.monotonic() < deadline, self.heard
            self._take(self.received())

    def close(self) -> None:
        self._socket.close()

    def _take(self, line: str) -> None:
        name, mark, message = line.partition("!")
        if mark and name != "debug" and message.strip():
            self.heard.append((name, message.strip()))
