"""What the channels over a server of lines have in common: names, payloads, and who is a stranger."""

from __future__ import annotations

import base64
import binascii
import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable

from autosync.channels.lines import LineClient, LineTiming, LineUser
from autosync.channels.sparkleshare import Commits, Speaker
from autosync.errors import AutosyncError, Unreachable
from autosync.ports import ChannelListener, ChannelStatus
from autosync.reflector.protocol import GREETING, is_name

log = logging.getLogger(__name__)

_WELCOME = GREETING.rstrip().partition(b"!")[2]

Tags = Callable[[], Iterable[str]]
"""Tells the tags of all workspaces of this device."""


class LineChannel(LineUser):
    """The part of a :class:`autosync.ports.Channel` that does not depend on how states are kept.

    ``tags`` is asked on every new connection; a tag that is published to later is added then.
    """

    kind: str

    def __init__(
        self,
        address: tuple[str, int],
        listener: ChannelListener,
        *,
        tags: Tags,
        commits: Commits | None = None,
        timing: LineTiming | None = None,
    ) -> None:
        self.listener = listener
        self.dropped: Counter[str] = Counter()
        self.client = LineClient(self.kind, address, self, timing or LineTiming())
        self.heard_of: set[bytes] = set()
        """Tags that the server was asked for, over this connection."""
        self._tags = tags
        self._speaker = Speaker(commits)
        self._refused = ""

    # -- the port ------------------------------------------------------------------------------
    async def start(self) -> None:
        """As :meth:`autosync.ports.Channel.start`."""
        self.client.start()

    async def stop(self) -> None:
        """As :meth:`autosync.ports.Channel.stop`."""
        await self.client.stop()

    def nudge(self) -> None:
        """As :meth:`autosync.ports.Channel.nudge`."""
        self.client.nudge()

    def status(self) -> ChannelStatus:
        """As :meth:`autosync.ports.Channel.status`."""
        detail = self.client.detail
        if self.client.state == "online" and self._refused:
            detail += f" It refuses something: {self._refused}."
        elif self._refused:
            detail += f" It said: {self._refused}."
        return ChannelStatus(kind=self.kind, state=self.client.state, detail=detail, dropped=dict(self.dropped))

    def announce_commit(self, identifier: str, commit: str) -> None:
        """Tell SparkleShare's clients that the hub has ``commit``; lost if there is no connection."""
        if self.client.state == "online":
            for line in self._speaker.announcement(identifier, commit):
                self.client.say(line)

    def identifiers_changed(self) -> None:
        """Hear what SparkleShare's clients say of repositories that are new here."""
        for line in self._speaker.additions():
            self.client.say(line)  # a connection that is made later subscribes to all

    # -- for those who keep states one way or the other ----------------------------------------
    @abstractmethod
    def ask_for(self, tag: bytes) -> None:
        """Have what is said in ``tag`` from now on."""

    def end_heard(self, tag: bytes) -> None:
        """Take note that all that was kept in ``tag`` has come."""

    def pong_heard(self) -> None:
        """Take note that the server lives."""

    def names(self, slot: str, workspace_tag: str) -> tuple[bytes, bytes]:
        """Return tag and slot as bytes, and have what others say in the tag."""
        if not (is_name(slot.encode()) and is_name(workspace_tag.encode())):
            raise ValueError(f"slot {slot!r} and workspace tag {workspace_tag!r} must be visible ASCII without !")
        tag = workspace_tag.encode()
        if self.client.state == "online" and tag not in self.heard_of:
            self._begin(tag)
        return tag, slot.encode()

    def _begin(self, tag: bytes) -> None:
        self.heard_of.add(tag)
        self.ask_for(tag)

    # -- what the connection tells ---------------------------------------------------------------
    def opened(self) -> None:
        """As :meth:`autosync.channels.lines.LineUser.opened`."""
        self.heard_of.clear()
        for line in self._speaker.subscriptions():
            self.client.say(line)
        for tag in sorted({tag.encode() for tag in self._tags()}):
            self._begin(tag)
        self.client.say(b"ping")

    def unready(self) -> AutosyncError:
        """As :meth:`autosync.channels.lines.LineUser.unready`."""
        return Unreachable(
            f"{self.client.server} answers nothing that a {self.kind} server would", hint="Is it the right port?"
        )

    def line_received(self, line: bytes) -> None:
        """As :meth:`autosync.channels.lines.LineUser.line_received`."""
        name, mark, message = line.rstrip(b"\r").partition(b"!")
        if not mark:
            if name.isdigit():
                self.pong_heard()
            else:
                self.dropped["garbage"] += 1
        elif name == b"debug":
            self._take_remark(message)
        elif self._speaker.heard(name, message):
            return
        elif name not in self.heard_of:
            self.dropped["stranger"] += 1
        elif message == b"end":
            self.end_heard(name)
        else:
            self._deliver(name, message)

    def _take_remark(self, message: bytes) -> None:
        if message == _WELCOME:
            self._refused = ""
        elif message.startswith(b"refused ") or message == b"busy":
            said = "too many connections" if message == b"busy" else _shown(message[len(b"refused ") :])
            if said != self._refused:
                log.warning("%s: %s says: %s", self.kind, self.client.server, said)
            self._refused = said

    def _deliver(self, tag: bytes, message: bytes) -> None:
        # With or without the slot: the seal tells who it is of.
        payload = message.rpartition(b" ")[2]
        try:
            sealed = base64.b64decode(payload, validate=True)
        except binascii.Error:
            sealed = b""
        if sealed:
            self.listener.sealed_received(tag.decode("ascii"), sealed, self.kind)
        else:
            self.dropped["garbage"] += 1


def _shown(remark: bytes) -> str:
    return "".join(c if c.isprintable() else "?" for c in remark[:100].decode("ascii", "replace"))
