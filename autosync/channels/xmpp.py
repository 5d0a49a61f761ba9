"""The channel that carries announcements through an XMPP account."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from slixmpp import JID
from slixmpp.jid import InvalidJID
from slixmpp.util.sasl.client import saslprep
from slixmpp.util.stringprep_profiles import StringPrepError

from autosync.channels import xmpp_causes as causes
from autosync.channels.xmpp_client import Trust, XmppClient
from autosync.channels.xmpp_element import MAX_SEALED, NAMESPACE, Item, is_name
from autosync.channels.xmpp_inbox import Inbox
from autosync.channels.xmpp_relay import Accept, Relay
from autosync.channels.xmpp_session import Party, Session, XmppTiming
from autosync.core.backoff import Backoff
from autosync.errors import AutosyncError, ConfigError, Refused, TooLarge, TransientError, Unreachable
from autosync.ports import ChannelListener, ChannelStatus

__all__ = ["LANE", "XmppChannel", "XmppSettings", "XmppTiming"]

LANE = "xmpp"
_EXAMPLE = "Write it like me@example.org."
_SERVICE_EXAMPLE = "Write it like pubsub.example.org."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class XmppSettings:
    """An account and who takes part.

    ``jid`` may name a resource, else ``device`` is it.  ``password`` is called for a login,
    in a thread of its own; it may block, and raise :class:`AutosyncError`.  With ``ca_file``
    only what that PEM file holds is trusted.  ``members`` are the bare JIDs of other
    accounts: each account keeps its announcements in a node of its own, lets the others
    read it, and listens to theirs.  With ``service``, the JID of a pubsub service, all of them use
    one node there instead; ``node`` tells it from those of other teams on that service.
    """

    jid: str
    password: Callable[[], str]
    device: str
    host: str | None = None
    port: int | None = None
    ca_file: str | None = None
    members: tuple[str, ...] = ()
    service: str | None = None
    node: str | None = None


class XmppChannel:
    """A :class:`autosync.ports.Channel` through one XMPP account.

    ``wanted`` says of a workspace's tag whether this device has it: what is said of others is let go
    before anything is done with it.  Raises :class:`ConfigError` for a JID that is none.
    """

    kind = LANE

    def __init__(
        self,
        settings: XmppSettings,
        listener: ChannelListener,
        *,
        timing: XmppTiming | None = None,
        wanted: Callable[[str], bool] = lambda _tag: True,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._timing = timing or XmppTiming()
        account = _parse(settings.jid, "xmpp.jid")
        self._jid = account if account.resource else _parse(f"{account.bare}/{settings.device}", "device")
        members = {_parse(member, "xmpp.members").bare for member in settings.members} - {account.bare}
        self._members = sorted(members)
        self._party = Party(
            base=NAMESPACE if settings.node is None else f"{NAMESPACE}@{settings.node}",
            members=tuple(self._members),
            service=None if settings.service is None else _parse_service(settings.service),
        )
        # ejabberd lets nobody replace what another account has published: a device may come back with another one.
        self._mark = f".{hashlib.sha256(account.bare.encode()).hexdigest()[:8]}" if settings.service else ""
        self._inbox = Inbox(
            self._party.bases(account.bare), deliver=self._deliver, node_deleted=self._node_deleted, wanted=wanted
        )
        self._supervisor: asyncio.Task[None] | None = None
        self._client: XmppClient | None = None
        self._relay: Relay | None = None
        self.accept: Accept | None = None
        """Takes the bytestreams that members open; without it there are none."""
        self._session: Session | None = None
        self._password: str | None = None
        self._refused: dict[str, str] = {}
        """The slots of which the server did not take what was said last, and what it said."""
        self._nudged = asyncio.Event()
        self._proved = False
        """Whether the server has shown once that it is the account's."""
        self._state = "connecting"
        self._detail = f"Connecting to {account.domain}."

    # -- the port --------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to connect; returns at once, keeps trying until :meth:`stop`."""
        self._supervisor = asyncio.create_task(self._keep_connected(), name="xmpp")

    async def stop(self) -> None:
        """Say good-bye and close within a second."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        self._become("offline", "Stopped.")

    async def publish(self, slot: str, workspace_tag: str, sealed: bytes) -> None:
        """Replace what this device last said in ``slot`` and tell all.

        Returns once the server has taken it, or a newer one of the slot.  Raises
        :class:`Unreachable` when not online, :class:`autosync.errors.Refused` if the server
        says no, and :class:`TooLarge` for more than 64 KB.
        """
        if not (is_name(slot) and is_name(workspace_tag)):
            raise ValueError(f"slot {slot!r} and workspace tag {workspace_tag!r} must be visible ASCII")
        if len(sealed) > MAX_SEALED:
            raise TooLarge(
                f"An announcement of {len(sealed)} bytes is too large for XMPP, which carries {MAX_SEALED}",
                hint="Announce it without its content; the others fetch that from this device or the hub.",
            )
        if self._session is None or self._state != "online":
            raise Unreachable(f"Not connected to the XMPP server {self._jid.domain}", hint=self._detail)
        try:
            await self._session.publish(Item(slot=slot + self._mark, workspace_tag=workspace_tag, sealed=sealed))
        except Refused as refused:
            self._refused[slot] = refused.title
            raise
        self._refused.pop(slot, None)

    def nudge(self) -> None:
        """As :meth:`autosync.ports.Channel.nudge`."""
        self._nudged.set()
        if self._session is not None:
            self._session.doubt()
        elif self._client is not None:
            self._client.hurry(within=self._timing.doubt)

    def status(self) -> ChannelStatus:
        """Return the state now."""
        detail = self._detail
        if self._state == "online" and self._session is not None and self._session.unheard:
            detail += f" Not (yet) allowed to listen to {', '.join(sorted(self._session.unheard))}."
        if self._state == "online" and self._session is not None and self._session.crowded:
            detail += " Its nodes are full: who was silent for longest is forgotten there."
        if self._state == "online" and self._refused:
            detail += f" {next(iter(self._refused.values()))}; the other channels and the hub have to do."
        return ChannelStatus(kind=LANE, state=self._state, detail=detail, dropped=dict(self._inbox.dropped))

    # -- bytestreams -------------------------------------------------------------------------

    @property
    def address(self) -> str | None:
        """The full JID at which members can open a bytestream to this device now."""
        if self._relay is None or self._client is None or self._state != "online":
            return None
        return str(self._client.boundjid.full)

    async def connect(self, address: str) -> socket.socket:
        """Return one end of a bytestream to the device with the full JID ``address``.  Raises :class:`OSError`."""
        if self._relay is None or self._state != "online":
            raise OSError(f"not connected to {self._jid.domain}")
        return await self._relay.open(address)

    # -- connecting --------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        timing = self._timing
        backoff = Backoff(timing.retry_base, timing.retry_cap)
        clock = asyncio.get_running_loop().time
        try:
            while True:
                began = clock()
                self._nudged.clear()
                cause = await self._connect()
                if self._proved and isinstance(cause, causes.Untrusted) and not isinstance(cause, causes.OutOfDate):
                    cause = causes.other_machine(self._server_name(), cause)
                passes = isinstance(cause, TransientError)
                self._become("offline" if passes else "failed", f"{cause.title}. {cause.hint}")
                await self._close_client(unless_resumable=True)
                if clock() - began > timing.stable:
                    backoff.reset()
                soon = passes or isinstance(cause, (causes.Untrusted, causes.NotAdmitted))
                if not soon:
                    await asyncio.sleep(timing.refused_retry)  # whatever the networks do: it did answer
                elif await self._nudge_within(backoff.next(random.random())):  # noqa: S311
                    backoff.reset()
        finally:
            await self._close_client()

    async def _nudge_within(self, seconds: float) -> bool:
        """Wait, and return whether a nudge came during the last attempt or cut the wait short."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        return self._nudged.is_set()

    async def _connect(self) -> AutosyncError:
        """Log in and use the session until it ends; return why it did."""
        try:
            # Asked for once per login and not per attempt to reach the server: a person may have to answer.
            self._password = self._password or await self._ask_password()
            self._client = self._client or self._new_client()
            await self._use(self._client, self._password)
        except AutosyncError as error:
            if isinstance(error, Refused):
                self._password = None
            return error
        except Exception:
            log.exception("xmpp: a bug ended the connection")
            return AutosyncError("The XMPP connection ended by a bug", hint="Please report what the log says.")

    async def _use(self, client: XmppClient, password: str) -> NoReturn:
        settings, timing = self._settings, self._timing
        await client.log_in(
            password, host=settings.host, port=settings.port, within=timing.login_timeout, doubt=timing.doubt
        )
        self._password = None
        self._session = Session(client, self._inbox, party=self._party, timing=timing)
        try:
            await self._session.run(self._caught_up)
        finally:
            self._session = None

    def _new_client(self) -> XmppClient:
        ca_file = self._settings.ca_file
        try:
            trust = Trust(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"The file {ca_file} (xmpp.ca-file) cannot be used: {error.strerror or error}",
                hint="It must be a readable PEM file with the certificate of the server or of its authority.",
            ) from error
        client = XmppClient(self._jid, trust, event_received=self._inbox.take_event)
        if self.accept is not None:
            self._relay = Relay(client, accounts={self._jid.bare, *self._members}, accept=self.accept)
        return client

    async def _close_client(self, *, unless_resumable: bool = False) -> None:
        client = self._client
        if client is not None and not (unless_resumable and client.resumable):
            if self._relay is not None:
                await self._relay.stop()
                self._relay = None
            await client.close(within=0.4)
            self._client = None  # not before: who is cancelled here closes it once more

    async def _ask_password(self) -> str:
        """Return the password, asked for in a daemon thread: an unanswered prompt must not hold up the exit."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def settle(password: str, error: Exception | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(password)
            else:
                answer.set_exception(error)

        def ask() -> None:
            password, failure = "", None
            try:
                password = self._settings.password()
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, password, failure)

        threading.Thread(target=ask, name="xmpp password", daemon=True).start()
        password = await answer
        try:
            saslprep(password)
        except StringPrepError:
            raise ConfigError(
                f"The password of {self._jid.bare} holds a character that XMPP does not allow",
                hint="Look at what xmpp.password-command prints; control characters are the usual cause.",
            ) from None
        return password

    async def server_time(self, *, within: float) -> datetime | None:
        """As :meth:`autosync.ports.Timed.server_time`."""
        return await self._client.server_time(within=within) if self._client is not None else None

    # -- what happens in a session -------------------------------------------------------------

    def _server_name(self) -> str:
        return self._client.server_name if self._client is not None else str(self._jid.domain)

    def _caught_up(self) -> None:
        self._proved = True
        self._refused.clear()
        self._become("online", f"Connected to {self._jid.domain} as {self._jid.full}.")
        self._listener.catch_up_done(LANE)
        self._listener.channel_ready(LANE)

    def _deliver(self, item: Item) -> None:
        self._listener.sealed_received(item.workspace_tag, item.sealed, LANE)

    def _node_deleted(self, owner: str) -> None:
        # Its readers and subscribers went with it: begin again with everything.
        if self._client is not None:
            self._client.give_up(causes.node_deleted(owner))

    def _become(self, state: str, detail: str) -> None:
        if (state, detail) != (self._state, self._detail):
            log.info("xmpp: %s -> %s (%s)", self._state, state, detail)
        self._state, self._detail = state, detail


def _parse(text: str, key: str) -> JID:
    """Return ``text`` as a JID with an account; ``key`` is where the user wrote it."""
    try:
        jid = JID(text)
    except InvalidJID as error:
        raise ConfigError(f"{key}: {text!r} cannot be (part of) an XMPP address ({error})", hint=_EXAMPLE) from error
    if not (jid.user and jid.domain):
        raise ConfigError(f"{key}: {text!r} is no XMPP address", hint=_EXAMPLE)
    return jid


def _parse_service(text: str) -> str:
    """Return ``text`` as the JID of a service: a domain, or an account that is one."""
    try:
        jid = JID(text)
    except InvalidJID as error:
        raise ConfigError(
            f"xmpp.service: {text!r} cannot be an XMPP address ({error})", hint=_SERVICE_EXAMPLE
        ) from error
    if not jid.domain or jid.resource:
        raise ConfigError(f"xmpp.service: {text!r} is no address of a service", hint=_SERVICE_EXAMPLE)
    return jid.bare
