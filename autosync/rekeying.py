"""Carries a workspace over to a new key while the agent runs, and tells those who still have the old one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import BinaryIO

from autosync.broadcast import Broadcaster
from autosync.core.allowance import Allowance
from autosync.core.candidates import Candidate
from autosync.core.events import Announcement, AnnouncementsAsked, Paused, Resumed
from autosync.core.model import DeviceId, SnapshotId
from autosync.core.moments import moment
from autosync.errors import AutosyncError, Missing, Unsupported
from autosync.link import Links, WorkspaceHandle
from autosync.membership import Membership
from autosync.trust.keyring import BUNDLE, Outcome
from autosync.trust.roster import recipients
from autosync.trust.rotation import Rotation
from autosync.trust.sealing import SealBroken, WorkspaceKey
from autosync.trust.signing import fingerprint_of

log = logging.getLogger(__name__)

LINKED = 3
"""Keys of before under which peers are linked with, to be told; channels that keep what was said know more."""
REPEAT = 30.0
"""Seconds at least between two times that the owners of an old key are told because one of them spoke."""
RETRY = 5.0
"""Seconds until a key that could not be written is tried again."""
HEARD_RATE = 5.0
"""Changes per second of which each key's owners can have the signatures checked: who was revoked keeps his."""
HEARD_BURST = 50


