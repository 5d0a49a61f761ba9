"""An XMPP server that follows a script, for what no real server does."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from pathlib import Path
from types import TracebackType

from tests.edges.listeners import drop
from tests.edges.xmpp_servers import DOMAIN, write_certificate

_HEADER = (
    f"<?xml version='1.0'?><stream:stream from='{DOMAIN}' id='1' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
_STARTTLS = (
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
)
_PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

_BOUND = "<iq type='result' id='{number}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{jid}</jid></bind></iq>"


class ScriptedServer:
    """Answers each stream header with the next of ``answers``; ``heard`` is all that clients sent.

    With ``tls`` it does STARTTLS before the first answer; with ``bind`` it gives out the
    resource that it is then asked for.
    """

    def __init__(self, directory: Path, *answers: str, tls: bool = True, bind: str = "") -> None:
        self.heard = ""
        self.ca_file = str(write_certificate(directory))
        self._answers = answers
        self._bind = bind
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(directory / "both.pem")
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> ScriptedServer:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._serving, return_exceptions=True)
        for writer in self._writers:
            await drop(writer)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        serving = asyncio.create_task(self._connected(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                if self._context is not None:
                    await self._hear(reader, "version='1.0'>")
                    writer.write(f"{_HEADER}{_STARTTLS}".encode())
                    await self._hear(reader, "xmpp-tls")
                    writer.write(_PROCEED.encode())
                    await writer.start_tls(self._context)
                for answer in self._answers:
                    await self._hear(reader, "version='1.0'>")
                    writer.write(f"{_HEADER}{answer}".encode())
                if self._bind:
                    await self._hear(reader, "</iq>")
                    number = re.findall(r"""<iq [^>]*id=["']([^"']+)""", self.heard)[-1]
                    writer.write(_BOUND.format(number=number, jid=self._bind).encode())
                await self._hear(reader, "</stream:stream>")
        finally:
            writer.close()

    async def _hear(self, reader: asyncio.StreamReader, ending: str) -> None:
        text = ""
        try:
            while ending not in text:
                if not (part := await reader.read(4096)):
                    raise EOFError
                text += part.decode()
        finally:
            self.heard += text
