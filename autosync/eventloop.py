"""The event loop of every command that talks to others: a name server that answers nothing holds up no end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_Found = list[tuple[Any, ...]]


class EventLoop(asyncio.SelectorEventLoop):
    """Looks each name up in a daemon thread, and one that is being looked up already only once.

    asyncio takes a thread of the default executor: a few names without an answer take all of
    them, and the end of the program waits until the resolver gives up (resolv.conf(5): half a minute).
    """

    def __init__(self) -> None:
        super().__init__()
        self._looked_up: dict[tuple[object, ...], asyncio.Future[_Found]] = {}

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> _Found:
        """As :func:`socket.getaddrinfo`."""
        asked = (host, port, family, type, proto, flags)
        answer = self._looked_up.get(asked)
        if answer is None:
            answer = self._looked_up[asked] = self.create_future()
            thread = threading.Thread(target=self._look_up, args=(asked, answer), name="name", daemon=True)
            thread.start()
        return await asyncio.shield(answer)

    def _look_up(self, asked: tuple[Any, ...], answer: asyncio.Future[_Found]) -> None:
        found: _Found | Exception
        try:
            found = list(socket.getaddrinfo(*asked))
        except UnicodeError:  # no name in DNS can be like that; for who connects it is one more that is unknown
            found = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        except Exception as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.call_soon_threadsafe(self._answer, asked, answer, found)

    def _answer(self, asked: tuple[object, ...], answer: asyncio.Future[_Found], found: _Found | Exception) -> None:
        del self._looked_up[asked]
        if isinstance(found, Exception):
            answer.set_exception(found)
            answer.exception()  # all who asked may be gone: that is no error
        else:
            answer.set_result(found)


def run(main: Coroutine[Any, Any, T]) -> T:
    """As :func:`asyncio.run`, in such a loop."""
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        return runner.run(main)
