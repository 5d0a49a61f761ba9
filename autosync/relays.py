"""Reaches devices, and lets them reach this one, where no direct connection is possible: through ssh and XMPP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from autosync.config import Config
from autosync.core.candidates import Candidate, CandidateKind
from autosync.link import Links
from autosync.link.carriage import NARROW, TUNNEL
from autosync.link.ssh import SshConnector


@runtime_checkable
class Piping(Protocol):
    """A channel that leads byte pipes between its members too: XMPP's, whose library is loaded for an account only."""

    accept: Callable[[socket.socket, str], None] | None

    @property
    def address(self) -> str | None:
        """Where members can open a pipe to this device now."""

    async def connect(self, address: str) -> socket.socket:
        """Return one end of a pipe to ``address``.  Raises :class:`OSError`."""


class Relays:
    """The ways of ``links`` that lead over somebody else's machine."""

    def __init__(self, config: Config, links: Links) -> None:
        self._config = config
        self._links = links
        self._xmpp: Piping | None = None
        self._ssh = SshConnector()
        links.add_connector(CandidateKind.SSH, self._ssh.connect, carriage=TUNNEL)

    def start(self) -> None:
        """Keep trying the configured peers that ssh leads to."""
        self._links.learn(None, None, [_ssh(address) for address in self._config.ssh_peers])

    async def stop(self) -> None:
        """End what runs; the links have been stopped."""
        await self._ssh.stop()

    def through(self, xmpp: Piping) -> None:
        """Use bytestreams of ``xmpp``, which has not been started yet."""
        self._xmpp = xmpp
        xmpp.accept = self._accept
        self._links.add_connector(CandidateKind.XMPP, xmpp.connect, carriage=NARROW)

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the ways to this device over others at this moment, best first."""
        found = []
        if self._config.ssh_address is not None and self._links.port:
            found.append(_ssh(f"{self._config.ssh_address}/{self._links.port}"))
        if self._xmpp is not None and self._xmpp.address is not None:
            found.append(Candidate(kind=CandidateKind.XMPP, address=self._xmpp.address))
        # A resource may hold what an announcement does not: then the others are without this way.
        return tuple(candidate for candidate in found if not candidate.problem())

    def usable(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Return those of the candidates that another device has told which may be tried."""
        return tuple(c for c in candidates if c.kind is not CandidateKind.SSH or self._config.ssh)

    def _accept(self, end: socket.socket, peer: str) -> None:
        self._links.accept(end, peer, carriage=NARROW)


def _ssh(address: str) -> Candidate:
    return Candidate(kind=CandidateKind.SSH, address=address)
