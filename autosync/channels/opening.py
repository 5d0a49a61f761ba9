"""Makes the channels that a configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from autosync.channels.fanout import FanoutChannel
from autosync.channels.reflector import ReflectorChannel
from autosync.channels.sparkleshare import Commits
from autosync.config import Config, XmppConfig, fetch_password
from autosync.ports import Channel, ChannelListener
from autosync.reflector.address import parse_address

_LINE_CHANNELS: Mapping[str, type[ReflectorChannel | FanoutChannel]] = {
    "reflector": ReflectorChannel,
    "fanout": FanoutChannel,
}


def open_channel(
    key: str,
    config: Config,
    listener: ChannelListener,
    *,
    tags: Callable[[], Collection[str]],
    commits: Commits | None = None,
) -> Channel:
    """Return the channel, not started yet, that the ``key`` of a configuration asks for.

    ``key`` is one of :data:`autosync.config.changes.CHANNELS` and has a value; ``tags`` tells those of
    all workspaces of this device.  Raises :class:`AutosyncError` for an address or a JID that is none.
    """
    if key in _LINE_CHANNELS:
        return _LINE_CHANNELS[key](parse_address(getattr(config, key)), listener, tags=tags, commits=commits)
    assert key == "xmpp" and config.xmpp is not None, key  # noqa: S101  # of our own table
    return _open_xmpp(config.xmpp, config.device, listener, tags)


def _open_xmpp(
    xmpp: XmppConfig, device: str, listener: ChannelListener, tags: Callable[[], Collection[str]]
) -> Channel:
    # Imported when an account is configured: the library takes half a second.
    from autosync.channels.xmpp import XmppChannel, XmppSettings  # noqa: PLC0415

    settings = XmppSettings(
        jid=xmpp.jid,
        password=lambda: fetch_password(xmpp),
        host=xmpp.host,
        port=xmpp.port,
        ca_file=xmpp.ca_file,
        members=xmpp.members,
        service=xmpp.service,
        node=xmpp.node,
        device=device,
    )
    return XmppChannel(settings, listener, wanted=lambda tag: tag in tags())
