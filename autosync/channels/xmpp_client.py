"""The connection to one XMPP account: logs in safely, resumes, and tells why it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal, NoReturn

from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError, XMPPError
from slixmpp.stanza import StreamFeatures
from slixmpp.stanza.stream_error import StreamError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath
from slixmpp.xmlstream.stanzabase import StanzaBase

from autosync.channels import xmpp_causes as causes
from autosync.channels.xmpp_element import EVENT
from autosync.channels.xmpp_resumption import DEAF
from autosync.channels.xmpp_resumption import NAME as RESUMPTION
from autosync.errors import AutosyncError

# Without this list slixmpp answers a refused SCRAM login with PLAIN: the password itself,
# to a server that has just failed to show that it knows it.
SCRAM = frozenset(f"SCRAM-SHA-{size}{plus}" for size in (1, 256, 512) for plus in ("", "-PLUS"))

# Where TLS begins with the first byte (XEP-0368); anywhere else STARTTLS is expected.
DIRECT_TLS_PORTS = frozenset({443, 5223})

_TIME = "urn:xmpp:time"

# slixmpp logs with traceback what is reported here as a cause.
if logging.getLogger("slixmpp").level == logging.NOTSET:
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL)


class Trust:
    """How a server is verified: by ``ca_file`` alone if given, else by the system's authorities.

    Raises ``OSError`` or ``ssl.SSLError`` if the file cannot be used.
    """

    def __init__(self, ca_file: str | None) -> None:
        self.ca_file = ca_file
        self.context = ssl.create_default_context(cafile=ca_file)
        if ca_file is not None:
            # A server's own certificate is a sufficient pin, whoever issued it and however bare it is.
            self.context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT


class XmppClient(ClientXMPP):
    """One account's connection: :meth:`log_in`, use it until :attr:`ended`, log in again or :meth:`close`.

    ``event_received`` gets the XML of each message that carries a pubsub event.
    ``ended`` is done once the connection is gone; its exception says why.  ``server_name`` is
    the name of the server for the user, with the port if it was given.
    """

    ended: asyncio.Future[NoReturn]

    def __init__(self, jid: JID, trust: Trust, *, event_received: Callable[[ET.Element], None]) -> None:
        super().__init__(
            jid, "", plugin_config={"feature_mechanisms": {"use_mechs": set(SCRAM)}}, ssl_context=trust.context
        )
        self._ca_file = trust.ca_file
        self.server_name = str(jid.domain)
        self._negotiating: set[asyncio.Task[Any]] = set()
        self._attempt: asyncio.Future[Any] | None = None
        self._patience: asyncio.Timeout | None = None
        self._allowed = 0.0
        self._began: asyncio.Future[bool]
        self._connect_errors: list[object]
        self._login_error: str | None
        self._stream_error: tuple[str, str]
        self._given_up: AutosyncError | None
        self._expect()
        # slixmpp's defaults let every stranger see when this account is online.
        self.roster.auto_authorize = None  # type: ignore[assignment]  # None: the user's own client decides
        self.roster.auto_subscribe = False
        self.register_plugin(RESUMPTION)
        self.register_handler(
            Callback(
                "Announcements",
                MatchXPath(f"{{jabber:client}}message/{{{EVENT}}}event"),
                lambda message: event_received(message.xml),
            )
        )
        for name, hear in (
            ("session_start", self._session_began),
            ("session_resumed", lambda _: self._begin(resumed=True)),
            (DEAF, lambda patience: self.give_up(causes.silent(self.server_name, patience))),
            ("connection_failed", self._address_failed),
            ("reconnect_delay", self._all_addresses_failed),
            ("ssl_invalid_chain", self._tls_failed),
            ("failed_auth", self._login_failed),
            ("failed_all_auth", self._every_login_failed),
            ("disconnected", self._disconnected),
        ):
            self.add_event_handler(name, hear)

    @property
    def resumable(self) -> bool:
        """Whether nothing of the last connection is left but what resuming it needs (XEP-0198)."""
        return self.transport is None and not self.is_connecting()

    async def log_in(
        self, password: str, *, host: str | None, port: int | None, within: float, doubt: float = 5
    ) -> bool:
        """Connect and log in; return whether the former session goes on.

        Without ``host`` and ``port`` the server is found through DNS SRV records.  Raises
        what :attr:`ended` would be, at the latest after ``within`` seconds.  The server has ``doubt``
        seconds to show that it hears us in the former session; the next login begins a new one then.
        """
        await self._end_negotiations()
        self._expect()
        self._allowed = within
        self.plugin[RESUMPTION].patience = doubt  # type: ignore[literal-required]  # slixmpp lists its own alone
        self.password = password
        if host or port:
            port = port or self.default_port
            self.enable_direct_tls, self.enable_starttls = port in DIRECT_TLS_PORTS, port not in DIRECT_TLS_PORTS
            host = host or str(self.requested_jid.domain)
            self.server_name = f"{host}:{port}"
            self._attempt = self.connect(host, port)
        else:
            self._attempt = self.connect()
        outcomes: set[asyncio.Future[Any]] = {self._began, self.ended}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within) as self._patience:
                await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
        self._patience = None
        if not (self._began.done() or self.ended.done()):
            self.cancel_connection_attempt()
            self._end(causes.login_stuck(self.server_name, self._allowed))
        if self.ended.done():
            self.ended.result()
        return self._began.result()

    def hurry(self, *, within: float) -> None:
        """Let a login that is under way take ``within`` more seconds at most."""
        if self._patience is not None and not self._patience.expired():
            soon, until = asyncio.get_running_loop().time() + within, self._patience.when()
            if until is None or soon < until:
                self._patience.reschedule(soon)
                self._allowed = within

    def give_up(self, error: AutosyncError) -> None:
        """Cut the connection because of ``error``, which then is why it :attr:`ended`."""
        self._given_up = self._given_up or error
        self.abort()

    async def ask(self, to: str, kind: Literal["get", "set"], query: ET.Element, *, within: float) -> ET.Element:
        """Return the answer to an IQ (RFC 6120, section 8.2.3).

        Raises slixmpp's ``IqError`` if it is an error, ``IqTimeout`` after ``within`` seconds.
        """
        answer = await self.request(to, kind, query, within=within)
        xml: ET.Element = answer.xml
        return xml

    def request(
        self, to: str, kind: Literal["get", "set"], query: ET.Element, *, within: float
    ) -> asyncio.Future[StanzaBase]:
        """Send an IQ at once and return what will be the answer to it, or the errors of :meth:`ask`."""
        request = self.make_iq(ito=to, itype=kind)
        request.append(query)
        answer: asyncio.Future[StanzaBase] = request.send(timeout=within)  # type: ignore[no-untyped-call]  # untyped in slixmpp 1.17
        return answer

    async def ping(self, *, within: float) -> None:
        """Return once the server has answered (XEP-0199).  Raises slixmpp's ``IqTimeout``."""
        with contextlib.suppress(IqError):  # to refuse is to answer
            await self.ask(str(self.boundjid.domain), "get", ET.Element("{urn:xmpp:ping}ping"), within=within)

    async def server_time(self, *, within: float) -> datetime | None:
        """Return what the server's clock says, ``None`` if it does not tell (XEP-0202)."""
        try:
            said = await self.ask(str(self.boundjid.domain), "get", ET.Element(f"{{{_TIME}}}time"), within=within)
            return datetime.fromisoformat(said.findtext(f"{{{_TIME}}}time/{{{_TIME}}}utc", "").strip())
        except (XMPPError, ValueError):
            return None

    async def close(self, *, within: float) -> None:
        """Say good-bye if there is a session, and end every task and timer.

        The client cannot be used again.
        """
        if self.sessionstarted and self.transport is not None:
            await asyncio.wait({self.disconnect(within, ignore_send_queue=True)}, timeout=2 * within)
        gone = self.disconnected
        self.cancel_connection_attempt()
        self.abort()
        if self.transport is not None:
            await asyncio.wait({gone}, timeout=0.1)
        await self._end_negotiations()
        for timer in self.scheduled_events.values():
            timer.cancel()
        self.scheduled_events.clear()
        if self._run_out_filters is not None:  # has no public end but garbage collection
            self._run_out_filters.cancel()
            await asyncio.wait({self._run_out_filters})

    # -- slixmpp, overridden ---------------------------------------------------------------

    async def _handle_stream_features(self, features: StreamFeatures) -> bool | None:
        with self._negotiation():
            return await super()._handle_stream_features(features)

    async def start_tls(self) -> bool:
        """Encrypt the stream (RFC 6120, section 5)."""
        with self._negotiation():
            if self.transport is None or self.transport.is_closing():
                return False  # asyncio would never tell what is built on it now that it ended
            return await super().start_tls()

    def _handle_stream_error(self, error: StreamError) -> None:
        """Remember the cause.

        slixmpp would follow ``see-other-host`` here, which anyone between us and the server
        can send before TLS begins, and would then accept *that* host's certificate.
        """
        self._stream_error = (str(error["condition"]), str(error["text"]))
        self.abort()

    # -- what slixmpp tells ------------------------------------------------------------------

    def _session_began(self, _: object) -> None:
        encrypted = self.transport is not None and self.transport.get_extra_info("ssl_object") is not None
        if not (encrypted and self.authenticated):
            # slixmpp takes the server's word for it when no TLS or login is asked for.
            self.give_up(causes.not_encrypted(self.server_name))
        elif self.boundjid.bare != self.requested_jid.bare:
            self.give_up(causes.resource_refused(self.requested_jid.full))
        else:
            self._begin(resumed=False)

    def _address_failed(self, error: object) -> None:
        self._connect_errors.append(error)

    def _all_addresses_failed(self, _: object) -> None:
        self.cancel_connection_attempt()  # when to try again is decided elsewhere
        self._end(causes.no_connection(self.server_name, self._connect_errors, ca_file=self._ca_file))

    def _tls_failed(self, error: ssl.SSLError) -> None:
        self._end(causes.not_trusted(self.server_name, error, ca_file=self._ca_file))

    def _login_failed(self, failure: StanzaBase) -> None:
        self._login_error = str(failure["condition"])

    def _every_login_failed(self, _: object) -> None:
        # slixmpp closes the stream next.
        if self.transport is None or self.transport.get_extra_info("ssl_object") is None:
            self._given_up = causes.not_encrypted(self.server_name)
        elif self._login_error is None:
            self._given_up = causes.no_safe_login(self.server_name)
        else:
            self._given_up = causes.login_refused(self.requested_jid.bare, self._login_error)

    def _disconnected(self, reason: object) -> None:
        if isinstance(reason, ssl.SSLError) and not self._began.done():
            self._tls_failed(reason)
        self._end(
            self._given_up
            or causes.connection_ended(self.server_name, self.requested_jid.full, reason, *self._stream_error)
        )

    # -- bookkeeping ---------------------------------------------------------------------------

    def _expect(self) -> None:
        loop = asyncio.get_running_loop()
        self._began = loop.create_future()
        self.ended = loop.create_future()
        self._connect_errors = []
        self._login_error = None
        self._stream_error = ("", "")
        self._given_up = None

    def _begin(self, *, resumed: bool) -> None:
        if not self._began.done():
            self._began.set_result(resumed)

    def _end(self, error: AutosyncError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
            self.ended.exception()  # not to be reported as unnoticed if nobody asks

    @contextlib.contextmanager
    def _negotiation(self) -> Iterator[None]:
        """Remember the running task, which may otherwise wait for a dead connection long after it."""
        task = asyncio.current_task()
        if task is not None:
            self._negotiating.add(task)
            task.add_done_callback(self._negotiating.discard)
        yield

    async def _end_negotiations(self) -> None:
        tasks: list[asyncio.Future[Any]] = [*self._negotiating]
        if self._attempt is not None:
            tasks.append(self._attempt)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
