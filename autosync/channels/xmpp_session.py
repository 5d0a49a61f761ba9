"""One session with an XMPP server, from the login to the loss of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from slixmpp.exceptions import IqError, IqTimeout, XMPPError

from autosync.channels import xmpp_causes as causes
from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_element import Item
from autosync.channels.xmpp_inbox import Inbox
from autosync.channels.xmpp_node import NodeNotPrivate, Role
from autosync.channels.xmpp_publisher import Publisher
from autosync.channels.xmpp_series import Series
from autosync.core.backoff import Backoff
from autosync.errors import AutosyncError, Unreachable

# How a server says that a node is not what publishing asked for.
_OPENED = ("conflict", "precondition-not-met")


@dataclass(frozen=True, slots=True, kw_only=True)
class XmppTiming:
    """How patient the channel is; all in seconds."""

    keepalive: float = 60
    ping_timeout: float = 20
    doubt: float = 5  # the same, and for a login to end, once this machine slept or its networks changed
    listening: float = 300  # this often it is looked whether the server still tells us what is new
    tick: float = 10  # this often it is looked whether the computer was suspended
    login_timeout: float = 30
    iq_timeout: float = 90  # servers hold back a client that sends too much for up to a minute
    retry_base: float = 0.5
    retry_cap: float = 60
    stable: float = 60  # after a session this long the next retry is quick again
    refused_retry: float = 300  # servers lock out who is refused often
    member_patience: float = 5  # how long other accounts may hold up the catch-up
    member_retry_base: float = 5
    member_retry_cap: float = 300
    spread: float = 2  # over this time devices spread what all of them would do in the same moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who takes part: ``members`` are the bare JIDs of the other accounts.

    With ``service`` all of them use the node ``base`` of that pubsub service, else each has its
    own, and listens to those of the others.
    """

    base: str
    members: tuple[str, ...] = ()
    service: str | None = None

    def bases(self, account: str) -> Mapping[str, str]:
        """Return whose nodes count for ``account``, and how their names begin."""
        owners = [self.service] if self.service else [account, *self.members]
        return dict.fromkeys(owners, self.base)


