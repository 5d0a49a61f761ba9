"""Reaches devices, and lets them reach this one, over others: through ssh, a reflector or XMPP."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from autosync.channels.reflector import ReflectorChannel
from autosync.config import Config
from autosync.core.candidates import Candidate, CandidateKind
from autosync.link import Links
from autosync.link.carriage import NARROW, TUNNEL
from autosync.link.reflected import call, place_of
from autosync.link.ssh import SshConnector
from autosync.ports import Piping

_CARRIAGES = {CandidateKind.REFLECTOR: TUNNEL, CandidateKind.XMPP: NARROW}


class Relays:
    """The ways of ``links`` that lead over somebody else's machine."""

    def __init__(self, config: Config, links: Links) -> None:
        self._config = config
        self._links = links
        self._piping: dict[CandidateKind, Piping] = {}
        self._places: dict[str, None] = {}
        self._ssh = SshConnector()
        links.add_connector(CandidateKind.SSH, self._ssh.connect, carriage=TUNNEL)
        # Also to a reflector of the others alone.
        links.add_connector(CandidateKind.REFLECTOR, call, carriage=TUNNEL)

    def start(self) -> None:
        """Keep trying the configured peers that ssh leads to."""
        self._links.learn(None, None, [_ssh(address) for address in self._config.ssh_peers])

    async def stop(self) -> None:
        """End what runs; the links have been stopped."""
        await self._ssh.stop()

    def through(self, channel: Piping) -> None:
        """Use the pipes of ``channel``, which has not been started yet."""
        kind = CandidateKind(channel.kind)
        self._piping[kind] = channel
        channel.accept = partial(self._links.accept, carriage=_CARRIAGES[kind])
        self._links.add_connector(kind, channel.connect, carriage=_CARRIAGES[kind])
        if isinstance(channel, ReflectorChannel):
            channel.move()
            for place in self._places:
                channel.attend(place)

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the ways to this device over others at this moment, best first."""
        found = []
        if self._config.ssh_address is not None and self._links.port:
            found.append(_ssh(f"{self._config.ssh_address}/{self._links.port}"))
        for kind in sorted(self._piping, key=lambda kind: kind.rank):
            if (address := self._piping[kind].address) is not None:
                found.append(Candidate(kind=kind, address=address))
        # A resource may hold what an announcement does not: then the others are without this way.
        return tuple(candidate for candidate in found if not candidate.problem())

    def usable(self, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
        """Return those of the candidates that another device has told which may be tried.

        A reflector that this device uses too may have another name here: it is tried by that as well.
        """
        told = [c for c in candidates if c.kind is not CandidateKind.SSH or self._config.ssh]
        channel = self._reflector()
        if channel is None:
            return tuple(told)
        reflected = {c: replace(c, address=channel.at(place_of(c))) for c in told if c.kind is CandidateKind.REFLECTOR}
        return tuple(dict.fromkeys(way for c in told for way in (c, reflected.get(c, c))))

    def attend(self, place: str) -> tuple[Candidate, ...]:
        """Take calls to ``place`` too, until it is left; return the ways to it."""
        self._places[place] = None
        channel = self._reflector()
        if channel is None:
            return ()
        channel.attend(place)
        return (Candidate(kind=CandidateKind.REFLECTOR, address=channel.at(place)),)

    def move(self) -> None:
        """Be called at another place of the reflector than before; announcements tell it from now on."""
        if (channel := self._reflector()) is not None:
            channel.move()

    def leave(self, place: str) -> None:
        """Take no more calls to ``place``."""
        del self._places[place]
        if (channel := self._reflector()) is not None:
            channel.leave(place)

    def _reflector(self) -> ReflectorChannel | None:
        channel = self._piping.get(CandidateKind.REFLECTOR)
        return channel if isinstance(channel, ReflectorChannel) else None


def _ssh(address: str) -> Candidate:
    return Candidate(kind=CandidateKind.SSH, address=address)