class Rekeying:
    """Hears of changes of keys, makes them, and tells them on."""

    def __init__(self, broadcaster: Broadcaster, links: Links, *, may_link: bool) -> None:
        self._broadcaster = broadcaster
        self._links = links
        self._may_link = may_link
        self._ways: dict[Membership, dict[DeviceId, tuple[Candidate, ...]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._told_at: dict[str, float] = {}
        self._heard_of: dict[str, Allowance] = {}
        self._again: dict[Membership, asyncio.TimerHandle] = {}
        self._turn = asyncio.Lock()
        self.moved: Callable[[], None] = lambda: None
        """Told that a workspace has a new key, before anything is announced under it."""
        broadcaster.key_changed = self._heard
        broadcaster.asked = self._tell_all

    def begin(self) -> None:
        """Let peers that have an old key link, to be told of the new one."""
        for member in self._broadcaster.kept():
            self._link_retired(member)
            if member.keyring.expelled is not None:
                log.warning("%s: %s", member.runner.workspace, how_it_ended(member))
            self._later(self._revoke_again(member))

    def learn(self, member: Membership, said: Announcement) -> None:
        """Remember the ways to a device, to try them again after a change of the key."""
        ways = self._ways.setdefault(member, {})
        if said.device in member.state.roster:
            ways[said.device] = tuple(said.candidates)

    def revoke(self, member: Membership, revoked: Mapping[str, str]) -> Rotation:
        """Give a new key to all devices that are known but ``revoked`` ones (fingerprint to name).

        Raises :class:`AutosyncError`.
        """
        known = recipients(member.state.roster)
        try:
            rotation = member.keyring.revoke(revoked, known, at=int(time.time()))
        except ValueError as error:
            raise Unsupported(
                f"{member.runner.workspace}: the key cannot be changed: {error}",
                hint="Make a new workspace for the devices that stay: `autosync init` and `autosync invite`.",
            ) from None
        self._moved(member, rotation)
        return rotation

    # -- what is heard -----------------------------------------------------------------------
    def _heard(self, member: Membership, key: WorkspaceKey, sealed: bytes) -> bool:
        """Take what was sealed with ``key``; return whether it was about keys at all."""
        before, was_out = member.key.tag, member.is_out()
        try:
            bundle = key.open(sealed, context=BUNDLE)
        except SealBroken:
            if key.tag != before:
                self._tell_again(member, key)
            return False
        allowance = self._heard_of.setdefault(key.tag, Allowance(rate=HEARD_RATE, burst=HEARD_BURST))
        if not allowance.take(asyncio.get_running_loop().time()):
            member.count("too many changes of the key")
            return True
        try:
            outcome = member.keyring.follow(bundle)
        except ValueError as error:  # of which Forged and SealBroken are some
            self._refuse(member, error)
            return True
        except AutosyncError as error:
            self._delay(member, key, sealed, error)
            return True
        member.unwritten = None
        if outcome is Outcome.ADOPTED:
            self._moved(member, None)
            if was_out and not member.state.paused:
                member.runner.post(Resumed())
        elif outcome is Outcome.EXPELLED:
            log.warning("%s: %s", member.runner.workspace, how_it_ended(member))
            member.runner.post(Paused())
        elif outcome is Outcome.DISPUTED:
            log.warning("%s: %s", member.runner.workspace, member.keyring.trust.dispute)
        if member.keyring.is_wanted():
            self._later(self._revoke_again(member))
        return True

    def _refuse(self, member: Membership, error: ValueError) -> None:
        """Count it; who sends without end fills no log."""
        reason = "forged change of the key"
        member.count(reason)
        if member.dropped[reason] in (1, 10, 100, 1000) or member.dropped[reason] % 10_000 == 0:
            count = member.dropped[reason]
            log.warning("%s: a change of the key was refused (%d so far): %s", member.runner.workspace, count, error)

    def _delay(self, member: Membership, key: WorkspaceKey, sealed: bytes, error: AutosyncError) -> None:
        """Try a change again whose key could not be written: whoever has said it may be gone by then."""
        if member.unwritten is None:
            log.error("%s: the key cannot be changed: %s. %s", member.runner.workspace, error.title, error.hint)
        member.unwritten = error
        if member not in self._again:
            loop = asyncio.get_running_loop()
            self._again[member] = loop.call_later(RETRY, self._try_again, member, key, sealed)

    def _try_again(self, member: Membership, key: WorkspaceKey, sealed: bytes) -> None:
        del self._again[member]
        if member.unwritten is not None:
            self._heard(member, key, sealed)

    async def _revoke_again(self, member: Membership) -> None:
        if member.keyring.is_wanted():
            self.revoke(member, {})

    # -- the new key --------------------------------------------------------------------------
    def _moved(self, member: Membership, made: Rotation | None) -> None:
        """Use the new key from this moment on."""
        last = made or member.keyring.last
        if last is not None:
            gone = ", ".join(sorted(last.revoked.values())) or "nobody"
            log.warning("%s: %s changed the key, revoked: %s", member.runner.workspace, last.name, gone)
        self._broadcaster.listen_for(member)
        self.moved()
        self._later(self._relink(member))

    async def _relink(self, member: Membership) -> None:
        """End every link that was made with the old key, and make those of the new one."""
        async with self._turn:
            for handle in [h for h in self._links.handles() if self._is_of(h, member)]:
                await self._links.remove(handle)
                if not isinstance(handle, _Retired):
                    self._links.add(handle)
                    for device, candidates in self._ways.get(member, {}).items():
                        if device in member.state.roster:
                            self._links.learn(handle.key.id, device, candidates)
            self._link_retired(member)
        member.runner.post(AnnouncementsAsked())
        await self._tell(member)

    def _is_of(self, handle: WorkspaceHandle, member: Membership) -> bool:
        return handle.key.id in (member.key.id, *(key.id for key in member.keyring.retired))

    def _link_retired(self, member: Membership) -> None:
        here = {handle.key.id for handle in self._links.handles()}
        for key in member.keyring.retired[:LINKED] if self._may_link else ():
            if key.id not in here and not member.is_out():
                handle = _Retired(self._broadcaster, key, member.runner.workspace)
                self._links.add(handle)
                for device, candidates in self._ways.get(member, {}).items():
                    self._links.learn(key.id, device, candidates)

    # -- telling it on ----------------------------------------------------------------------------
    def _tell_all(self) -> None:
        for member in self._broadcaster.kept():
            self._later(self._tell(member))

    def _tell_again(self, member: Membership, key: WorkspaceKey) -> None:
        """Tell it once more, now or when it may be: somebody has just spoken who does not know it."""
        loop = asyncio.get_running_loop()
        told_at = self._told_at.get(key.tag, -REPEAT)
        if told_at <= loop.time():  # else it is going to be told
            self._told_at[key.tag] = due = max(loop.time(), told_at + REPEAT)
            loop.call_at(due, lambda: self._later(self._tell(member)))

    async def _tell(self, member: Membership) -> None:
        """Say under each old key what came after it."""
        for key in member.keyring.retired:
            bundle = member.keyring.bundle(key)
            if bundle is None or member.is_out():
                continue
            slot = key.slot(self._broadcaster.device)
            results = await asyncio.gather(
                *(channel.publish(slot, key.tag, bundle) for channel in self._broadcaster.channels),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    log.info("%s: the change of the key was not told: %s", member.runner.workspace, result)

    def _later(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a change of a key could not be carried out", exc_info=task.exception())


class _Retired:
    """What those are told over a direct link who still have a key of before: nothing is served or taken."""

    def __init__(self, broadcaster: Broadcaster, key: WorkspaceKey, workspace: str) -> None:
        self.key = key
        self.workspace = f"{workspace} (a key of before)"
        self.device = broadcaster.device
        self.name = broadcaster.name
        self._broadcaster = broadcaster

    def announced(self, sealed: bytes, peer: DeviceId) -> None:  # noqa: ARG002  # the seal tells who
        self._broadcaster.sealed_received(self.key.tag, sealed, "lan")

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:  # noqa: ARG002  # for nobody
        raise Missing("nothing is served under a key that was replaced", hint="")


def how_it_ended(member: Membership) -> str:
    """Return why this device is no member any more, in a sentence."""
    last = member.keyring.expelled
    if last is None:
        return ""
    at = moment(last.at).astimezone().strftime("%Y-%m-%d %H:%M")
    if fingerprint_of(member.keyring.device) in last.revoked:
        return f"this device was revoked by {last.name} on {at}; its files stay, nothing is synced"
    return f"{last.name} changed the key on {at} and did not know this device; its files stay, nothing is synced"


BACK = "To take part again, ask for an invitation (`autosync invite` there, `autosync join` here)."
