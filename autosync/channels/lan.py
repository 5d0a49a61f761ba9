"""The channel that needs no account: announcements go over the direct links to the peers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from autosync.channels.discovery import Discovery, Rhythm
from autosync.core.candidates import on_lan
from autosync.errors import TooLarge
from autosync.link import Links
from autosync.ports import ChannelListener, ChannelStatus
from autosync.trust.sealing import MAX_SEALED

KIND = "lan"


class LanChannel:
    """Finds peers for ``links`` and speaks over them.

    ``peers`` are the configured addresses (``host:port``), tried for every workspace and
    for ever; they are all there is without ``discovery``.  The links are started and
    stopped by whoever made them.  What peers announce arrives at
    :meth:`autosync.link.WorkspaceHandle.announced`, which knows the workspace already.
    """

    def __init__(
        self,
        links: Links,
        listener: ChannelListener,
        *,
        peers: Sequence[str] = (),
        discovery: bool = True,
        rhythm: Rhythm | None = None,
    ) -> None:
        self._links = links
        self._listener = listener
        self._peers = tuple(peers)
        self._dropped: Counter[str] = Counter()
        self._discovery = Discovery(links, self._dropped, rhythm=rhythm, doubled=self._say_again) if discovery else None
        self._said: set[str] = set()
        self._started = False

    async def start(self) -> None:
        """As :meth:`autosync.ports.Channel.start`."""
        self._started = True
        self._links.learn(None, None, on_lan(self._peers))
        if self._discovery is not None:
            self._discovery.start()
        asyncio.get_running_loop().call_soon(self._tell_ready)

    async def stop(self) -> None:
        """As :meth:`autosync.ports.Channel.stop`; the links stay."""
        self._started = False
        if self._discovery is not None:
            await self._discovery.stop()

    async def publish(self, slot: str, workspace_tag: str, sealed: bytes) -> None:  # noqa: ARG002 - a link knows its peer
        """As :meth:`autosync.ports.Channel.publish`: now to linked peers, to others once they are linked."""
        if len(sealed) > MAX_SEALED:
            raise TooLarge(
                f"An announcement of {len(sealed)} bytes is too large for a link, which carries {MAX_SEALED}",
                hint="Announce it without its content; the others fetch that from this device or the hub.",
            )
        for handle in self._links.handles():
            if handle.key.tag == workspace_tag:
                self._links.broadcast(handle.key.id, sealed)
        if workspace_tag not in self._said:
            self._said.add(workspace_tag)
            if self._discovery is not None and self._started:
                self._discovery.speak_up()

    def nudge(self) -> None:
        """As :meth:`autosync.ports.Channel.nudge`."""
        if self._started:
            self._links.nudge()
            if self._discovery is not None:
                self._discovery.nudge()

    def status(self) -> ChannelStatus:
        """As :meth:`autosync.ports.Channel.status`."""
        listening = self._started and self._links.port != 0
        count = self._links.linked_devices()
        detail = f"{count} device{'' if count == 1 else 's'} linked"
        if self._discovery is not None and self._discovery.problem:
            detail += f"; no discovery: {self._discovery.problem}"
        return ChannelStatus(
            kind=KIND,
            state="online" if listening else "offline",
            detail=detail if listening else "not listening",
            dropped=self._links.dropped + self._dropped,
        )

    def _say_again(self) -> None:
        if self._started:
            self._listener.channel_ready(KIND)

    def _tell_ready(self) -> None:
        # Nobody keeps what was said for later: each peer says it again on a new link.
        if self._started:
            self._listener.channel_ready(KIND)
            self._listener.catch_up_done(KIND)
