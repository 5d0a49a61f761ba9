"""Serves the metrics over HTTP to whoever reads on the loopback interface, and to nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Awaitable, Callable

from autosync.errors import AutosyncError
from autosync.metrics.exposition import CONTENT_TYPE

log = logging.getLogger(__name__)

MOST_READERS = 16
"""Connections at a time; Prometheus has one."""
MOST_ASKED = 8 * 1024
"""Bytes of a request."""
WITHIN = 5.0
"""Seconds in which a request must be complete, and again an answer taken."""
FRESH = 1.0
"""Seconds for which an answer serves all who ask: however many they are, they cost no more than one."""
_ALLOW = "Allow: GET, HEAD\r\n"

Render = Callable[[], Awaitable[bytes]]


class MetricsServer:
    """Answers ``GET /metrics`` at ``address`` (host and port) with what ``render`` returns."""

    def __init__(self, address: tuple[str, int], render: Render) -> None:
        self._address = address
        self._render = render
        self._server: asyncio.Server | None = None
        self._readers: set[asyncio.Task[None]] = set()
        self._rendered: asyncio.Future[bytes] | None = None
        self._rendered_at = 0.0

    async def start(self) -> None:
        """Listen.  Raises :class:`AutosyncError` if the address is taken."""
        host, port = self._address
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=MOST_ASKED)
        except OSError as error:
            raise AutosyncError(
                f"metrics: {host} port {port} cannot be listened at: {error.strerror}",
                hint="Give another port in `metrics`, or end the program that has this one (`ss -ltnp` shows it).",
            ) from error
        log.info("metrics are at http://%s/metrics", f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    async def stop(self) -> None:
        """Serve no more."""
        if self._server is None:
            return
        self._server.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        if self._rendered is not None:
            self._rendered.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (we run in one)
        if len(self._readers) >= MOST_READERS:
            writer.transport.abort()
            return
        self._readers.add(task)
        try:
            async with asyncio.timeout(WITHIN):
                request = await reader.readuntil(b"\r\n\r\n")
            answer = await self._answer(request)
            async with asyncio.timeout(WITHIN):
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except asyncio.LimitOverrunError:
            writer.write(_response("431 Request Header Fields Too Large"))
        except (asyncio.IncompleteReadError, TimeoutError, OSError, asyncio.CancelledError):
            # Gone, or too slow, or the agent stops: what is not taken by now is not kept for anybody.
            writer.transport.abort()
        finally:
            self._readers.discard(task)
            with contextlib.suppress(RuntimeError):
                writer.close()

    async def _answer(self, request: bytes) -> bytes:
        first, *headers = request.decode("latin-1").split("\r\n")
        method, _, rest = first.partition(" ")
        target = rest.partition(" ")[0].partition("?")[0]
        if not rest.endswith((" HTTP/1.0", " HTTP/1.1")):
            return _response("400 Bad Request")
        if not all(_is_own(h.partition(":")[2].strip()) for h in headers if h.lower().startswith("host:")):
            # A page in the user's browser, whose name was made to lead here (DNS rebinding).
            return _response("421 Misdirected Request")
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", extra=_ALLOW)
        if target != "/metrics":
            return _response("404 Not Found", b"The metrics are at /metrics.\n")
        try:
            body = await self._fresh()
        except AutosyncError as error:
            return _response("503 Service Unavailable", f"{error.title}\n".encode())
        except Exception:
            log.exception("the metrics cannot be told")
            return _response("500 Internal Server Error", b"The agent's log has the details.\n")
        return _response("200 OK", body, kind=CONTENT_TYPE, head=method == "HEAD")

    async def _fresh(self) -> bytes:
        """Return what is not older than :data:`FRESH`; those who ask at the same time get the same."""
        now = asyncio.get_running_loop().time()
        if self._rendered is None or (self._rendered.done() and now - self._rendered_at > FRESH):
            self._rendered, self._rendered_at = asyncio.ensure_future(self._render()), now
        return await asyncio.shield(self._rendered)


def _response(
    status: str, body: bytes = b"", *, kind: str = "text/plain; charset=utf-8", extra: str = "", head: bool = False
) -> bytes:
    body = body or f"{status[4:]}\n".encode()
    lines = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return lines.encode("ascii") + (b"" if head else body)


def _is_own(host: str) -> bool:
    """Return whether what a reader calls this server is an address of the loopback interface, or ``localhost``."""
    name = host[: host.rfind("]") + 1].strip("[]") if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
