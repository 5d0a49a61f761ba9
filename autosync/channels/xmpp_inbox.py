"""What arrives from an XMPP account: only what is ours and new is passed on."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable

from autosync.channels.xmpp_element import Item, NotAnAnnouncement, read_item
from autosync.channels.xmpp_node import read_event

_REMEMBERED = 4096  # repetitions of how many items are recognised; a node holds at most 256


class Inbox:
    """Checks items that come as events or were asked for, and gives the good ones to ``deliver``.

    ``accounts`` are the bare JIDs whose nodes count; ``node_deleted`` is told when one of
    those nodes is gone.  ``dropped`` counts what was thrown away, by reason: "forged",
    "malformed", "too large".
    """

    def __init__(
        self, accounts: Iterable[str], *, deliver: Callable[[Item], None], node_deleted: Callable[[str], None]
    ) -> None:
        self._accounts = frozenset(accounts)
        self._deliver = deliver
        self._node_deleted = node_deleted
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self.dropped: Counter[str] = Counter()

    def take_event(self, message: ET.Element) -> None:
        """Take what a message with a pubsub event carries; never raises.

        Only a server can send as a bare JID: it stamps what a client sends with the full
        one (RFC 6120, section 8.1.2.1).  So a bare sender proves that the event comes from
        that account's node, and nothing else does.
        """
        event = read_event(message)
        sender = message.get("from", "")
        if event is None:
            return
        if sender not in self._accounts:
            self.dropped["forged"] += 1
        elif event.deleted:
            self._node_deleted(sender)
        else:
            self.take(sender, event.items)

    def take(self, account: str, items: Iterable[ET.Element]) -> None:
        """Take items of ``account``'s node; never raises."""
        for element in items:
            try:
                item = read_item(element)
            except NotAnAnnouncement as error:
                self.dropped[error.reason] += 1
                continue
            if self._is_new(account, item):
                self._deliver(item)

    def forget(self) -> None:
        """Pass on everything again, seen or not: a catch-up begins."""
        self._seen.clear()

    def _is_new(self, account: str, item: Item) -> bool:
        parts = (account.encode(), item.slot.encode(), item.workspace_tag.encode(), item.sealed)
        key = hashlib.sha256(b"\0".join(parts)).digest()
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return True
