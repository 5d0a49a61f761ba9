"""The invitations that are open on this device: who may come in by them, and until when."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from autosync.core.candidates import Candidate, CandidateKind
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import AutosyncError, Missing, Refused
from autosync.invitation.grant import KEY, OFFER, Offer, encode_key, encode_offer
from autosync.invitation.line import TOKEN_BYTES, InvitationLine, choose, identity_of, place_of
from autosync.link import Links
from autosync.trust.signing import fingerprint_of

log = logging.getLogger(__name__)

MOST = 20
"""Invitations that are open at a time."""
MAX_TOLD = 100
"""Devices of which one invitation tells what they did; its line may have become public."""


def _now() -> float:
    """Return seconds that go on while the computer is suspended (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("ascii")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A device that came by an invitation: as its link knows it."""

    device: DeviceId
    name: str
    address: str


Told = Callable[[str, "Invitation", Visitor], None]
"""Called in the event loop with ``joined`` or ``refused``, once for each device."""


class Meeting(Protocol):
    """Where a device that joins can call, if it reaches this one by no address."""

    def attend(self, place: str) -> tuple[Candidate, ...]:
        """Take calls to ``place``, until it is left; return the ways to it."""

    def leave(self, place: str) -> None:
        """Take no more calls to ``place``."""


class Invitation:
    """One open invitation: a workspace of its own, whose key is in the line.

    A device first gets the offer and, when it asks for that, the key of the real workspace.  From then
    on an invitation for one device is that device's, which may repeat what a cut has interrupted.
    """

    def __init__(
        self,
        line: InvitationLine,
        links: Links,
        *,
        device: DeviceId,
        name: str,
        offer: Callable[[], Offer],
        key_text: Callable[[], str],
        seconds: float,
        once: bool,
        tell: Told,
    ) -> None:
        self.key = line.key
        self.place = place_of(line.token)
        self.device = device
        self.name = name
        self.id = identity_of(line.token)
        self.once = once
        self.joined: dict[DeviceId, Visitor] = {}
        self.refused: dict[DeviceId, Visitor] = {}
        self.workspace = offer().workspace
        self._links = links
        self._offer = offer
        self._key_text = key_text
        self._first_key = _digest(key_text())
        self._ends_at = _now() + seconds
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._taken_by: DeviceId | None = None

    @property
    def seconds_left(self) -> float:
        """How long it is good for."""
        return max(0.0, self._ends_at - _now())

    # -- what a link asks of a workspace -------------------------------------------------------
    def announced(self, sealed: bytes, peer: DeviceId) -> None:
        """Nothing is announced here."""

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:  # noqa: ARG002
        """Refuse: an answer depends on who asks."""
        raise Missing("An invitation answers nobody who is not known", hint="")

    def serve_peer(self, peer: DeviceId, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:  # noqa: ARG002
        """Write the offer or the key; called in a thread.  Raises :class:`Refused` or :class:`Missing`."""
        if want == OFFER:
            self._admit(peer, takes=False)
            out.write(encode_offer(self._offer()))
        elif want == KEY:
            text = self._key_text()
            if _digest(text) != self._first_key:
                # Whoever is not to have the new key may still have the line.
                raise Refused("the workspace's key was changed after this invitation was made", hint="")
            self._admit(peer, takes=True)
            out.write(encode_key(text))
            out.flush()
            self._loop.call_soon_threadsafe(self._note, self.joined, "joined", peer)
        else:
            raise Missing("An invitation has no snapshots", hint="")

    def _admit(self, peer: DeviceId, *, takes: bool) -> None:
        with self._lock:
            if self.seconds_left <= 0:
                raise Refused("this invitation has expired", hint="")
            if not self.once or self._taken_by in (None, peer):
                self._taken_by = peer if takes else self._taken_by
                return
        self._loop.call_soon_threadsafe(self._note, self.refused, "refused", peer)
        raise Refused("this invitation was for one device, and another one has come by it", hint="")

    def _note(self, where: dict[DeviceId, Visitor], what: str, peer: DeviceId) -> None:
        if peer in where or len(where) >= MAX_TOLD:
            return
        known = next((p for p in self._links.peers(self.key.id) if p.device == peer), None)
        visitor = Visitor(device=peer, name=known.name if known else peer, address=known.address if known else "")
        where[peer] = visitor
        self._tell(what, self, visitor)


class Invitations:
    """All open invitations of one agent; they live in its memory, so a restart closes them.

    ``tell`` is called when somebody comes by one of them.
    """

    def __init__(self, links: Links, meeting: Meeting, *, device: DeviceId, name: str, tell: Told) -> None:
        self._links = links
        self._meeting = meeting
        self._device = device
        self._name = name
        self._tell = tell
        self._open: dict[str, tuple[Invitation, asyncio.Task[None]]] = {}

    def open(
        self,
        offer: Callable[[], Offer],
        key_text: Callable[[], str],
        candidates: Sequence[Candidate],
        *,
        seconds: float,
        once: bool,
    ) -> tuple[Invitation, InvitationLine]:
        """Open an invitation for ``seconds``.

        ``offer`` and ``key_text`` are asked, in threads, whenever somebody comes.
        Raises :class:`AutosyncError` if too many are open.
        """
        if len(self._open) >= MOST:
            raise AutosyncError(
                f"{MOST} invitations are open already", hint="Close one: `autosync invite --list`, then --cancel ID."
            )
        line = InvitationLine(
            token=secrets.token_bytes(TOKEN_BYTES), inviter=fingerprint_of(self._device), candidates=()
        )
        invitation = Invitation(
            line,
            self._links,
            device=self._device,
            name=self._name,
            offer=offer,
            key_text=key_text,
            seconds=seconds,
            once=once,
            tell=self._tell,
        )
        self._links.add(invitation)
        # The place at a reflector where the members call is not for guests.
        direct = [c for c in candidates if c.kind is not CandidateKind.REFLECTOR]
        line = replace(line, candidates=choose((*direct, *self._meeting.attend(invitation.place))))
        task = asyncio.create_task(self._close_in_time(invitation), name=f"invitation {invitation.id}")
        self._open[invitation.id] = invitation, task
        log.info("%s: invitation %s is open for %.0f s", invitation.workspace, invitation.id, seconds)
        return invitation, line

    def listed(self) -> list[Invitation]:
        """Return the open ones, the oldest first."""
        return [invitation for invitation, _ in self._open.values()]

    async def cancel(self, chosen: Callable[[Invitation], bool]) -> list[Invitation]:
        """Close those that are chosen and return them."""
        closing = [invitation for invitation in self.listed() if chosen(invitation)]
        for invitation in closing:
            await self._close(invitation, "cancelled")
        return closing

    async def stop(self) -> None:
        """Close all of them."""
        await self.cancel(lambda _: True)

    async def _close_in_time(self, invitation: Invitation) -> None:
        while invitation.seconds_left > 0:  # noqa: ASYNC110  # nothing but time changes it
            # In small steps: a sleep of the loop stands still while the computer is suspended.
            await asyncio.sleep(min(invitation.seconds_left, 5.0))
        await self._close(invitation, "expired")

    async def _close(self, invitation: Invitation, why: str) -> None:
        _, task = self._open.pop(invitation.id, (None, None))
        if task is None:
            return
        if task is not asyncio.current_task():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._meeting.leave(invitation.place)
        await self._links.remove(invitation)
        log.info("%s: invitation %s is closed: %s", invitation.workspace, invitation.id, why)
