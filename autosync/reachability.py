"""Keeps the ways between this device and the others: those that it tells, and those that it is told."""

from __future__ import annotations

from autosync.config import Config
from autosync.core.candidates import Candidate, CandidateKind, on_lan
from autosync.core.events import Announcement
from autosync.invitation.introductions import introductions
from autosync.link import Links
from autosync.link.addresses import join
from autosync.membership import Membership
from autosync.rekeying import Rekeying
from autosync.relays import Relays


class Reachability:
    """The candidates of all devices; nothing is learnt where direct connections are off."""

    def __init__(self, config: Config, links: Links, relays: Relays, rekeying: Rekeying) -> None:
        self._config = config
        self._links = links
        self._relays = relays
        self._rekeying = rekeying
        self._told: tuple[Candidate, ...] = ()

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the ways to this device at this moment, best first."""
        return (*on_lan(self._links.addresses()), *self._public(), *self._relays.candidates())

    def take_stock(self) -> bool:
        """Look once more at the ways to this device; return whether they are others than at the last look."""
        before, self._told = self._told, self.candidates()
        return before != self._told

    def learn(self, member: Membership, said: Announcement) -> None:
        """Try to reach the device that has said this."""
        if self._config.listen is not None:
            self._rekeying.learn(member, said)
            ways = self._relays.usable(said.candidates)
            self._links.learn(member.key.id, said.device, ways, heard=said.state != "stopped")

    def learn_introductions(self) -> None:
        """Try to reach those by whose invitation this device has joined."""
        if self._config.listen is not None:
            for known in introductions(self._config.state_dir):
                self._links.learn(known.workspace, known.device, self._relays.usable(known.candidates))

    def _public(self) -> tuple[Candidate, ...]:
        """Return the address that the user has configured; without a port it has that of the listener."""
        public = self._config.public_address
        if public is None or not self._links.port:
            return ()
        host, port = public
        return (Candidate(kind=CandidateKind.PUBLIC, address=join(host, port or self._links.port)),)
