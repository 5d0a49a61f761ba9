"""What arrives from an XMPP account: only what is ours and new is passed on."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping

from autosync.channels.xmpp_element import NAMESPACE, Item, NotAnAnnouncement, read_item, tag_of
from autosync.channels.xmpp_node import Event, read_event
from autosync.channels.xmpp_places import MAX_NODES

_REMEMBERED = 4096  # repetitions of how many items are recognised
_PASSED_OVER = 4096  # workspaces of others that are remembered


def node_name(base: str, number: int) -> str:
    """Return the name of the node ``number``, from 0, of those that begin with ``base``."""
    return base if number == 0 else f"{base}/{number + 1}"


_NUMBERS: Mapping[str, int] = {node_name("", number): number for number in range(MAX_NODES)}


class Inbox:
    """Checks items that come as events or were asked for, and gives the good ones to ``deliver``.

    ``bases`` are the owners whose nodes count (accounts' bare JIDs, or a service) and how the names
    of those nodes begin.  ``wanted`` says of a workspace's tag whether anybody here has it.
    ``node_deleted`` is told when one of those nodes is gone.  ``dropped`` counts what was thrown
    away, by reason: "forged", "malformed", "too large".
    """

    def __init__(
        self,
        bases: Mapping[str, str],
        *,
        deliver: Callable[[Item], None],
        node_deleted: Callable[[str], None],
        wanted: Callable[[str], bool],
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.noted: Callable[[str, int, str], None] = lambda _owner, _node, _slot: None
        """Told of every slot that is published: by whom, in the how-manieth node."""
        self.taken: Callable[[str, int], None] = lambda _owner, _node: None
        """Told of every node from which somebody has taken something away."""
        self._bases = dict(bases)
        self._deliver = deliver
        self._node_deleted = node_deleted
        self._wanted = wanted
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._passed_over: OrderedDict[str, None] = OrderedDict()

    def take_event(self, message: ET.Element) -> None:
        """Take what a message with a pubsub event carries; never raises.

        Only a server can send as a bare JID or as a service: it stamps what a client sends with
        the full JID (RFC 6120, section 8.1.2.1).  So such a sender proves that the event comes from
        its node, and nothing else does.
        """
        event = read_event(message)
        if event is None or not event.node.startswith(NAMESPACE):
            return
        owner = message.get("from", "")
        base = self._bases.get(owner)
        if base is None:
            self.dropped["forged"] += 1
        elif event.node.startswith(base) and (number := _NUMBERS.get(event.node[len(base) :])) is not None:
            self._take_from(owner, number, event)

    def take(self, owner: str, items: Iterable[ET.Element]) -> None:
        """Take items of one of ``owner``'s nodes; never raises."""
        for element in items:
            tag = tag_of(element)
            if tag and not self._wanted(tag):
                self._pass_over(tag)
                continue
            try:
                item = read_item(element)
            except NotAnAnnouncement as error:
                self.dropped[error.reason] += 1
                continue
            if self._is_new(owner, item):
                self._deliver(item)

    def recall(self, tag: str) -> bool:
        """Return whether something of the workspace ``tag``, which is wanted now, was passed over."""
        return self._passed_over.pop(tag, self) is None

    def forget(self) -> None:
        """Pass on everything again, seen or not: a catch-up begins."""
        self._seen.clear()
        self._passed_over.clear()

    def _take_from(self, owner: str, number: int, event: Event) -> None:
        if event.deleted:
            self._node_deleted(owner)
            return
        if event.taken:
            self.taken(owner, number)
        for element in event.items:
            self.noted(owner, number, element.get("id", ""))
        self.take(owner, event.items)

    def _pass_over(self, tag: str) -> None:
        self._passed_over[tag] = None
        if len(self._passed_over) > _PASSED_OVER:
            self._passed_over.popitem(last=False)

    def _is_new(self, owner: str, item: Item) -> bool:
        parts = (owner.encode(), item.slot.encode(), item.workspace_tag.encode(), item.sealed)
        key = hashlib.sha256(b"\0".join(parts)).digest()
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True
