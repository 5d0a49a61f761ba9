"""Publishes TXT records of our service type by multicast DNS, and hears those of others."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping

from zeroconf import (
    DNSCache,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSRecord,
    DNSText,
    IPVersion,
    NotRunningException,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
)
from zeroconf.asyncio import AsyncZeroconf

from autosync.link.addresses import InterfaceAddress

SERVICE = "_autosync._tcp.local."
"""The service type (RFC 6763, 7)."""
PORT = 5353
_TYPE_PTR, _CLASS_IN, _QUERY = 12, 1, 0  # RFC 1035, 3.2 and 4.1.1
_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29  # linux/in.h and linux/in6.h; not in Python's socket module

# What a stranger's packet is like, and what a socket cannot do, is nothing for the user's log;
# what of it matters is told in our own words.
logging.getLogger("zeroconf").setLevel(logging.CRITICAL)


class Responder:
    """Takes part in multicast DNS (RFC 6762) on some interfaces, until :meth:`close`.

    ``heard`` gets the label of each service of our type and its TXT record, again whenever it is
    repeated; it must not raise.  ``flooded`` is called when others say more than ``limit`` records
    a second, of whatever type.  ``echoed`` tells whether what we say comes back.

    Our services have neither a port nor an address of their own: what a peer needs is in the
    TXT record.  Nothing of what others say is kept, so that no flood of it can fill the memory
    or be asked for again, as the browser of zeroconf would.
    """

    def __init__(
        self,
        interfaces: Iterable[InterfaceAddress],
        heard: Callable[[str, bytes], None],
        *,
        limit: int,
        flooded: Callable[[], None],
    ) -> None:
        """Take part on the interfaces that have these addresses.  Raises :class:`OSError`."""
        _try_port(None)
        self._names: set[str] = set()
        self._ear = _Ear(heard, flooded, limit=limit, own=self._names)
        self._infos: dict[str, ServiceInfo] = {}
        self._announcing: set[asyncio.Future[object]] = set()
        wanted = [str(at.ip) for at in interfaces if _is_usable(at)]
        version = IPVersion.All if any(":" in ip for ip in wanted) else IPVersion.V4Only
        try:
            self._zeroconf = Zeroconf(interfaces=wanted, ip_version=version, use_asyncio=True)
        except RuntimeError as error:  # its word for an IPv6 address that went away a moment ago
            raise OSError(errno.ENODEV, str(error)) from error
        self._zeroconf.async_add_listener(self._ear, None)

    @property
    def echoed(self) -> bool:
        """Whether we have heard ourselves."""
        return self._ear.echoed

    async def start(self) -> int:
        """Return, once it can be used, on how many addresses it takes part."""
        await self._zeroconf.async_wait_for_start()
        for reader in self._zeroconf.engine.readers:
            # Only what comes by an interface that was joined *here*, not by any other program
            # of this machine (ip(7), IP_MULTICAST_ALL).
            for level, option in (
                (socket.IPPROTO_IP, _IP_MULTICAST_ALL),
                (socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL),
            ):
                with contextlib.suppress(OSError):  # IPv4 knows nothing of the second
                    reader.sock.setsockopt(level, option, 0)
        return len(self._zeroconf.engine.senders)

    async def publish(self, texts: Mapping[str, bytes]) -> None:
        """Let the services be exactly these, by label; tell all what is new.

        The labels must be unique by themselves: nobody is asked whether they are taken.
        """
        for label in self._infos.keys() - texts.keys():
            info = self._infos.pop(label)
            self._announce(await self._zeroconf.async_unregister_service(info))
            self._names.difference_update({info.key, str(info.server_key)})
        for label, text in texts.items():
            known = self._infos.get(label)
            if known is not None and known.text == text:
                continue
            info = ServiceInfo(SERVICE, f"{label}.{SERVICE}", port=0, properties=text, server=f"{label}.local.")
            self._infos[label] = info
            self._names.update({info.key, str(info.server_key)})
            if known is None:
                self._announce(await self._zeroconf.async_register_service(info, cooperating_responders=True))
            else:
                self._announce(await self._zeroconf.async_update_service(info))

    def ask(self) -> None:
        """Ask everybody for the services of our type."""
        question = DNSOutgoing(_QUERY)
        question.add_question(DNSQuestion(SERVICE, _TYPE_PTR, _CLASS_IN))
        self._zeroconf.async_send(question)

    async def close(self, *, farewell: bool) -> None:
        """Fall silent.  A ``farewell`` tells others to forget our services, and takes a quarter of a second."""
        for announcing in self._announcing:
            announcing.cancel()
        await asyncio.gather(*self._announcing, return_exceptions=True)
        if not farewell:
            self._zeroconf.registry.async_remove(list(self._infos.values()))
        self._zeroconf.async_remove_listener(self._ear)
        with contextlib.suppress(NotRunningException):  # it closes only what it has finished to open
            await self._zeroconf.async_wait_for_start()
        await AsyncZeroconf(zc=self._zeroconf).async_close()

    def _announce(self, announcing: Awaitable[object]) -> None:
        task = asyncio.ensure_future(announcing)
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)


class _Ear(RecordUpdateListener):
    """Picks our service's TXT records from everything, and empties the cache behind itself.

    Of our own records the cache stays: it keeps us from repeating an answer within a second
    (RFC 6762, 6).
    """

    def __init__(
        self, heard: Callable[[str, bytes], None], flooded: Callable[[], None], *, limit: int, own: set[str]
    ) -> None:
        self.echoed = False
        self._heard = heard
        self._flooded = flooded
        self._limit = limit
        self._own = own
        self._second = 0.0
        self._records = 0
        self._strange: list[DNSRecord] = []
        self._cache: DNSCache | None = None

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """Take the records of one packet; ``now`` is in ms."""
        self._cache = zc.cache
        for record in (update.new for update in records):
            own = self._is_own(record)
            if not own:
                self._strange.append(record)
            if isinstance(record, DNSText) and not record.is_expired(now):
                label, _, type_ = record.key.partition(".")
                if own:
                    self.echoed = True
                elif type_ == SERVICE:
                    self._heard(label, record.text)
        self._count(len(self._strange), now)

    def async_update_records_complete(self) -> None:
        """Forget them."""
        strange, self._strange = self._strange, []
        if self._cache is not None:
            cache = self._cache
            cache.async_remove_records([record for record in strange if cache.get(record) is not None])

    def _count(self, records: int, now: float) -> None:
        if now - self._second >= 1000:
            self._second, self._records = now, 0
        self._records += records
        if self._records > self._limit:
            self._flooded()

    def _is_own(self, record: DNSRecord) -> bool:
        return record.key in self._own or (isinstance(record, DNSPointer) and record.alias.lower() in self._own)


def _try_port(at: InterfaceAddress | None) -> None:
    """Raise :class:`OSError` if the port cannot be had there (``None``: anywhere).

    zeroconf would leave the socket open with which it finds that out.
    """
    family = socket.AF_INET6 if at is not None and at.ip.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if at is None:
            trial.bind(("", PORT))
        elif at.ip.version == 6:
            trial.bind((str(at.ip), PORT, 0, at.interface if at.ip.is_link_local else 0))
        else:
            trial.bind((str(at.ip), PORT))


def _is_usable(at: InterfaceAddress) -> bool:
    """Return whether the address is there still, or already."""
    try:
        _try_port(at)
    except OSError:
        return False
    return True
