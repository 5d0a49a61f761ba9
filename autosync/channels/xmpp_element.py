"""How an announcement looks as an item of an XMPP node."""

from __future__ import annotations

import base64
import binascii
import xml.etree.ElementTree as ET
from dataclasses import dataclass

NAMESPACE = "urn:uuid:8f8cb09c-a82e-48f2-84b3-108bf27d1fac#autosync-announcement-1"
"""Names the element and begins the name of every node; the version comes last and changes with
the format.  A UUID (RFC 9562) is unique without a domain that somebody would have to keep."""

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER = f"{PUBSUB}#owner"
EVENT = f"{PUBSUB}#event"

MAX_SEALED = 64 * 1024
"""Largest sealed announcement in bytes.  As base64 and with its wrapping it stays far below
the 262,144 bytes at which Prosody and ejabberd close the stream."""

_TAG = f"{{{NAMESPACE}}}announcement"
_MAX_TEXT = 4 * ((MAX_SEALED + 2) // 3)
_MAX_NAME = 256


class NotAnAnnouncement(Exception):
    """An item that is not ours; ``reason`` is the word it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a node: what one device last said about one workspace."""

    slot: str
    workspace_tag: str
    sealed: bytes


def is_name(text: str) -> bool:
    """Return whether ``text`` can be a slot or workspace tag: 1 to 256 visible ASCII characters.

    Control characters would end the XML stream (XML 1.0, section 2.2).
    """
    return 0 < len(text) <= _MAX_NAME and all("!" <= char <= "~" for char in text)


def write_item(item: Item) -> ET.Element:
    """Return the payload element of ``item``."""
    element = ET.Element(_TAG, {"workspace": item.workspace_tag})
    element.text = base64.b64encode(item.sealed).decode("ascii")
    return element


def tag_of(element: ET.Element) -> str:
    """Return the tag of the workspace that a received ``<item/>`` speaks of, empty if it names none."""
    payload = element.find(_TAG)
    return "" if payload is None else payload.get("workspace", "")


def read_item(element: ET.Element) -> Item:
    """Return what a received ``<item/>`` says.

    Raises :class:`NotAnAnnouncement` with the reason "malformed" or "too large".
    """
    slot, payload = element.get("id", ""), element.find(_TAG)
    if payload is None or not is_name(slot) or not is_name(payload.get("workspace", "")):
        raise NotAnAnnouncement("malformed")
    text = payload.text or ""
    if len(text) > _MAX_TEXT:
        raise NotAnAnnouncement("too large")
    try:
        sealed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotAnAnnouncement("malformed") from None
    if not sealed:
        raise NotAnAnnouncement("malformed")
    if len(sealed) > MAX_SEALED:
        raise NotAnAnnouncement("too large")
    return Item(slot=slot, workspace_tag=payload.get("workspace", ""), sealed=sealed)
