"""One pubsub node: a private place for the last word of every device (XEP-0060, XEP-0163)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from slixmpp.exceptions import IqError

from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_element import EVENT, OWNER, PUBSUB, Item, write_item
from autosync.channels.xmpp_places import CAPACITY

_FORM = "jabber:x:data"

_PRIVATE = {"access_model": "whitelist", "persist_items": "true"}
_WANTED = {
    **_PRIVATE,
    "publish_model": "publishers",
    "send_last_published_item": "never",
    "notify_delete": "true",
    "notify_retract": "true",
}

_SPELLINGS = {"true": ("1", "true")}  # a boolean of a data form (XEP-0004, section 3.3)

# How a server says that something in a form is more than it allows: Prosody the first, ejabberd the second.
_TOO_LARGE = ("bad-request", "resource-constraint", "not-acceptable")

NOT_OURS = ("forbidden", "not-allowed")
"""How a server says that somebody else has the say over a node."""


class Role(Enum):
    """What other accounts may do with a node, as an affiliation (XEP-0060, section 4.1)."""

    READER = "member"
    WRITER = "publisher"


class NodeNotPrivate(Exception):
    """The server keeps the node readable by others; ``access`` is its access model."""

    def __init__(self, access: str) -> None:
        super().__init__(access)
        self.access = access


class Node:
    """The node ``name`` of ``owner`` (an account's bare JID, or a service), seen through a connected client.

    ``role`` is what admitted accounts get; ``capacity`` is how many items it keeps, as far as this is
    known.  Every method raises slixmpp's ``IqError`` when the server refuses, and ``IqTimeout`` after
    ``timeout`` seconds.
    """

    def __init__(self, client: XmppClient, owner: str, name: str, *, role: Role, timeout: float) -> None:
        self.owner = owner
        self.name = name
        self.capacity = CAPACITY
        self._client = client
        self._role = role
        self._timeout = timeout

    async def make(self, capacities: Sequence[int] = (CAPACITY,)) -> None:
        """Bring the node into being if there is none, with the first of ``capacities`` that the server allows."""
        for capacity in capacities:
            self.capacity = capacity
            form = _with_form(PUBSUB, "configure", self._wanted, "node_config")
            try:
                await self._set(_query(PUBSUB, self._this(PUBSUB, "create"), form))
            except IqError as error:
                if error.condition in _TOO_LARGE and capacity != capacities[-1]:
                    continue
                if error.condition != "conflict":
                    raise
            return

    async def settle(self, members: Iterable[str]) -> None:
        """See to it that the node is private, keeps what it is given, and is open to ``members``.

        There may be one that this device did not make: what is published where a node was deleted in that
        moment makes one that keeps a single item and tells nobody of its end (XEP-0060, section 7.1.4).
        Members are only ever added: another device of the account may know of one that
        this device does not.  Raises :class:`NodeNotPrivate`.
        """
        config = await self._config()
        if not self._is_as_wanted(config):
            try:
                await self._set(_query(OWNER, self._this(OWNER, "configure", _form(self._wanted, "node_config"))))
            except IqError:
                if not _is_private(config):
                    raise
            config = await self._config()
            if not _is_private(config):
                raise NodeNotPrivate(config.get("access_model", ""))
        self.capacity = _number(config.get("max_items", ""), self.capacity)
        if missing := sorted(set(members) - await self._admitted()):
            await self._admit(missing)

    async def publish(self, item: Item) -> None:
        """Replace the item of ``item.slot``; fails if the node is not private any more."""
        entry = ET.Element(f"{{{PUBSUB}}}item", {"id": item.slot})
        entry.append(write_item(item))
        # ejabberd refuses any other option.
        options = _with_form(PUBSUB, "publish-options", _PRIVATE, "publish-options")
        await self._set(_query(PUBSUB, self._this(PUBSUB, "publish", entry), options))

    async def subscribe(self) -> None:
        """Have every new item sent to this very connection.

        The full JID is subscribed, so that neither presence nor its priority matters to
        who is told; repeating it is harmless.
        """
        await self._set(_query(PUBSUB, self._this(PUBSUB, "subscribe", jid=self._client.boundjid.full)))

    async def is_subscribed(self) -> bool:
        """Return whether new items are sent to this connection, as far as the server says.

        Whoever has the password of the owner can end that, and delete the node, without a word to us.
        """
        try:
            answer = await self._get(_query(PUBSUB, self._this(PUBSUB, "subscriptions")))
        except IqError as error:
            return error.condition != "item-not-found"
        mine = self._client.boundjid.full
        return any(entry.get("jid") == mine for entry in answer.iter(f"{{{PUBSUB}}}subscription"))

    async def items(self) -> Sequence[ET.Element]:
        """Return every ``<item/>`` of the node."""
        answer = await self._get(_query(PUBSUB, self._this(PUBSUB, "items")))
        return answer.findall(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}items/{{{PUBSUB}}}item")

    @property
    def _wanted(self) -> Mapping[str, str]:
        return {**_WANTED, "max_items": str(self.capacity)}

    def _is_as_wanted(self, config: Mapping[str, str]) -> bool:
        enough = _number(config.get("max_items", ""), 0) >= self.capacity
        return enough and all(config.get(name) in _SPELLINGS.get(value, (value,)) for name, value in _WANTED.items())

    async def _config(self) -> Mapping[str, str]:
        answer = await self._get(_query(OWNER, self._this(OWNER, "configure")))
        return {
            field.get("var", "").removeprefix("pubsub#"): field.findtext(f"{{{_FORM}}}value", "")
            for field in answer.iter(f"{{{_FORM}}}field")
        }

    async def _admitted(self) -> set[str]:
        enough = ("owner", "publisher") if self._role is Role.WRITER else ("owner", "publisher", "member")
        answer = await self._get(_query(OWNER, self._this(OWNER, "affiliations")))
        return {
            entry.get("jid", "")
            for entry in answer.iter(f"{{{OWNER}}}affiliation")
            if entry.get("affiliation") in enough
        }

    async def _admit(self, members: Iterable[str]) -> None:
        entries = [
            ET.Element(f"{{{OWNER}}}affiliation", {"jid": member, "affiliation": self._role.value})
            for member in members
        ]
        await self._set(_query(OWNER, self._this(OWNER, "affiliations", *entries)))

    async def _get(self, query: ET.Element) -> ET.Element:
        return await self._client.ask(self.owner, "get", query, within=self._timeout)

    async def _set(self, query: ET.Element) -> None:
        await self._client.ask(self.owner, "set", query, within=self._timeout)

    def _this(self, namespace: str, name: str, *children: ET.Element, **attributes: str) -> ET.Element:
        """Return an element that speaks of this node."""
        element = ET.Element(f"{{{namespace}}}{name}", {"node": self.name, **attributes})
        element.extend(children)
        return element


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What the node ``node`` tells its subscribers: new items, that some were ``taken``, or that it was ``deleted``."""

    node: str
    items: Sequence[ET.Element] = ()
    taken: bool = False
    deleted: bool = False


def read_event(message: ET.Element) -> Event | None:
    """Return what a message tells about a node, ``None`` if it tells nothing."""
    event = message.find(f"{{{EVENT}}}event")
    if event is None:
        return None
    items = event.find(f"{{{EVENT}}}items")
    if items is not None:
        found, taken = items.findall(f"{{{EVENT}}}item"), items.find(f"{{{EVENT}}}retract") is not None
        return Event(node=items.get("node", ""), items=found, taken=taken) if found or taken else None
    purge = event.find(f"{{{EVENT}}}purge")
    if purge is not None:
        return Event(node=purge.get("node", ""), taken=True)
    deletion = event.find(f"{{{EVENT}}}delete")
    return None if deletion is None else Event(node=deletion.get("node", ""), deleted=True)


def _number(text: str, otherwise: int) -> int:
    """Return a number of items; a server may also say "max", which says nothing."""
    return int(text) if text.isascii() and text.isdigit() else otherwise


def _is_private(config: Mapping[str, str]) -> bool:
    return config.get("access_model") == "whitelist" and config.get("persist_items") in _SPELLINGS["true"]


def _query(namespace: str, *children: ET.Element) -> ET.Element:
    query = ET.Element(f"{{{namespace}}}pubsub")
    query.extend(children)
    return query


def _with_form(namespace: str, name: str, fields: Mapping[str, str], kind: str) -> ET.Element:
    element = ET.Element(f"{{{namespace}}}{name}")
    element.append(_form(fields, kind))
    return element


def _form(fields: Mapping[str, str], kind: str) -> ET.Element:
    """Return a submitted data form (XEP-0004)."""
    form = ET.Element(f"{{{_FORM}}}x", {"type": "submit"})
    for name, value in {"FORM_TYPE": f"{PUBSUB}#{kind}", **{f"pubsub#{k}": v for k, v in fields.items()}}.items():
        field = ET.SubElement(form, f"{{{_FORM}}}field", {"var": name})
        if name == "FORM_TYPE":
            field.set("type", "hidden")
        ET.SubElement(field, f"{{{_FORM}}}value").text = value
    return form
