"""One message per slot on its way, and only the newest one waiting behind it."""

from __future__ import annotations

import asyncio

import pytest

from autosync.channels.outbox import Outbox
from autosync.errors import AutosyncError, Unreachable

LOST = Unreachable("The connection ended", hint="Wait.")


class Wire:
    """Where messages go: each waits until :meth:`let_through`."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.refusal: AutosyncError | None = None
        self._gate = asyncio.Semaphore(0)

    async def send(self, slot: str, message: str) -> None:
        self.begun.append((slot, message))
        await self._gate.acquire()
        if self.refusal is not None:
            raise self.refusal

    def let_through(self, count: int) -> None:
        for _ in range(count):
            self._gate.release()


async def put(outbox: Outbox[str], slot: str, *messages: str) -> list[asyncio.Task[None]]:
    """Put ``messages`` one after the other, not waiting for any to be sent."""
    calls = []
    for message in messages:
        calls.append(asyncio.create_task(outbox.put(slot, message)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return calls


async def test_a_burst_costs_the_first_and_the_last() -> None:
    wire = Wire()
    outbox = Outbox(wire.send)
    calls = await put(outbox, "a", "1", "2", "3", "4")
    assert outbox.busy
    wire.let_through(2)
    await asyncio.gather(*calls)
    assert wire.begun == [("a", "1"), ("a", "4")]
    assert not outbox.busy


async def test_slots_do_not_wait_for_each_other() -> None:
    wire = Wire()
    outbox = Outbox(wire.send)
    calls = await put(outbox, "a", "1") + await put(outbox, "b", "2")
    assert wire.begun == [("a", "1"), ("b", "2")]
    wire.let_through(2)
    await asyncio.gather(*calls)


async def test_a_refusal_reaches_its_own_sender_and_the_next_one_is_tried() -> None:
    wire = Wire()
    outbox = Outbox(wire.send)
    first, second = await put(outbox, "a", "1", "2")
    wire.refusal = AutosyncError("No", hint="Never.")
    wire.let_through(1)
    with pytest.raises(AutosyncError, match="No"):
        await first
    wire.refusal = None
    wire.let_through(1)
    await second


async def test_one_who_stops_waiting_stops_nobody_else() -> None:
    wire = Wire()
    outbox = Outbox(wire.send)
    _first, second, third = await put(outbox, "a", "1", "2", "3")
    second.cancel()
    wire.let_through(2)
    await third
    assert wire.begun == [("a", "1"), ("a", "3")]


async def test_all_who_wait_are_told_when_the_connection_ends() -> None:
    wire = Wire()
    outbox = Outbox(wire.send)
    calls = await put(outbox, "a", "1", "2") + await put(outbox, "b", "3")
    calls.append(asyncio.create_task(outbox.put("c", "not begun")))
    await asyncio.sleep(0)
    await outbox.fail_all(LOST)
    for call in calls:
        with pytest.raises(Unreachable, match="The connection ended"):
            await call
    assert not outbox.busy
    wire.let_through(3)
    for slot in ("a", "b", "c"):
        await outbox.put(slot, "again")
    assert wire.begun == [("a", "1"), ("b", "3"), ("a", "again"), ("b", "again"), ("c", "again")]


async def test_what_is_put_while_the_connection_ends_is_sent_too() -> None:
    wire = Wire()
    outbox = Outbox(wire.send)
    (before,) = await put(outbox, "a", "before")
    ending = asyncio.create_task(outbox.fail_all(LOST))
    await asyncio.sleep(0)  # what was on its way is about to end
    late = outbox.post("a", "late")
    assert not ending.done()
    await ending
    with pytest.raises(Unreachable, match="The connection ended"):
        await before
    wire.let_through(2)  # one was taken by what was cut off, or is left
    await late
    assert wire.begun == [("a", "before"), ("a", "late")]
    assert not outbox.busy
