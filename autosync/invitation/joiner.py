"""The joiner's side of an invitation: finds the inviter and fetches what is granted."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import BinaryIO, cast

from autosync.channels.deaf import Deaf
from autosync.channels.lan import LanChannel
from autosync.core.candidates import Candidate, CandidateKind
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import AutosyncError, Missing, Refused, TransientError, Unreachable, Unsafe
from autosync.invitation.grant import KEY, MAX_BYTES, OFFER, Offer, decode_key, decode_offer
from autosync.invitation.line import InvitationLine, text_of
from autosync.link import Links, PeerStatus
from autosync.link.carriage import NARROW, TUNNEL
from autosync.link.reflected import call
from autosync.link.ssh import SshConnector
from autosync.ports import Piping
from autosync.trust.identity import Identity

PATIENCE = 30.0
"""Seconds in which the inviter has to be found."""
_SLOWLY = 2
"""How many times as long it may take over XMPP: a login, and a server that lets little through."""
_LOOK_EVERY = 0.05
_GRANTED_WITHIN = 60.0
_TRIES = 5
_ENOUGH = 10.0
"""Seconds after which no more is hoped for if every way has failed."""
_MOST_TOLD = 6
_UNUSED = {
    CandidateKind.SSH: ", or `ssh: false` stands in the configuration here",
    CandidateKind.XMPP: ", or there is no `xmpp:` in the configuration here",
}
_CLOSED = "does not know this workspace"
"""What :class:`Links` says of a device that answers, but not to this key."""


class Closed(AutosyncError):
    """The inviter is there, and the invitation is not open."""

    def __init__(self) -> None:
        super().__init__(
            "This invitation is not open (any more)",
            hint="It has expired, was cancelled, or the inviting agent was started again. Make a new one there: "
            "autosync invite",
        )


class _Guest:
    """The invitation's workspace on the side that has nothing in it."""

    def __init__(self, line: InvitationLine, device: DeviceId, name: str) -> None:
        self.key = line.key
        self.device = device
        self.name = name

    def announced(self, sealed: bytes, peer: DeviceId) -> None:
        """Nothing is announced here."""

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:  # noqa: ARG002
        raise Missing("Nothing is served here", hint="")


class _Bounded(io.BytesIO):
    """Takes what may be granted and no more."""

    def write(self, content: object) -> int:
        view = memoryview(cast(bytes, content))
        if self.tell() + view.nbytes > MAX_BYTES:
            raise Unsafe("The inviter sends more than a grant can be", hint="Do not trust that device.")
        return super().write(view)


class Arrival:
    """A link to the inviter."""

    def __init__(self, links: Links, line: InvitationLine, inviter: PeerStatus) -> None:
        assert inviter.device is not None  # noqa: S101  (it is linked)
        self.device = inviter.device
        self.name = inviter.name
        self.way = Candidate(kind=CandidateKind(inviter.kind), address=inviter.address)
        self.address = text_of(self.way)
        self._links = links
        self._line = line

    async def offer(self) -> Offer:
        """Return what is offered.

        Raises :class:`Refused` (expired, used up), :class:`Unsafe`, :class:`Unreachable`.
        """
        offer = decode_offer(await self._fetch(OFFER))
        if offer.device != self.device:
            raise Unsafe("The inviter speaks in the name of another device", hint="Do not trust it.")
        return offer

    async def key_text(self) -> str:
        """Return the content of the workspace's key file; from here on the invitation counts as used."""
        return decode_key(await self._fetch(KEY))

    async def _fetch(self, want: SnapshotId) -> bytes:
        """Return what the inviter answers; a link that is cut meanwhile is made again."""
        for attempt in range(_TRIES):
            sink = _Bounded()
            try:
                async with asyncio.timeout(_GRANTED_WITHIN):
                    await self._links.fetch(self._line.key.id, self.device, want, (), sink)
                return sink.getvalue()
            except Refused as refused:
                raise Refused(
                    f"{self.name} does not let this device in: {refused.title.rpartition(': ')[2]}",
                    hint="Ask for a new invitation: autosync invite there.",
                ) from None
            except TransientError:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(0.2 * 2**attempt)
            except TimeoutError:
                raise Unreachable(f"{self.name} does not answer", hint="Try again.") from None
        raise AssertionError("the last attempt returns or raises")


