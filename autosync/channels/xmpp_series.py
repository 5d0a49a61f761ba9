"""The nodes of one owner: listened to, and followed by another one as they fill up."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterable, Iterator

from slixmpp.exceptions import IqError

from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_element import Item
from autosync.channels.xmpp_inbox import Inbox, node_name
from autosync.channels.xmpp_node import NOT_OURS, Node, Role
from autosync.channels.xmpp_places import CAPACITIES, CAPACITY, Places


class Series:
    """The nodes that ``owner``, an account or a service, keeps under the name ``base``.

    ``makes`` says whether this device makes nodes: True for its own account, ``None`` where it
    does if it may.  They are open to ``members``.  Requests take at most ``timeout`` seconds;
    who has to look again at a node where something was displaced does so within ``spread``.
    """

    def __init__(
        self,
        client: XmppClient,
        inbox: Inbox,
        owner: str,
        base: str,
        *,
        makes: bool | None,
        role: Role = Role.READER,
        members: Iterable[str] = (),
        timeout: float,
        spread: float,
    ) -> None:
        self.owner = owner
        self.places = Places()
        self.due = asyncio.Event()
        """Set when :meth:`catch_up` has something to do."""
        self.admission = asyncio.Lock()
        """Held by who adds a new slot: the next one then knows of it."""
        self._client = client
        self._inbox = inbox
        self._base = base
        self._makes = makes
        self._role = role
        self._members = tuple(members)
        self._timeout = timeout
        self._spread = spread
        self._looking = asyncio.Lock()
        self._nodes: list[Node] = []
        self._stale: set[int] = set()
        self._doubted: set[int] = set()
        self._ends_at = (0, 0)

    @property
    def heard(self) -> bool:
        """Whether this device listens here."""
        return self.places.looked_at > 0

    async def catch_up(self) -> None:
        """Pass on what is in the nodes that were not looked at yet, and listen to them.

        Stops at the first node that cannot be used: raises slixmpp's ``IqError`` or
        ``IqTimeout``, or :class:`autosync.channels.xmpp_node.NodeNotPrivate`.
        """
        async with self._looking:
            self.due.clear()
            try:
                while self._stale:
                    await self._look(min(self._stale))
                while self.places.wants_next or self._may_have_next:
                    await self._open_next()
            except BaseException:
                self.due.set()
                raise

    async def publish(self, item: Item, number: int) -> None:
        """Replace the item of ``item.slot`` in the node ``number``; raises slixmpp's errors."""
        await self._nodes[number].publish(item)
        self.note(number, item.slot)

    async def close_again(self) -> None:
        """Make every node private that somebody has opened to others.  Raises as :meth:`catch_up`."""
        for node in self._nodes:
            await self._settle(node)

    async def is_told(self, number: int) -> bool:
        """Return whether this device is still told what is new in a node.  Raises slixmpp's errors."""
        return await self._nodes[number].is_subscribed()

    def note(self, number: int, slot: str) -> None:
        """Take note of what was published in a node."""
        if self.places.note(number, slot):
            self.doubt(number)
        if self.places.wants_next or self._may_have_next:
            self.due.set()

    def doubt(self, number: int) -> None:
        """Look again what is left in a node: only the server knows what it let go."""
        if number not in self._doubted and number < self.places.looked_at:
            # Not all devices ask it in the same moment.
            self._doubted.add(number)
            asyncio.get_running_loop().call_later(self._spread * random.random(), self._outdate, number)  # noqa: S311

    def look_again(self) -> None:
        """Have everything passed on once more."""
        for number in range(self.places.looked_at):
            self._outdate(number)

    def _outdate(self, number: int) -> None:
        self._doubted.discard(number)
        self._stale.add(number)
        self.due.set()

    @property
    def _may_have_next(self) -> bool:
        """Whether only its owner knows if there is one node more, who alone is told how much each one keeps."""
        return self._makes is False and self.places.may_have_next and self.places.extent != self._ends_at

    async def _open_next(self) -> None:
        try:
            await self._open(self.places.looked_at)
        except IqError as error:
            if error.condition != "item-not-found" or self.places.wants_next:
                raise
            self._ends_at = self.places.extent

    async def _open(self, number: int) -> None:
        node = Node(self._client, self.owner, node_name(self._base, number), role=self._role, timeout=self._timeout)
        # In this order nothing can be published unheard in between, and no other node take its place unseen.
        await self._make(node)
        await node.subscribe()
        await self._settle(node)
        self.places.capacity = min(self.places.capacity, node.capacity)
        if number == len(self._nodes):
            self._nodes.append(node)
        await self._look(number)

    async def _make(self, node: Node) -> None:
        if self._makes is not False:
            with self._as_far_as_allowed():
                # On a service others would not know how much less each node keeps.
                await node.make([c for c in CAPACITIES if c <= self.places.capacity] if self._makes else [CAPACITY])

    async def _settle(self, node: Node) -> None:
        if self._makes is not False:
            with self._as_far_as_allowed():
                await node.settle(self._members)

    @contextlib.contextmanager
    def _as_far_as_allowed(self) -> Iterator[None]:
        """Let pass that another account has the say over a node, where that may be."""
        try:
            yield
        except IqError as error:
            if self._makes or error.condition not in NOT_OURS:
                raise

    async def _look(self, number: int) -> None:
        self._stale.discard(number)
        try:
            items = await self._nodes[number].items()
        except BaseException:
            self._stale.add(number)
            raise
        self.places.looked(number, (element.get("id", "") for element in items))
        self._inbox.take(self.owner, items)
