"""The channel through a reflector, which keeps the last state of every device."""

from __future__ import annotations

import base64

from autosync.channels.reflected import LineChannel
from autosync.errors import AutosyncError, Refused, TooLarge

KIND = "reflector"
MAX_SEALED = 64 * 1024
"""Bytes of the largest announcement; its base64, two names and the request fit into a line of the protocol."""


class ReflectorChannel(LineChannel):
    """A :class:`autosync.ports.Channel` through ``autosync reflector``."""

    kind = KIND
    _to_come: frozenset[bytes] = frozenset()
    """Tags whose kept states have not all come; nobody is told that we are here before."""
    _answered = False

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
