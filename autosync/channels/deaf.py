"""Listens to a channel and hears nothing: for those who only want to know whether it works."""

from __future__ import annotations


class Deaf:
    """A :class:`autosync.ports.ChannelListener` that passes over everything."""

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:
        """Ignore an announcement."""

    def channel_ready(self, lane: str) -> None:
        """Ignore that the channel can send."""

    def catch_up_done(self, lane: str) -> None:
        """Ignore that everything was delivered."""
