"""Notices when the networks of this machine change."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from autosync.link.addresses import IFF_RUNNING, IFF_UP, machine_addresses, machine_links, netlink_messages

log = logging.getLogger(__name__)

# rtnetlink(7): groups and kinds of messages.
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links; addresses and routes of IPv4; of IPv6
_NEWLINK, _DELLINK, _DELADDR, _NEWROUTE, _DELROUTE = 16, 17, 21, 24, 25
_PROC = ("/proc/thread-self/net/route", "/proc/thread-self/net/if_inet6")
_AT_ONCE = 64
"""Reads before the loop gets its turn."""

Picture = frozenset[object]


class NetworkWatch:
    """Calls ``changed`` when interfaces, addresses or default routes of this machine have changed.

    What happens within ``settle`` seconds counts as one change, and there is no more than one
    in ``gap`` seconds.  An interface that was down in between is a change too, though everything
    is as before.  Where the kernel's news cannot be had, it looks every ``look`` seconds.
    """

    def __init__(
        self, changed: Callable[[], None], *, settle: float = 0.5, gap: float = 3.0, look: float = 30.0
    ) -> None:
        self._changed = changed
        self._settle = settle
        self._gap = gap
        self._look = look
        self._news: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._told_at = float("-inf")
        self._picture: Picture = frozenset()
        self._broken = False
        """Something went that may be back by now."""

    def start(self) -> None:
        """Begin to watch."""
        self._picture = picture()
        try:
            self._news = news_socket()
        except OSError as error:
            log.info("changes of the networks are looked for every %g s: %s", self._look, error.strerror)
            self._timer = asyncio.get_running_loop().call_later(self._look, self._compare)
        else:
            asyncio.get_running_loop().add_reader(self._news, self._hear)

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._news is not None:
            asyncio.get_running_loop().remove_reader(self._news)
            self._news.close()
            self._news = None

    def _hear(self) -> None:
        for _ in range(_AT_ONCE):
            if self._news is None:
                return
            try:
                received = self._news.recv(65536)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: there was more than the kernel keeps
                self._broken = True
                received = b""
            for kind, message in netlink_messages(received):
                self._broken = self._broken or is_break(kind, message)
            if self._timer is None:
                loop = asyncio.get_running_loop()
                at = max(loop.time() + self._settle, self._told_at + self._gap)
                self._timer = loop.call_at(at, self._compare)

    def _compare(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._look, self._compare) if self._news is None else None
        before, self._picture = self._picture, picture()
        broken, self._broken = self._broken, False
        if broken or before != self._picture:
            self._told_at = loop.time()
            self._changed()


def news_socket() -> socket.socket:
    """Return a socket that receives the kernel's news of the networks.  Raises :class:`OSError`."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        opened.bind((0, _GROUPS))
    except OSError:
        opened.close()
        raise
    return opened


def picture() -> Picture:
    """Return what the networks are like: which links carry, and the addresses that last."""
    try:
        carrying = {(n, flags & (IFF_UP | IFF_RUNNING)) for n, flags in machine_links().items()}
    except OSError:  # netlink is forbidden, as it may be in a sandbox
        return frozenset(_content(path) for path in _PROC)
    return frozenset((*carrying, *(a for a in machine_addresses() if not a.passing)))


def is_break(kind: int, message: bytes) -> bool:
    """Return whether connections may have broken by what a message tells, even if all is soon as it was."""
    if kind == _DELLINK:
        return True
    if kind == _NEWLINK:  # struct ifinfomsg: the flags are its third word
        return not int.from_bytes(message[8:12], sys.byteorder) & IFF_RUNNING
    if kind == _DELADDR:  # struct ifaddrmsg: an address made for privacy comes and goes
        return len(message) > 2 and not message[2] & 0x01
    # struct rtmsg: the second byte is the length of the destination, 0 for the default route
    return kind in (_NEWROUTE, _DELROUTE) and len(message) > 1 and message[1] == 0


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
