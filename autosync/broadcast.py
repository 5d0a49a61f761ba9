"""Seals, numbers and broadcasts announcements; opens and checks those of others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from autosync.channels.outbox import Outbox
from autosync.core.announcement import decode, encode
from autosync.core.candidates import Candidate
from autosync.core.commanded.session import Say
from autosync.core.commands import Announce
from autosync.core.condensing import condense, expand
from autosync.core.events import Announced, Announcement, AnnouncementsAsked
from autosync.core.intake import Intake
from autosync.core.model import Base, DeviceId, Version
from autosync.core.remarks import Remarks
from autosync.core.sources import HELLO
from autosync.errors import AutosyncError, TooLarge
from autosync.membership import Membership, Voice
from autosync.ports import Channel
from autosync.runner import Runner
from autosync.store import StateDirectory, WorkspaceState
from autosync.trust.identity import Identity
from autosync.trust.keyring import Keyring, Trust
from autosync.trust.roster import kept, met
from autosync.trust.rotation import point_of
from autosync.trust.sealing import SealBroken, WorkspaceKey
from autosync.trust.signing import SIGNATURE_BYTES, Forged, key_of, verify

log = logging.getLogger(__name__)

CONTEXT = b"announcement"
SEQ_RATE = 1000
"""Announcement numbers in a second: they follow the clock, so that of two machines with one identity, or of one that
has lost its memory, none is mute for ever."""
_DAY = 24 * 60 * 60 * SEQ_RATE
SEQ_BLOCK = _DAY
"""Announcement numbers reserved by one write of the state file."""
FORGOTTEN = 366 * _DAY
"""Announcement numbers by which a device may have been ahead of its clock and lost the memory of it."""
FAREWELL = 0.5
"""Seconds that the last announcement may take when the agent stops."""


@dataclass(frozen=True, slots=True)
class _Letter:
    """An announcement on its way: under ``bare`` it counts if it has to go without its content."""

    member: Membership
    tag: str
    said: Announcement
    sealed: bytes
    bare: int


class Broadcaster:
    """What all channels of this device carry; the listener of each of them."""

    def __init__(self, *, device: DeviceId, name: str, identity: Identity, states: StateDirectory) -> None:
        self.device = device
        self.name = name
        self.channels: list[Channel] = []
        self.members: dict[str, Membership] = {}
        """By every tag under which something may be heard, also those of keys that were replaced."""
        self.learned: Callable[[Membership, Announcement], None] = lambda _member, _said: None
        """Told of every announcement that passed, so that it is known how to reach the device."""
        self.key_changed: Callable[[Membership, WorkspaceKey, bytes], bool] = lambda _member, _key, _sealed: False
        """Shown what was sealed with a key of the workspace and is no announcement; says if it was worth it."""
        self.asked: Callable[[], None] = lambda: None
        """Called when a channel is up, so that everything is said again there."""
        self.candidates: Callable[[], Sequence[Candidate]] = tuple
        self.carried: Counter[tuple[str, str]] = Counter()
        """Bytes of announcements since the start, by lane, and ``in`` or ``out``."""
        self._identity = identity
        self._states = states
        self._caught_up: set[str] = set()
        self._outboxes: dict[Channel, Outbox[_Letter]] = {}

    def join(self, runner: Voice, key_file: str, state: WorkspaceState) -> Membership:
        """Take part in a workspace.  Raises :class:`ConfigError` for a key file that cannot be used."""
        keyring = Keyring(
            key_file,
            state.trust,
            identity=self._identity,
            device=self.device,
            name=self.name,
            saved=lambda trust, stay: self._trusted(member, trust, stay),
        )
        member = Membership(
            runner=runner,
            keyring=keyring,
            state=replace(state, trust=keyring.trust),
            # What was last seen may be seen once more: it tells where the others are after a restart.
            intake=Intake({device: seq - 1 for device, seq in state.seen.items()}),
            seq=state.seq,
        )
        self.listen_for(member)
        return member

    def listen_for(self, member: Membership) -> None:
        """Hear what is said under the keys of ``member``, as they are now."""
        for tag in [tag for tag, other in self.members.items() if other is member]:
            del self.members[tag]
        for key in (*reversed(member.keyring.retired), member.key):
            self.members[key.tag] = member

    def kept(self) -> list[Membership]:
        """Return this device's part in each workspace."""
        return list(dict.fromkeys(self.members.values()))

    def member_of(self, runner: Voice) -> Membership:
        """Return the part that belongs to ``runner``."""
        return next(m for m in self.members.values() if m.runner is runner)

    def save_at_the_end(self, member: Membership) -> None:
        """Write what the next start goes on from."""
        self.save(member, seq=member.seq)

    def save(self, member: Membership, **changes: object) -> None:
        """Write what must survive a restart."""
        member.state = replace(member.state, seen=dict(member.intake.last()), **changes)  # type: ignore[arg-type]  # names are fields
        self._states.save(member.key.id, member.state)

    def _trusted(self, member: Membership, trust: Trust, stay: Collection[str] | None) -> None:
        """Write down a change of the key, and in the same moment who is known after it."""
        before = member.state
        roster = before.roster if stay is None else kept(before.roster, stay)
        try:
            self.save(member, trust=trust, roster=roster)
        except AutosyncError:
            member.state = before
            raise

    # -- out -----------------------------------------------------------------------------
    async def announce(self, runner: Runner, announce: Announce, pack: bytes) -> None:
        """Broadcast where a working copy is."""
        current, member = announce.current, self.member_of(runner)
        shared = current if announce.share else None
        await self._publish(
            member,
            Announcement(
                device=self.device,
                name=self.name,
                seq=0,
                state=announce.state,
                snapshot=shared.id if shared else None,
                tree=current.tree if current else None,
                base=current.base if current else Base(commit=None, branch=None),
                version=shared.version if shared else Version(),
                candidates=tuple(self.candidates()),
                certificate=self._identity.certificate_der,
                on_hub=announce.on_hub,
                inline=pack,
                store=member.store,
                remarks=member.remarks(shared.id if shared else None),
            ),
        )

    async def pronounce(self, runner: Voice, say: Say, remote: str) -> None:
        """Broadcast what a device that keeps a working copy by commands has pushed and pulled."""
        await self._publish(
            self.member_of(runner),
            Announcement(
                device=self.device,
                name=self.name,
                seq=0,
                state=say.state,
                snapshot=None,
                tree=None,
                base=Base(commit=None, branch=None),
                version=say.version,
                candidates=tuple(self.candidates()),
                certificate=self._identity.certificate_der,
                remote=remote,
            ),
        )

    def remark(self, member: Membership) -> None:
        """Say once more where a working copy is, with what there is to say beside it now; nobody is asked to answer."""
        last = member.last
        if last is not None:
            state = "ok" if last.state == HELLO else last.state
            self._post(member, replace(last, state=state, remarks=member.remarks(last.snapshot)))

    async def say_farewell(self) -> None:
        """Tell everybody that this device stops, as far as that is quick.

        The content goes with it: this is what a channel shows to those who come later.
        """
        last = [(member, member.last) for member in self.kept() if member.last]
        farewells = [sent for member, said in last for sent in self._post(member, replace(said, state="stopped"))]
        if farewells:
            await asyncio.wait(farewells, timeout=FAREWELL)

    async def _publish(self, member: Membership, said: Announcement) -> None:
        """Return when the first channel is done with it; a server that answers nothing holds up no other channel."""
        if sent := self._post(member, said):
            await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)

    def _post(self, member: Membership, said: Announcement) -> list[asyncio.Future[None]]:
        """Have ``said``, or what is newer by then, go out on every channel; return what is done when it did."""
        if member.is_out():
            return []
        # Without its content it counts as said before: who hears both takes the content too.
        bare = self._next_seq(member) if said.inline else 0
        said = replace(said, seq=self._next_seq(member), sent_at_ms=int(time.time() * 1000))
        member.last = said
        try:
            sealed = self._seal(member, said)
        except ValueError as unspeakable:
            log.error("%s: this state cannot be announced: %s", member.runner.workspace, unspeakable)
            return []
        slot, letter = member.key.slot(self.device), _Letter(member, member.key.tag, said, sealed, bare)
        return [self._outbox(channel).post(slot, letter) for channel in self.channels]

    def _outbox(self, channel: Channel) -> Outbox[_Letter]:
        if channel not in self._outboxes:
            self._outboxes[channel] = Outbox(partial(self._send, channel))
        return self._outboxes[channel]

    async def _send(self, channel: Channel, slot: str, letter: _Letter) -> None:
        workspace = letter.member.runner.workspace
        try:
            await self._publish_on(channel, slot, letter)
        except AutosyncError as error:
            log.info("%s: not announced: %s", workspace, error.title)
        except Exception:
            log.exception("%s: not announced", workspace)

    async def _publish_on(self, channel: Channel, slot: str, letter: _Letter) -> None:
        member, said = letter.member, letter.said
        if letter.tag != member.key.tag:
            # The key was changed meanwhile: under the old one its place is that of what tells so.
            return
        sealed = letter.sealed
        try:
            await channel.publish(slot, letter.tag, sealed)
        except TooLarge:
            if not said.inline or letter.tag != member.key.tag:
                raise
            sealed = self._seal(member, replace(said, seq=letter.bare, inline=b""))
            await channel.publish(slot, letter.tag, sealed)
        self.carried[channel.status().kind, "out"] += len(sealed)

    def _seal(self, member: Membership, said: Announcement) -> bytes:
        try:
            encoded = encode(said)
        except ValueError:  # too large: then without the content, which is to be fetched
            said = replace(said, inline=b"")
            encoded = _encode_what_fits(said)
        signature = self._identity.sign(encoded, purpose=_purpose(member))
        return member.key.seal(condense(encoded) + signature, context=CONTEXT)

    def _next_seq(self, member: Membership) -> int:
        member.seq = max(member.seq + 1, _number_by_clock())
        if member.seq > member.state.seq:
            self.save(member, seq=member.seq + SEQ_BLOCK)
        return member.seq

    # -- in ------------------------------------------------------------------------------------
    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:
        """Open an announcement; what does not open or is no news is counted and dropped."""
        member = self.members.get(workspace_tag)
        if member is None:
            return
        self.carried[lane, "in"] += len(sealed)
        old = next((key for key in member.keyring.retired if key.tag == workspace_tag), None)
        if old is not None or member.is_out():
            # Nothing else is taken from those who have an old key only.
            if not self.key_changed(member, old or member.key, sealed):
                member.count("old key")
            return
        try:
            said = self._open(member, sealed)
        except (SealBroken, Forged) as broken:
            if not (isinstance(broken, SealBroken) and self.key_changed(member, member.key, sealed)):
                self._drop(member, "forged", str(broken), lane)
            return
        except ValueError as malformed:
            self._drop(member, "malformed", str(malformed), lane)
            return
        if isinstance(said, str):
            member.count(said)
            return
        if said.device == self.device:
            self._meet_own_past(member, said)
            return
        announced = Announced(
            announcement=said,
            lane=lane,
            live=lane in self._caught_up,
            same_store=bool(said.store) and said.store == member.store,
        )
        dropped = member.intake.take(announced, asyncio.get_running_loop().time())
        if dropped:
            member.count(dropped)
        else:
            self._enrol(member, said, lane)
            if announced.live:  # what was kept for us says nothing of the clock
                member.skew.heard(said.device, sent_at=said.sent_at_ms / 1000, now=time.time())
            self._pass_on(member)

    def _enrol(self, member: Membership, said: Announcement, lane: str) -> None:
        """Take note of a device that has proved to be one of the workspace; of a new one on the disk."""
        roster = member.state.roster
        public = roster[said.device].public if said.device in roster else point_of(said.certificate, said.device)
        known = met(roster, said.device, name=said.name, public=public, via=lane, now=int(time.time()))
        if known is None:
            member.count("roster full")
        elif said.device in roster:
            member.state = replace(member.state, roster=known)
        else:
            self.save(member, roster=known)

    def _open(self, member: Membership, sealed: bytes) -> Announcement | str:
        """Return what its device has said, or why it is dropped whoever has said it: no signature is checked then.

        Raises :class:`SealBroken`, :class:`Forged`, or :class:`ValueError` for what is malformed.
        """
        signed = member.key.open(sealed, context=CONTEXT)
        encoded, signature = expand(signed[:-SIGNATURE_BYTES]), signed[-SIGNATURE_BYTES:]
        said = decode(encoded)
        objection = member.intake.objection(said.device, said.seq, asyncio.get_running_loop().time())
        if objection and said.device != self.device:
            return objection
        key = key_of(said.device, said.certificate)
        verify(key, signature, encoded, purpose=_purpose(member))
        return said

    def _pass_on(self, member: Membership) -> None:
        """Act on the announcements whose turn it is, and see to the others later."""
        loop = asyncio.get_running_loop()
        for announced in member.intake.due(loop.time()):
            self.learned(member, announced.announcement)
            member.runner.post(announced)
        if member.timer is not None:
            member.timer.cancel()
        deadline = member.intake.deadline(loop.time())
        member.timer = None if deadline is None else loop.call_at(deadline, self._pass_on, member)

    def _meet_own_past(self, member: Membership, said: Announcement) -> None:
        """Go on above what this device has said before, even if the memory of it was lost.

        Not above what it can never have said: no number would be left to say more.
        """
        if said.seq - max(member.seq, _number_by_clock()) > FORGOTTEN:
            self._drop(member, "forged", f"number {said.seq} in the name of this device", "own")
        else:
            member.seq = max(member.seq, said.seq)

    def _drop(self, member: Membership, reason: str, detail: str, lane: str) -> None:
        member.count(reason)
        if member.dropped[reason] in (1, 10, 100, 1000) or member.dropped[reason] % 10_000 == 0:
            log.warning(
                "%s: dropped a %s announcement (%s, %s; %d so far)",
                member.runner.workspace,
                reason,
                lane,
                detail,
                member.dropped[reason],
            )

    def channel_ready(self, lane: str) -> None:
        """Say again where every working copy is."""
        log.info("%s is up", lane)
        for member in self.kept():
            member.runner.post(AnnouncementsAsked())
        self.asked()

    def catch_up_done(self, lane: str) -> None:
        """Take note that everybody's last words have arrived: what comes now is said now."""
        self._caught_up.add(lane)
        log.debug("%s has caught up", lane)


def _encode_what_fits(said: Announcement) -> bytes:
    """Return ``said`` as bytes, without what stands beside the state if there is no room for it."""
    try:
        return encode(said)
    except ValueError:
        return encode(replace(said, remarks=Remarks()))


def _number_by_clock() -> int:
    return int(time.time() * SEQ_RATE)


def _purpose(member: Membership) -> bytes:
    """Return what a signature is good for: no member of two workspaces can carry words from one to the other."""
    return CONTEXT + b" in " + bytes.fromhex(member.key.id)
