"""How an announcement looks as an item of an XMPP node."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.channels.xmpp_element import (
    EVENT,
    MAX_SEALED,
    NAMESPACE,
    Item,
    NotAnAnnouncement,
    is_name,
    read_item,
    write_item,
)
from autosync.channels.xmpp_inbox import Inbox

NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=256)


def as_item(item: Item) -> ET.Element:
    """Return ``item`` as a server sends it."""
    element = ET.Element("item", {"id": item.slot})
    element.append(write_item(item))
    return element


def as_event(sender: str, *items: Item) -> ET.Element:
    """Return the event message that tells of ``items``."""
    message = ET.Element("message", {"from": sender})
    event = ET.SubElement(message, f"{{{EVENT}}}event")
    holder = ET.SubElement(event, f"{{{EVENT}}}items", {"node": NAMESPACE})
    for item in items:
        element = as_item(item)
        element.tag = f"{{{EVENT}}}item"
        holder.append(element)
    return message


def unexpected(what: object) -> None:
    """Be what is never called."""
    pytest.fail(f"unexpected: {what}")


@given(slot=NAMES, tag=NAMES, sealed=st.binary(min_size=1, max_size=2000))
def test_what_is_written_is_read(slot: str, tag: str, sealed: bytes) -> None:
    item = Item(slot=slot, workspace_tag=tag, sealed=sealed)
    text = ET.tostring(as_item(item))
    assert read_item(ET.fromstring(text)) == item  # noqa: S314  # written above


@pytest.mark.parametrize(("size", "fits"), [(MAX_SEALED, True), (MAX_SEALED + 1, False), (4 * MAX_SEALED, False)])
def test_the_limit_is_exact(size: int, fits: bool) -> None:
    element = as_item(Item(slot="slot", workspace_tag="tag", sealed=bytes(size)))
    if fits:
        assert len(read_item(element).sealed) == size
    else:
        with pytest.raises(NotAnAnnouncement, match="too large"):
            read_item(element)


def make_inbox(deliver: Callable[[Item], None], wanted: Callable[[str], bool] = lambda _tag: True) -> Inbox:
    """Return an inbox of one account."""
    return Inbox({"me@example.org": NAMESPACE}, deliver=deliver, node_deleted=unexpected, wanted=wanted)


@given(st.text(max_size=300))
def test_names_never_break_a_stream(text: str) -> None:
    assert is_name(text) == (1 <= len(text) <= 256 and text.isascii() and text.isprintable() and " " not in text)


def test_inbox_knows_repetitions_until_it_forgets() -> None:
    delivered: list[Item] = []
    inbox = make_inbox(delivered.append)
    first, second = (Item(slot="slot", workspace_tag="tag", sealed=sealed) for sealed in (b"1", b"2"))
    for item in (first, first, second, first):
        inbox.take_event(as_event("me@example.org", item))
    assert delivered == [first, second]
    inbox.forget()
    inbox.take_event(as_event("me@example.org", first, second))
    assert delivered == [first, second, first, second]


@pytest.mark.parametrize("sender", ["you@example.org", "me@example.org/laptop", "", "ME@example.org"])
def test_inbox_trusts_only_the_account_itself(sender: str) -> None:
    inbox = make_inbox(unexpected)
    inbox.take_event(as_event(sender, Item(slot="slot", workspace_tag="tag", sealed=b"1")))
    assert inbox.dropped == {"forged": 1}


def test_inbox_ignores_other_nodes() -> None:
    inbox = make_inbox(unexpected)
    message = as_event("you@example.org", Item(slot="slot", workspace_tag="tag", sealed=b"1"))
    message[0][0].set("node", "urn:xmpp:avatar:data")
    inbox.take_event(message)
    assert inbox.dropped == {}


@pytest.mark.parametrize("name", ["/0", "/1", "/02", "/33", "/x", "/", "@team", "x"])
def test_inbox_ignores_nodes_that_are_none_of_the_series(name: str) -> None:
    inbox = make_inbox(unexpected)
    message = as_event("me@example.org", Item(slot="slot", workspace_tag="tag", sealed=b"1"))
    message[0][0].set("node", NAMESPACE + name)
    inbox.take_event(message)
    assert inbox.dropped == {}


def test_inbox_tells_in_which_node_a_slot_is() -> None:
    delivered: list[Item] = []
    noted: list[tuple[str, int, str]] = []
    inbox = make_inbox(delivered.append)
    inbox.noted = lambda *place: noted.append(place)
    item = Item(slot="slot", workspace_tag="tag", sealed=b"1")
    message = as_event("me@example.org", item)
    message[0][0].set("node", NAMESPACE + "/32")
    inbox.take_event(message)
    assert (delivered, noted) == ([item], [("me@example.org", 31, "slot")])


def test_inbox_lets_go_what_nobody_here_wants_and_knows_that_it_did() -> None:
    delivered: list[Item] = []
    inbox = make_inbox(delivered.append, wanted=lambda tag: tag == "ours")
    ours, other = (Item(slot="slot", workspace_tag=tag, sealed=b"1") for tag in ("ours", "other"))
    broken = as_event("me@example.org", other)
    broken[0][0][0][0].text = "no base64!"
    inbox.take_event(broken)
    inbox.take_event(as_event("me@example.org", ours, other))
    assert (delivered, inbox.dropped) == ([ours], {})
    assert inbox.recall("other")
    assert not inbox.recall("other")
    assert not inbox.recall("ours")