@contextlib.asynccontextmanager
async def reached(
    line: InvitationLine,
    identity: Identity,
    *,
    device: DeviceId,
    name: str,
    host: str,
    discovery: bool,
    ssh: bool = True,
    xmpp: Piping | None = None,
    patience: float = PATIENCE,
) -> AsyncIterator[Arrival]:
    """Find the inviter on the ways that the line names, or on the local network, and keep the link for the while.

    ``device`` and ``name`` are this device's, ``host`` is where it listens (empty: all interfaces), ``ssh`` says
    whether an address of that kind is used, ``xmpp`` is the channel of an account here.
    Raises :class:`Closed` or :class:`Unreachable`.
    """
    ways = [c for c in line.candidates if ssh or c.kind is not CandidateKind.SSH]
    links = Links(identity, listen=(host, 0))
    tunnels = SshConnector()
    links.add_connector(CandidateKind.SSH, tunnels.connect, carriage=TUNNEL)
    links.add_connector(CandidateKind.REFLECTOR, call, carriage=TUNNEL)
    if xmpp is not None:
        xmpp.accept = _refuse
        links.add_connector(CandidateKind.XMPP, partial(_once_online, xmpp), carriage=NARROW)
    guest = _Guest(line, device, name)
    channel = LanChannel(links, Deaf(), discovery=discovery)
    await links.start()
    try:
        links.add(guest)
        links.learn(guest.key.id, None, ways)
        await channel.start()
        if xmpp is not None:
            await xmpp.start()
        yield Arrival(links, line, await _inviter(links, line, patience if xmpp is None else _SLOWLY * patience))
    finally:
        await channel.stop()
        await links.stop()
        await tunnels.stop()
        if xmpp is not None:
            await xmpp.stop()


def _refuse(end: socket.socket, _peer: str) -> None:
    """Take no pipe: nobody has reason to call a device that is about to join."""
    end.close()


async def _once_online(xmpp: Piping, address: str) -> socket.socket:
    """Return a pipe to ``address`` when the login is done.  Raises :class:`OSError`."""
    while xmpp.address is None:  # a channel tells its state when it is asked
        if (status := xmpp.status()).state in ("offline", "failed"):
            raise OSError(status.detail)
        await asyncio.sleep(_LOOK_EVERY)
    return await xmpp.connect(address)


async def _inviter(links: Links, line: InvitationLine, patience: float) -> PeerStatus:
    """Return the link to who has made the line; nobody else who knows it will do."""
    clock = asyncio.get_running_loop().time
    began = clock()
    known: list[PeerStatus] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while True:
                known = links.peers(line.key.id)
                for peer in known:
                    if peer.connected and peer.device is not None and line.names(peer.device):
                        return peer
                tried = [peer for peer in known if not peer.connected]
                if tried and all(peer.problem for peer in tried):
                    if any(_CLOSED in peer.problem for peer in tried):
                        raise Closed
                    if clock() - began > _ENOUGH:
                        break
                await asyncio.sleep(_LOOK_EVERY)
    raise Unreachable(
        f"The inviting device is not reached{_tried(known, line)}",
        hint="Does its agent run, and is the invitation open? There, autosync invite --list shows that. Both devices "
        "need one way to each other: the same network, or in its configuration a `public-address:` with a forwarded "
        "port, an `ssh-address:` or a `reflector:`, or `xmpp:` in both; then make a new invitation.",
    )


def _tried(known: Sequence[PeerStatus], line: InvitationLine) -> str:
    """Return in lines which way was tried, and what it came to."""
    problems = {peer.address: peer.problem for peer in known}
    told = [f"{c.kind.value} {text_of(c)}: {_why(problems.get(c.address, ''), c)}" for c in line.candidates]
    others = [
        peer.problem for peer in known if peer.problem and peer.address not in {c.address for c in line.candidates}
    ]
    told += others[: _MOST_TOLD - len(told)] or (["the local network: it is not found there"] if not told else [])
    return "".join(f"\n  {text}" for text in told)


def _why(problem: str, candidate: Candidate) -> str:
    return problem.removeprefix(f"{candidate.address}: ") or f"does not answer{_UNUSED.get(candidate.kind, '')}"
