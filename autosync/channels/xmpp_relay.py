"""Opens and accepts in-band bytestreams (XEP-0047) on one XMPP connection."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from functools import partial

from slixmpp import JID, Iq
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.jid import InvalidJID
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher.base import MatcherBase
from slixmpp.xmlstream.stanzabase import StanzaBase

from autosync.channels.xmpp_bytestream import BLOCK, IBB, MAX_BLOCK, BadBlock, Bytestream
from autosync.channels.xmpp_client import XmppClient
from autosync.channels.xmpp_pace import Pace

log = logging.getLogger(__name__)

MAX_STREAMS = 32
"""Streams of one device, whoever opened them."""
PATIENCE = 120.0
"""Seconds for the answer to a block: a session that is resumed delivers it late."""
_MAX_SID = 64

Accept = Callable[[socket.socket, str], None]
"""Takes one end of a stream that somebody opened, and his full JID."""


class Relay:
    """The bytestreams of a client, with nobody but the clients of ``accounts`` (bare JIDs).

    To anybody else it is as if there were none.
    """

    def __init__(self, client: XmppClient, *, accounts: Iterable[str], accept: Accept) -> None:
        self._client = client
        self._accounts = frozenset(accounts)
        self._accept = accept
        self._pace = Pace()
        self._streams: dict[tuple[str, str], Bytestream] = {}
        self._running: set[asyncio.Task[None]] = set()
        client.register_handler(Callback("Bytestreams", _FromMembers(self._accounts), self._heard))
        client.add_event_handler("session_start", self._session_began)

    async def open(self, address: str) -> socket.socket:
        """Return one end of a new stream to the client with the full JID ``address``.  Raises :class:`OSError`."""
        try:
            peer = JID(address)
        except InvalidJID:
            raise OSError(errno.EINVAL, "this is no JID") from None
        if peer.bare not in self._accounts or not peer.resource:
            raise PermissionError(errno.EACCES, "that account is not a member")
        if peer.full == self._client.boundjid.full:
            raise OSError("that is this device itself")
        if len(self._streams) >= MAX_STREAMS:
            raise OSError("too many streams are open")
        stream = self._stream(peer.full, secrets.token_hex(8), BLOCK)
        try:
            await self._client.request(peer.full, "set", stream.opening(), within=PATIENCE)
        except BaseException as error:
            self._streams.pop((peer.full, stream.sid), None)
            stream.discard()
            if isinstance(error, IqError):
                raise ConnectionRefusedError(f"its client refuses a stream ({error.condition})") from None
            if isinstance(error, IqTimeout):
                raise TimeoutError from None
            raise
        self._run(peer.full, stream)
        return stream.end

    def streams(self) -> int:
        """Return the number of streams that are open."""
        return len(self._streams)

    async def stop(self) -> None:
        """End all streams; the connection is gone or about to be."""
        for stream in self._streams.values():
            stream.lose()
        await asyncio.gather(*self._running, return_exceptions=True)

    # -- what arrives --------------------------------------------------------------------------

    def _heard(self, iq: StanzaBase) -> None:
        assert isinstance(iq, Iq)  # noqa: S101 - the matcher sees to it
        request, peer = iq.xml[0], str(iq["from"])
        try:
            match request.tag.removeprefix(f"{{{IBB}}}"):
                case "open":
                    self._opened(peer, request)
                case "data":
                    self._known(peer, request).take(request, partial(_answer, iq))
                    return  # answered when it has been passed on
                case "close":
                    self._known(peer, request).close()
                case _:
                    raise BadBlock("bad-request")
        except BadBlock as bad:
            _answer(iq, refusal=bad.condition)
        else:
            _answer(iq)

    def _opened(self, peer: str, request: ET.Element) -> None:
        sid, size = request.get("sid", ""), request.get("block-size", "")
        if not 0 < len(sid) <= _MAX_SID or not (size.isascii() and size.isdigit() and len(size) < 6):
            raise BadBlock("bad-request")
        if request.get("stanza", "iq") != "iq" or (peer, sid) in self._streams:
            raise BadBlock("not-acceptable")
        if len(self._streams) >= MAX_STREAMS or not 0 < int(size) <= MAX_BLOCK:
            raise BadBlock("resource-constraint")
        stream = self._stream(peer, sid, int(size))
        self._run(peer, stream)
        self._accept(stream.end, peer)

    def _known(self, peer: str, request: ET.Element) -> Bytestream:
        stream = self._streams.get((peer, request.get("sid", "")))
        if stream is None:
            raise BadBlock("item-not-found")
        return stream

    # -- bookkeeping -----------------------------------------------------------------------------

    def _stream(self, peer: str, sid: str, block_size: int) -> Bytestream:
        ask = partial(self._client.request, peer, "set", within=PATIENCE)
        stream = self._streams[peer, sid] = Bytestream(sid, block_size=block_size, ask=ask, pace=self._pace)
        return stream

    def _run(self, peer: str, stream: Bytestream) -> None:
        task = asyncio.create_task(self._carry(peer, stream), name=f"bytestream {stream.sid}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _carry(self, peer: str, stream: Bytestream) -> None:
        log.debug("xmpp: a bytestream with %s begins", peer)
        try:
            await stream.run()
        finally:
            self._streams.pop((peer, stream.sid), None)
            log.debug("xmpp: a bytestream with %s ended", peer)

    def _session_began(self, _: object) -> None:
        # What was sent in a session that could not be resumed may have arrived or not.
        for stream in self._streams.values():
            stream.break_off()


class _FromMembers(MatcherBase):
    """Matches requests about bytestreams, of those who may make them.

    What nothing matches slixmpp answers as a client without bytestreams does.
    """

    def __init__(self, accounts: frozenset[str]) -> None:
        super().__init__(accounts)
        self._accounts = accounts

    def match(self, stanza: StanzaBase) -> bool:
        if not isinstance(stanza, Iq) or stanza["type"] != "set" or len(stanza.xml) != 1:
            return False
        sender = stanza["from"]
        return stanza.xml[0].tag.startswith(f"{{{IBB}}}") and bool(sender.resource) and sender.bare in self._accounts


def _answer(iq: Iq, *, refusal: str = "") -> None:
    reply = iq.reply()  # type: ignore[no-untyped-call]  # untyped in slixmpp 1.17
    if refusal:
        reply["error"]["type"] = "cancel"
        reply["error"]["condition"] = refusal
    reply.send()
