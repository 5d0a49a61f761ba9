"""The PEP node of one account: a private place for the last word of every device (XEP-0060, XEP-0163)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slixmpp.exceptions import IqError

from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_element import EVENT, NAMESPACE, OWNER, PUBSUB, Item, write_item

_FORM = "jabber:x:data"

# The items of all devices and workspaces of an account; Prosody allows no more on a node.
_MAX_ITEMS = "256"
_PRIVATE = {"access_model": "whitelist", "persist_items": "true"}
_WANTED = {**_PRIVATE, "max_items": _MAX_ITEMS, "send_last_published_item": "never", "notify_delete": "true"}


class NodeNotPrivate(Exception):
    """The server keeps the node readable by others; ``access`` is its access model."""

    def __init__(self, access: str) -> None:
        super().__init__(access)
        self.access = access


class Node:
    """The node of the account ``owner`` (a bare JID), seen through a connected client.

    Every method raises slixmpp's ``IqError`` when the server refuses, and ``IqTimeout``
    after ``timeout`` seconds.
    """

    def __init__(self, client: XmppClient, owner: str, *, timeout: float) -> None:
        self.owner = owner
        self._client = client
        self._timeout = timeout

    async def ensure(self, members: Iterable[str]) -> None:
        """Bring our own node into being: private, persistent, readable by ``members``.

        Members are only ever added: another device of the account may know of one that
        this device does not.  Raises :class:`NodeNotPrivate`.
        """
        try:
            await self._set(
                _query(PUBSUB, _ours(PUBSUB, "create"), _with_form(PUBSUB, "configure", _WANTED, "node_config"))
            )
        except IqError as error:
            if error.condition != "conflict":
                raise
        config = await self._config()
        if not _is_private(config):
            await self._set(_query(OWNER, _ours(OWNER, "configure", _form(_WANTED, "node_config"))))
            config = await self._config()
            if not _is_private(config):
                raise NodeNotPrivate(config.get("access_model", ""))
        if missing := sorted(set(members) - await self._readers()):
            await self._admit(missing)

    async def publish(self, item: Item) -> None:
        """Replace the item of ``item.slot``; fails if the node is not private any more."""
        entry = ET.Element(f"{{{PUBSUB}}}item", {"id": item.slot})
        entry.append(write_item(item))
        # ejabberd refuses any other option.
        options = _with_form(PUBSUB, "publish-options", _PRIVATE, "publish-options")
        await self._set(_query(PUBSUB, _ours(PUBSUB, "publish", entry), options))

    async def subscribe(self) -> None:
        """Have every new item sent to this very connection.

        The full JID is subscribed, so that neither presence nor its priority matters to
        who is told; repeating it is harmless.
        """
        await self._set(_query(PUBSUB, _ours(PUBSUB, "subscribe", jid=self._client.boundjid.full)))

    async def items(self) -> Sequence[ET.Element]:
        """Return every ``<item/>`` of the node."""
        answer = await self._get(_query(PUBSUB, _ours(PUBSUB, "items")))
        return answer.findall(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}items/{{{PUBSUB}}}item")

    async def _config(self) -> Mapping[str, str]:
        answer = await self._get(_query(OWNER, _ours(OWNER, "configure")))
        return {
            field.get("var", "").removeprefix("pubsub#"): field.findtext(f"{{{_FORM}}}value", "")
            for field in answer.iter(f"{{{_FORM}}}field")
        }

    async def _readers(self) -> set[str]:
        answer = await self._get(_query(OWNER, _ours(OWNER, "affiliations")))
        return {
            entry.get("jid", "")
            for entry in answer.iter(f"{{{OWNER}}}affiliation")
            if entry.get("affiliation") not in ("none", "outcast")
        }

    async def _admit(self, members: Iterable[str]) -> None:
        entries = [
            ET.Element(f"{{{OWNER}}}affiliation", {"jid": member, "affiliation": "member"}) for member in members
        ]
        await self._set(_query(OWNER, _ours(OWNER, "affiliations", *entries)))

    async def _get(self, query: ET.Element) -> ET.Element:
        return await self._client.ask(self.owner, "get", query, within=self._timeout)

    async def _set(self, query: ET.Element) -> None:
        await self._client.ask(self.owner, "set", query, within=self._timeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a node tells its subscribers: new items, or that it was ``deleted``."""

    items: Sequence[ET.Element] = ()
    deleted: bool = False


def read_event(message: ET.Element) -> Event | None:
    """Return what a message tells about a node of ours, ``None`` if it tells nothing."""
    if message.find(f"{{{EVENT}}}event/{{{EVENT}}}delete[@node='{NAMESPACE}']") is not None:
        return Event(deleted=True)
    items = message.findall(f"{{{EVENT}}}event/{{{EVENT}}}items[@node='{NAMESPACE}']/{{{EVENT}}}item")
    return Event(items=items) if items else None


def _is_private(config: Mapping[str, str]) -> bool:
    return config.get("access_model") == "whitelist" and config.get("persist_items") in ("1", "true")


def _query(namespace: str, *children: ET.Element) -> ET.Element:
    query = ET.Element(f"{{{namespace}}}pubsub")
    query.extend(children)
    return query


def _ours(namespace: str, name: str, *children: ET.Element, **attributes: str) -> ET.Element:
    """Return an element that speaks of our node."""
    element = ET.Element(f"{{{namespace}}}{name}", {"node": NAMESPACE, **attributes})
    element.extend(children)
    return element


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
