"""One message per slot on its way, and only the newest one waiting behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from autosync.errors import AutosyncError

Message = TypeVar("Message")


class _Parcel(Generic[Message]):
    """A message, and those who wait until it or a newer one has been sent."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def succeed(self) -> None:
        if not self.sent.done():
            self.sent.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.sent.done():
            self.sent.set_exception(error)
            self.sent.exception()  # all who waited may have been cancelled: that is no error


class Outbox(Generic[Message]):
    """Sends messages that replace each other, slot by slot.

    While a slow server takes one message, newer ones of the slot replace each other, so
    that a burst of saves costs two messages and not one each.
    """

    def __init__(self, send: Callable[[str, Message], Awaitable[None]]) -> None:
        self._send = send
        self._sending: dict[str, _Parcel[Message]] = {}
        self._waiting: dict[str, _Parcel[Message]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        """Whether a message is on its way."""
        return bool(self._sending)

    async def put(self, slot: str, message: Message) -> None:
        """Return once ``message``, or a newer one of its slot, has been sent.

        Raises what sending raised, or what :meth:`fail_all` was given.
        """
        await asyncio.shield(self.post(slot, message))

    def post(self, slot: str, message: Message) -> asyncio.Future[None]:
        """Have ``message`` sent and return at once what :meth:`put` waits for; it must not be cancelled."""
        parcel = self._waiting.get(slot)
        if parcel is None:
            parcel = self._waiting[slot] = _Parcel(message)
        parcel.message = message
        if slot not in self._tasks:
            self._tasks[slot] = asyncio.create_task(self._drain(slot), name=f"outbox {slot}")
        return parcel.sent

    async def fail_all(self, error: AutosyncError) -> None:
        """Stop sending; everyone who waits gets ``error``."""
        tasks = list(self._tasks.values())
        for parcel in (*self._sending.values(), *self._waiting.values()):
            parcel.fail(error)
        # What is put while these end is not theirs: nobody would take it up.
        self._waiting.clear()
        self._sending.clear()
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self, slot: str) -> None:
        try:
            while parcel := self._waiting.pop(slot, None):
                self._sending[slot] = parcel
                try:
                    await self._send(slot, parcel.message)
                except Exception as error:
                    parcel.fail(error)
                else:
                    parcel.succeed()
        finally:
            if self._tasks.get(slot) is asyncio.current_task():
                del self._tasks[slot]
                self._sending.pop(slot, None)
