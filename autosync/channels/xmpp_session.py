"""One session with an XMPP server, from the login to the loss of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from slixmpp.exceptions import IqError, IqTimeout, XMPPError

from autosync.channels import xmpp_causes as causes
from autosync.channels.outbox import Outbox
from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_element import Item
from autosync.channels.xmpp_inbox import Inbox
from autosync.channels.xmpp_node import Node, NodeNotPrivate
from autosync.core.backoff import Backoff
from autosync.errors import Unreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class XmppTiming:
    """How patient the channel is; all in seconds."""

    keepalive: float = 60
    ping_timeout: float = 20
    doubt: float = 5  # the same, and for a login to end, once this machine slept or its networks changed
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


class Session:
    """The use of a logged-in client: our node, everybody's nodes, the keepalive.

    ``members`` are the bare JIDs of the other accounts.  ``unheard`` are those among them
    whose server does not (yet) let us listen.
    """

    def __init__(self, client: XmppClient, inbox: Inbox, *, members: Iterable[str], timing: XmppTiming) -> None:
        self.unheard: set[str] = set()
        self._client = client
        self._server = client.server_name
        self._inbox = inbox
        self._timing = timing
        self._own = self._node(client.boundjid.bare)
        self._others = [self._node(member) for member in members]
        self._doubted = asyncio.Event()
        self._outbox: Outbox[Item] = Outbox(lambda _, item: self._send(item))

    async def run(self, caught_up: Callable[[], None]) -> NoReturn:
        """Serve until the session ends, and raise why it did.

        ``caught_up`` is called once, when everybody's last word has been delivered and
        :meth:`publish` works.
        """
        work = [
            asyncio.create_task(self._take_part(caught_up), name="xmpp nodes"),
            asyncio.create_task(self._keep_alive(), name="xmpp keepalive"),
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
            await self._outbox.fail_all(
                Unreachable(f"The connection to {self._server} ended", hint="It is sent again after reconnecting.")
            )

    async def publish(self, item: Item) -> None:
        """Return once the server has taken ``item`` or a newer one of its slot."""
        await self._outbox.put(item.slot, item)

    def doubt(self) -> None:
        """Find out at once whether the server still answers."""
        self._doubted.set()

    # -- nodes ---------------------------------------------------------------------------------

    async def _take_part(self, caught_up: Callable[[], None]) -> None:
        # A negative priority: chat messages to this account are not for us (RFC 6121, section 4.7.2.3).
        self._client.send_presence(ppriority=-1)
        self._inbox.forget()
        try:
            await self._own.ensure(node.owner for node in self._others)
            await self._listen(self._own)
        except NodeNotPrivate as error:
            self._client.give_up(causes.node_not_private(self._own.owner, error.access))
            return
        except IqTimeout:
            self._client.give_up(causes.silent(self._server, self._timing.iq_timeout))
            return
        except IqError as error:
            self._client.give_up(causes.no_own_node(self._own.owner, self._server, error))
            return
        async with asyncio.TaskGroup() as followers:
            attempts = [asyncio.Event() for _ in self._others]
            for node, tried in zip(self._others, attempts, strict=True):
                followers.create_task(self._follow(node, tried))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.member_patience):
                    for tried in attempts:
                        await tried.wait()
            caught_up()

    async def _follow(self, node: Node, tried: asyncio.Event) -> None:
        """Listen to another account as soon as it lets us; ``tried`` is set after the first attempt."""
        backoff = Backoff(self._timing.member_retry_base, self._timing.member_retry_cap)
        self.unheard.add(node.owner)
        while True:
            try:
                await self._listen(node)
            except XMPPError:
                tried.set()
            else:
                self.unheard.discard(node.owner)
                tried.set()
                return
            await asyncio.sleep(backoff.next(random.random()))  # noqa: S311

    async def _listen(self, node: Node) -> None:
        # In this order nothing can be published unheard in between.
        await node.subscribe()
        self._inbox.take(node.owner, await node.items())

    def _node(self, owner: str) -> Node:
        return Node(self._client, owner, timeout=self._timing.iq_timeout)

    async def _send(self, item: Item) -> None:
        try:
            try:
                await self._own.publish(item)
            except IqError as error:
                if error.condition != "conflict":
                    raise
                # Somebody opened the node to others, and the server told them nothing yet.
                await self._own.ensure(node.owner for node in self._others)
                await self._own.publish(item)
        except NodeNotPrivate as error:
            raise causes.node_not_private(self._own.owner, error.access) from error
        except IqTimeout:
            silent = causes.silent(self._server, self._timing.iq_timeout)
            self._client.give_up(silent)
            raise silent from None
        except IqError as error:
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
            if doubted or (_now() - pinged >= self._timing.keepalive and not self._outbox.busy):
                pinged = _now()
                patience = self._timing.ping_timeout
                if doubted and not self._outbox.busy:
                    patience = min(patience, self._timing.doubt)
                try:
                    await self._client.ping(within=patience)
                except IqTimeout:
                    self._client.give_up(causes.silent(self._server, patience))


def _now() -> float:
    """Return seconds that go on while the computer is suspended (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
