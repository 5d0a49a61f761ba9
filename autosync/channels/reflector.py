"""The channel through a reflector, which keeps the last state of every device and joins pipes."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
from collections.abc import Callable

from autosync.channels.reflected import LineChannel
from autosync.errors import AutosyncError, Refused, TooLarge
from autosync.link.dialling import Unlinked
from autosync.link.reflected import call, is_ticket, new_place, take

log = logging.getLogger(__name__)

KIND = "reflector"
MAX_SEALED = 64 * 1024
"""Bytes of the largest announcement; its base64, two names and the request fit into a line of the protocol."""
MAX_TAKING = 16
"""Calls that are being taken; of more at a time the others are not heard."""


class ReflectorChannel(LineChannel):
    """A :class:`autosync.ports.Channel` through ``autosync reflector``, at which this device can be called too."""

    kind = KIND
    accept: Callable[[socket.socket, str], None] | None = None
    """Takes one end of a pipe that somebody has opened to here, and what to call the other end."""
    _to_come: frozenset[bytes] = frozenset()
    """Tags whose kept states have not all come; nobody is told that we are here before."""
    _answered = False
    _place = ""
    """Where those call who were told of it in announcements."""
    _places: frozenset[bytes] = frozenset()
    _taking: frozenset[asyncio.Task[None]] = frozenset()

    async def stop(self) -> None:
        """As :meth:`autosync.ports.Channel.stop`."""
        await super().stop()
        for task in self._taking:
            task.cancel()
        await asyncio.gather(*self._taking, return_exceptions=True)

    # -- pipes ---------------------------------------------------------------------------------
    @property
    def address(self) -> str | None:
        """Where a pipe to this device can be opened now."""
        return self.at(self._place) if self._place and self.client.state == "online" else None

    def move(self) -> None:
        """Take this device's own calls at another place: who knows that of before may be no friend any more."""
        if self._place:
            self.leave(self._place)
        self._place = new_place()
        self.attend(self._place)

    def at(self, place: str) -> str:
        """Return the address of a place at this reflector."""
        return f"{self.client.server}/{place}"

    async def connect(self, address: str) -> socket.socket:
        """As :func:`autosync.link.reflected.call`."""
        return await call(address)

    def attend(self, place: str) -> None:
        """Take the calls to ``place`` from now on, over every connection."""
        self._places |= {place.encode("ascii")}
        self.client.say(b"subscribe " + place.encode("ascii"))

    def leave(self, place: str) -> None:
        """Take no more calls to ``place``."""
        self._places -= {place.encode("ascii")}
        self.client.say(b"unsubscribe " + place.encode("ascii"))

    def line_received(self, line: bytes) -> None:
        """As :meth:`autosync.channels.lines.LineUser.line_received`."""
        place, _, ticket = line.rstrip(b"\r").partition(b"!")
        if place not in self._places:
            super().line_received(line)
        elif self.accept is None or not is_ticket(ticket) or len(self._taking) >= MAX_TAKING:
            self.dropped["call"] += 1
        else:
            task = asyncio.create_task(self._take(ticket, self.accept), name="a call through the reflector")
            self._taking |= {task}
            task.add_done_callback(self._taken)

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._taking -= {task}

    async def _take(self, ticket: bytes, accept: Callable[[socket.socket, str], None]) -> None:
        try:
            end = await take(self.client.server, ticket)
        except (OSError, Unlinked) as error:
            log.debug("%s: a call through %s came to nothing: %s", self.kind, self.client.server, error)
        else:
            accept(end, self.client.server)

    # -- states ----------------------------------------------------------------------------------
    async def publish(self, slot: str, workspace_tag: str, sealed: bytes) -> None:
        """As :meth:`autosync.ports.Channel.publish`.  Raises :class:`TooLarge` too."""
        tag, name = self.names(slot, workspace_tag)
        if len(sealed) > MAX_SEALED:
            raise TooLarge(
                f"An announcement of {len(sealed)} bytes is too large for a reflector, which carries {MAX_SEALED}",
                hint="Announce it without its content; the others fetch that from this device or the hub.",
            )
        await self.client.send(f"{workspace_tag} {slot}", b"keep %b %b %b" % (tag, name, base64.b64encode(sealed)))

    def opened(self) -> None:
        """As :meth:`autosync.channels.lines.LineUser.opened`."""
        self._to_come, self._answered = frozenset(), False
        for place in sorted(self._places):
            self.client.say(b"subscribe " + place)
        super().opened()

    def ask_for(self, tag: bytes) -> None:
        """Have what is kept in ``tag``, and what is said from now on."""
        self._to_come |= {tag}
        self.client.say(b"follow " + tag)

    def end_heard(self, tag: bytes) -> None:
        """Take note that all that was kept in ``tag`` has come."""
        self._to_come -= {tag}
        self._look_whether_ready()

    def pong_heard(self) -> None:
        """Take note that the server lives."""
        self._answered = True
        self._look_whether_ready()

    def unready(self) -> AutosyncError:
        """As :meth:`autosync.channels.lines.LineUser.unready`."""
        if self._answered:
            return Refused(
                f"{self.client.server} answers as a fanout server does, and is no reflector",
                hint="Write `fanout:` in place of `reflector:`, or run `autosync reflector` there.",
            )
        return super().unready()

    def _look_whether_ready(self) -> None:
        if self._answered and not self._to_come and self.client.state != "online":
            self.client.ready()
            self.listener.catch_up_done(self.kind)
            self.listener.channel_ready(self.kind)
