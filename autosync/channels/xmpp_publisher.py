"""What this device says: each slot's newest item into the node where its place is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from slixmpp.exceptions import XMPPError

from autosync.channels.outbox import Outbox
from autosync.channels.xmpp_element import Item
from autosync.channels.xmpp_node import NodeNotPrivate
from autosync.channels.xmpp_series import Series
from autosync.channels.xmpp_window import Window
from autosync.errors import AutosyncError

WINDOW = 32 * 1024
"""Bytes that may be unanswered.  A server that takes 3,000 bytes a second, as ejabberd is shipped,
answers the last of them within eleven seconds, so neither a ping nor a request waits too long."""

_WRAPPING = 512  # bytes of a stanza around the base64 of an item, at most


class Publisher:
    """Sends items into a series of nodes.

    ``explain`` sends by calling what it is given and turns a failure into an :class:`AutosyncError`.
    """

    def __init__(self, series: Series, explain: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
        self._series = series
        self._explain = explain
        self._window = Window(WINDOW)
        self._newest: dict[str, Item] = {}
        self._sent: dict[str, Item] = {}
        self._outbox: Outbox[Item] = Outbox(lambda slot, _item: self._send(slot))
        self._repeats: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether something is on its way."""
        return self._outbox.busy

    async def put(self, item: Item) -> None:
        """Return once the server has taken ``item`` or a newer one of its slot."""
        self._newest[item.slot] = item
        await self._outbox.put(item.slot, item)

    def repeat_lost(self) -> None:
        """Say again what a full node has let go, as far as there is room for it."""
        for slot, item in list(self._sent.items()):
            if self._series.places.find(slot) is None and self._series.places.has_room:
                del self._sent[slot]
                task = asyncio.create_task(self._repeat(item), name=f"repeat {slot}")
                self._repeats.add(task)
                task.add_done_callback(self._repeats.discard)

    async def fail_all(self, error: AutosyncError) -> None:
        """Stop sending; everyone who waits gets ``error``."""
        await self._outbox.fail_all(error)
        await asyncio.gather(*self._repeats, return_exceptions=True)

    async def _repeat(self, item: Item) -> None:
        with contextlib.suppress(AutosyncError):  # is said again when the channel is ready again
            await self._outbox.put(item.slot, item)

    async def _send(self, slot: str) -> None:
        weight = len(self._newest[slot].sealed) * 4 // 3 + _WRAPPING
        async with self._window.hold(weight):
            item = self._newest[slot]  # not what was newest when the waiting began
            if self._sent.get(slot) is not item:
                await self._explain(lambda: self._place(item))
                self._sent[slot] = item

    async def _place(self, item: Item) -> None:
        series = self._series
        known = series.places.find(item.slot)
        if known is not None:
            await series.publish(item, known)
            return
        async with series.admission:
            if series.places.choose() == series.places.looked_at - 1 and series.due.is_set():
                with contextlib.suppress(XMPPError, NodeNotPrivate):  # then what there is must do
                    await series.catch_up()
            await series.publish(item, series.places.choose())