class Session:
    """The use of a logged-in client: the nodes of all who take part, and the keepalive.

    ``unheard`` are those whose server does not (yet) let us listen.
    """

    def __init__(self, client: XmppClient, inbox: Inbox, *, party: Party, timing: XmppTiming) -> None:
        self.unheard: set[str] = set()
        self._client = client
        self._server = client.server_name
        self._inbox = inbox
        self._party = party
        self._timing = timing
        self._own = self._series(party.service or client.boundjid.bare, makes=None if party.service else True)
        self._others = [] if party.service else [self._series(member, makes=False) for member in party.members]
        self._by_owner = {series.owner: series for series in (self._own, *self._others)}
        self._publisher = Publisher(self._own, self._explain)
        self._doubted = asyncio.Event()

    async def run(self, caught_up: Callable[[], None]) -> NoReturn:
        """Serve until the session ends, and raise why it did.

        ``caught_up`` is called once, when everybody's last word has been delivered and
        :meth:`publish` works.
        """
        self._inbox.noted = lambda owner, node, slot: self._by_owner[owner].note(node, slot)
        self._inbox.taken = lambda owner, node: self._by_owner[owner].doubt(node)
        work = [
            asyncio.create_task(self._take_part(caught_up), name="xmpp nodes"),
            asyncio.create_task(self._keep_alive(), name="xmpp keepalive"),
            asyncio.create_task(self._keep_listening(), name="xmpp listening"),
        ]
        try:
            awaited: set[asyncio.Future[Any]] = {self._client.ended, *work}
            await asyncio.wait(awaited, return_when=asyncio.FIRST_EXCEPTION)
            for task in work:
                if task.done():
                    task.result()
            self._client.ended.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            await self._publisher.fail_all(
                Unreachable(f"The connection to {self._server} ended", hint="It is sent again after reconnecting.")
            )

    async def publish(self, item: Item) -> None:
        """Return once the server has taken ``item`` or a newer one of its slot."""
        if self._inbox.recall(item.workspace_tag):  # a workspace that has just been joined
            for series in self._by_owner.values():
                series.look_again()
        await self._publisher.put(item)

    def doubt(self) -> None:
        """Find out at once whether the server still answers."""
        self._doubted.set()

    @property
    def crowded(self) -> bool:
        """Whether there is no room for all that is said."""
        return self._own.places.exhausted

    # -- nodes ---------------------------------------------------------------------------------

    async def _take_part(self, caught_up: Callable[[], None]) -> None:
        if self._party.service is None:
            # Without presence ejabberd tells nothing of what happens in an account.  The priority is negative:
            # chat messages to this account are not for us (RFC 6121, section 4.7.2.3).
            self._client.send_presence(ppriority=-1)
        self._inbox.forget()
        try:
            await self._own.catch_up()
        except (NodeNotPrivate, XMPPError) as error:
            if not self._own.heard:
                self._client.give_up(self._hopeless(error))
                return
        async with asyncio.TaskGroup() as followers:
            attempts = [asyncio.Event() for _ in self._by_owner]
            for series, tried in zip(self._by_owner.values(), attempts, strict=True):
                followers.create_task(self._follow(series, tried))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.member_patience):
                    for tried in attempts:
                        await tried.wait()
            caught_up()

    async def _follow(self, series: Series, tried: asyncio.Event) -> NoReturn:
        """Listen to ``series`` as soon as it lets us; ``tried`` is set after the first attempt."""
        backoff = Backoff(self._timing.member_retry_base, self._timing.member_retry_cap)
        while True:
            try:
                await series.catch_up()
            except (NodeNotPrivate, XMPPError):
                if not series.heard:
                    self.unheard.add(series.owner)
                tried.set()
                await asyncio.sleep(backoff.next(random.random()))  # noqa: S311
                continue
            self.unheard.discard(series.owner)
            tried.set()
            backoff.reset()
            if series is self._own:
                self._publisher.repeat_lost()
            await series.due.wait()

    def _series(self, owner: str, *, makes: bool | None) -> Series:
        return Series(
            self._client,
            self._inbox,
            owner,
            self._party.base,
            makes=makes,
            role=Role.WRITER if self._party.service else Role.READER,
            members=self._party.members,
            timeout=self._timing.iq_timeout,
            spread=self._timing.spread,
        )

    def _hopeless(self, error: NodeNotPrivate | XMPPError) -> AutosyncError:
        """Return why there is no node to use."""
        owner, account = self._own.owner, self._client.boundjid.bare
        if isinstance(error, NodeNotPrivate):
            return causes.node_not_private(owner, error.access)
        if not isinstance(error, IqError):
            return causes.silent(self._server, self._timing.iq_timeout)
        if self._party.service:
            return causes.no_service_node(owner, account, self._server, error)
        return causes.no_own_node(owner, self._server, error)

    async def _explain(self, send: Callable[[], Awaitable[None]]) -> None:
        try:
            try:
                await send()
            except IqError as error:
                if error.condition not in _OPENED:
                    raise
                # Somebody opened the node to others, and the server told them nothing yet.
                await self._own.close_again()
                await send()
        except NodeNotPrivate as error:
            raise causes.node_not_private(self._own.owner, error.access) from error
        except IqTimeout:
            silent = causes.silent(self._server, self._timing.iq_timeout)
            self._client.give_up(silent)
            raise silent from None
        except IqError as error:
            if error.condition in _OPENED:  # on a service it is for another account to mend
                raise causes.node_not_private(self._own.owner, "") from error
            raise causes.item_refused(self._server, error) from error

    # -- keepalive -------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        """Ping the server now and then, and at once after this computer was suspended.

        The clock of the event loop stands still in a suspended computer.
        """
        tick = min(self._timing.tick, self._timing.keepalive)
        pinged = _now()
        while True:
            before = _now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(tick):
                    await self._doubted.wait()
            doubted = self._doubted.is_set() or _now() - before > 1.5 * tick
            self._doubted.clear()
            # A publish proves as much, and a ping behind one that the server throttles comes too late.
            if doubted or (_now() - pinged >= self._timing.keepalive and not self._publisher.busy):
                pinged = _now()
                patience = self._timing.ping_timeout
                if doubted and not self._publisher.busy:
                    patience = min(patience, self._timing.doubt)
                try:
                    await self._client.ping(within=patience)
                except IqTimeout:
                    self._client.give_up(causes.silent(self._server, patience))

    async def _keep_listening(self) -> NoReturn:
        """Find out, one node after the other, whether we are still told what is new there."""
        turn = 0
        while True:
            await asyncio.sleep(self._timing.listening)
            turn += 1
            nodes = [(series, n) for series in self._by_owner.values() for n in range(series.places.looked_at)]
            if nodes:
                series, number = nodes[turn % len(nodes)]
                with contextlib.suppress(XMPPError):  # nothing is known then
                    if not await series.is_told(number):
                        self._client.give_up(causes.not_told(series.owner))


def _now() -> float:
    """Return seconds that go on while the computer is suspended (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
