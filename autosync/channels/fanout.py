"""The channel through a fanout server, as SparkleShare used it: it passes on and keeps nothing."""

from __future__ import annotations

import base64

from autosync.channels.reflected import LineChannel
from autosync.errors import TooLarge
from autosync.reflector.protocol import MAX_FANOUT_LINE, announced

KIND = "fanout"


class FanoutChannel(LineChannel):
    """A :class:`autosync.ports.Channel` through a fanout server.

    Who comes hears nothing of what was said before: he says where he is, and the others answer
    (:data:`autosync.core.sources.HELLO`).
    """

    kind = KIND

    async def publish(self, slot: str, workspace_tag: str, sealed: bytes) -> None:
        """As :meth:`autosync.ports.Channel.publish`.  Raises :class:`TooLarge` too."""
        tag, _ = self.names(slot, workspace_tag)
        payload = base64.b64encode(sealed)
        if (size := len(announced(tag, payload))) > MAX_FANOUT_LINE:
            raise TooLarge(
                f"An announcement of {len(sealed)} bytes makes a line of {size}: too large for the fanout protocol, "
                f"which has lines of {MAX_FANOUT_LINE}",
                hint="Announce it without its content. Many devices in one workspace need a reflector.",
            )
        await self.client.send(f"{workspace_tag} {slot}", b"announce %b %b" % (tag, payload))

    def ask_for(self, tag: bytes) -> None:
        """Have what is said in ``tag`` from now on."""
        self.client.say(b"subscribe " + tag)

    def pong_heard(self) -> None:
        """Take note that the server lives: it has read what came before the ping."""
        if self.client.state != "online":
            self.client.ready()
            self.listener.catch_up_done(self.kind)
            self.listener.channel_ready(self.kind)
