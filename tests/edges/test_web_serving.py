"""The page's server: who is let in, and that nobody else costs it more than a little."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

import pytest

from autosync.errors import AutosyncError
from autosync.web.exchange import HEADERS, Request, Response, json_response, text_response
from autosync.web.gate import LINK_SECONDS, Gate
from autosync.web.serving import BODY_LIMIT, HEAD_LIMIT, Bounds, serving
from tests.figures import record


@dataclass
class Site:
    """A page of one answer behind a gate whose clock is :attr:`now`."""

    now: float = 0.0
    gate: Gate = field(init=False)
    port: int = 0
    asked: list[Request] = field(default_factory=list)
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate = Gate(lambda: self.now)

    async def answer(self, request: Request) -> Response:
        refused = self.gate.check(request)
        if refused is not None:
            return refused
        self.asked.append(request)
        if request.path.endswith("/stream"):
            return Response(status=200, stream=self._stream())
        if request.path.endswith("/flood"):
            return Response(status=200, stream=self._flood())
        if request.path.endswith("/bug"):
            raise ValueError(request.headers["cookie"])
        return json_response({"body": request.body.decode()})

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        yield b"begun"
        self.streaming.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def _flood(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(65536)
        finally:
            self.ended.set()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def enter(self) -> str:
        """Follow a new link; return the cookie."""
        status, headers, _ = await self.get(self.gate.link())
        assert (status, headers["location"]) == (303, self.gate.root)
        return headers["set-cookie"].partition(";")[0]

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return await self.send("GET", path, **headers)

    async def post(self, path: str, body: bytes = b"{}", **headers: str) -> tuple[int, dict[str, str], bytes]:
        kind = {"Content_Type": "application/json", "Content_Length": str(len(body))}
        return await self.send("POST", path, body, **{**kind, **headers})

    async def send(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": self.host, **headers}.items()]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
        return parse(await self.exchange(head.encode("latin-1") + body))

    async def exchange(self, sent: bytes, host: str = "127.0.0.1") -> bytes:
        """Send bytes and return all that comes until the server closes."""
        reader, writer = await asyncio.open_connection(host, self.port)
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(sent)
                await writer.drain()
                return await reader.read()
            return b""
        finally:
            writer.close()


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}, body


@contextlib.asynccontextmanager
async def running(bounds: Bounds | None = None) -> AsyncIterator[Site]:
    site = Site()
    async with serving(site.answer, 0, bounds) as server:
        site.port = server.port
        site.gate.serve_at(server.port)
        yield site


async def test_a_link_lets_in_its_first_follower_alone() -> None:
    async with running() as site:
        link = site.gate.link()
        status, headers, _ = await site.get(link)
        assert status == 303
        cookie, *attributes = headers["set-cookie"].split("; ")
        assert attributes == [f"Path={site.gate.root}", "HttpOnly", "SameSite=Strict"]
        assert (await site.get(site.gate.root, Cookie=cookie))[0] == 200
        for strays in ("theme={dark}; {}", 'a="b; {}', "\xe4[1]; {}; =", "autosync=old; {}"):  # of other ports
            assert (await site.get(site.gate.root, Cookie=strays.replace("{}", cookie)))[0] == 200
        assert (await site.get(link))[0] == 403
        status, headers, _ = await site.get(link, Cookie=cookie)  # who goes back in the browser
        assert (status, headers["location"], "set-cookie" in headers) == (303, site.gate.root, False)
        old = site.gate.link()
        site.now += LINK_SECONDS
        assert (await site.get(old))[0] == 403
        for link in [site.gate.link() for _ in range(40)][:1]:  # so many are not kept
            assert (await site.get(link))[0] == 403


async def test_every_answer_keeps_browsers_from_harm() -> None:
    async with running() as site:
        cookie = await site.enter()
        answers = [
            await site.get(site.gate.root, Cookie=cookie),
            await site.get(site.gate.root),
            await site.get("/"),
            await site.send("DELETE", site.gate.root),
            parse(await site.exchange(b"nonsense\r\n\r\n")),
        ]
        assert [answer[0] for answer in answers] == [200, 403, 404, 405, 400]
        for _, headers, _ in answers:
            assert HEADERS.items() <= {name: headers[name.lower()] for name in HEADERS}.items()
            assert headers["connection"] == "close"
        policy = HEADERS["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert not re.search(r"unsafe|\*|http|data:", policy)


async def test_who_has_no_business_there_gets_nothing() -> None:
    async with running() as site:
        cookie = await site.enter()
        root, own = site.gate.root, f"http://{site.host}"
        known = {"Cookie": cookie}
        refused = [
            # another name that was made to lead here, another port, none, or two at once
            *[
                (await site.get(root, **known, Host=host), 421)
                for host in ("evil.example", "127.0.0.1", "", "127.0.0.1:1")
            ],
            (await site.get(root, **known, Host=f"{site.host}, evil.example"), 421),
            # no cookie, somebody else's, one of many, something that is none
            *[
                (await site.get(root, **headers), 403)
                for headers in (
                    {},
                    {"Cookie": "autosync=guessed"},
                    {"Cookie": "autosync=\xff"},
                    {"Cookie": "\x7f=;;;"},
                    {"Authorization": "Bearer guessed"},
                    {"Authorization": "Bearer "},
                    {"Authorization": site.gate.bearer},
                )
            ],
            # the cookie at another path: what is sent to a server on another port does not know it
            *[
                (await site.get(path, **known), 404)
                for path in (
                    "/",
                    root[:-1],
                    f"/x{root}",
                    root.upper(),
                    f"{root[:-2]}x/",
                    f"/%2e%2e{root}",
                    "//",
                    "/../etc/passwd",
                )
            ],
            # another page, in the same browser
            (await site.get(root, **known, Sec_Fetch_Site="cross-site"), 403),
            (await site.get(root, **known, Sec_Fetch_Site="same-site"), 403),
            (await site.get(root, **known, Origin="http://127.0.0.1:1"), 403),
            *[
                (await site.post(f"{root}ask", **known, **headers), 403)
                for headers in (
                    {},
                    {"Origin": "null"},
                    {"Origin": "http://evil.example"},
                    {"Origin": f"http://localhost:{site.port}"},
                    {"Origin": own, "Sec_Fetch_Site": "cross-site"},
                    {"Origin": f"https://{site.host}"},
                )
            ],
            # what a form can send
            (await site.post(f"{root}ask", **known, Origin=own, Content_Type="text/plain"), 415),
            (await site.send("PUT", root, **known), 405),
            (await site.send("OPTIONS", root, **known), 405),
        ]
        for (status, headers, body), expected in refused:
            assert status == expected
            assert "set-cookie" not in headers and "access-control-allow-origin" not in headers
            assert site.gate.bearer.encode() not in body and site.gate.root.encode() not in body
        assert site.asked == []
        record("bad inputs refused", len(refused))
        assert (await site.post(f"{root}ask", b"[]", **known, Origin=own))[2] == b'{"body": "[]"}'
        bearer = {"Authorization": f"Bearer {site.gate.bearer}"}
        assert (await site.post(f"{root}link", **bearer))[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_it_is_served_on_both_loopback_addresses_and_no_other(host: str) -> None:
    async with running() as site:
        shown = f"[{host}]" if ":" in host else host
        answer = await site.exchange(f"GET / HTTP/1.1\r\nHost: {shown}:{site.port}\r\n\r\n".encode(), host)
        assert parse(answer)[0] == 404
        with socket.create_server(("127.0.0.2", site.port)):  # not every address of the machine
            pass


async def test_what_is_too_large_or_no_request_is_refused() -> None:
    async with running() as site:
        root = site.gate.root
        attempts = {
            413: [
                f"POST {root}ask HTTP/1.1\r\nHost: {site.host}\r\nContent-Length: {BODY_LIMIT + 1}\r\n\r\n".encode(),
                f"POST {root}ask HTTP/1.1\r\nHost: {site.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                + (b"8000\r\n" + bytes(0x8000) + b"\r\n") * 3,
            ],
            431: [
                f"GET {root}{'x' * 2 * HEAD_LIMIT} HTTP/1.1\r\n".encode(),
                b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 9999,
            ],
            400: [
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
                b"GET / HTTP/1.1\r\n\r\n",  # no host
                f"GET / HTTP/1.1\r\nHost: {site.host}\r\nHost: evil.example\r\n\r\n".encode(),
                f"POST / HTTP/1.1\r\nHost: {site.host}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n".encode(),
                f"GET /\0 HTTP/1.1\r\nHost: {site.host}\r\n\r\n".encode(),
                f"GET / HTTP/1.1\r\nHost: {site.host}\r\nA : b\r\n\r\n".encode(),
            ],
        }
        for status, requests in attempts.items():
            for request in requests:
                assert parse(await site.exchange(request))[0] == status, request[:80]
                record("bad inputs refused", 1)
        assert site.asked == []
        assert (await site.get(root, Cookie=await site.enter()))[0] == 200


async def test_who_sends_slowly_is_sent_away() -> None:
    async with running(Bounds(request_within=0.05)) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"GET {site.gate.root} HTTP/1.1\r\nHost: ".encode())
        assert parse(await reader.read())[0] == 408
        writer.close()


async def test_who_takes_nothing_is_sent_away() -> None:
    async with running(Bounds(write_within=0.05)) as site:
        cookie = await site.enter()
        _, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1)
        writer.write(f"GET {site.gate.root}flood HTTP/1.1\r\nHost: {site.host}\r\nCookie: {cookie}\r\n\r\n".encode())
        await site.ended.wait()
        writer.close()


async def test_strangers_keep_nobody_out() -> None:
    async with running(Bounds(connections=4)) as site:
        cookie = await site.enter()
        root = site.gate.root
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(f"GET {root}stream HTTP/1.1\r\nHost: {site.host}\r\nCookie: {cookie}\r\n\r\n".encode())
        await site.streaming.wait()
        silent = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(40)]
        for _ in range(3):
            assert (await site.get(root, Cookie=cookie))[0] == 200
        assert b"begun" in await reader.read(4096)
        assert not site.ended.is_set()
        for _, one in silent:
            one.close()
        writer.close()
        await site.ended.wait()  # a page that is left costs nothing any more


async def test_those_who_are_let_in_are_bounded_too() -> None:
    async with running(Bounds(connections=2)) as site:
        cookie = await site.enter()
        request = f"GET {site.gate.root}stream HTTP/1.1\r\nHost: {site.host}\r\nCookie: {cookie}\r\n\r\n".encode()
        open_ones = []
        for _ in range(2):
            site.streaming.clear()
            _, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(request)
            await site.streaming.wait()
            open_ones.append(writer)
        assert await site.exchange(request) == b""
        for writer in open_ones:
            writer.close()


async def test_a_bug_in_an_answer_ends_nothing_and_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as site:
        cookie = await site.enter()
        status, _, body = await site.get(f"{site.gate.root}bug", Cookie=cookie)
        assert (status, cookie.encode() in body) == (500, False)
        assert [r.getMessage() for r in caplog.records if r.name.startswith("autosync")] == ["web: an answer failed"]
        assert (await site.get(site.gate.root, Cookie=cookie))[0] == 200


async def test_a_port_that_is_in_use_is_told() -> None:
    async with running() as site:
        with pytest.raises(AutosyncError, match=f"Port {site.port} cannot be used") as caught:
            async with serving(site.answer, site.port):
                pass
        assert caught.value.hint == "Give another one, or none at all: without --port a free one is taken."


def test_errors_are_told_in_words() -> None:
    refused = text_response(405, "No.", Allow="GET")
    assert (refused.headers["Allow"], refused.body) == ("GET", b"No.\n")
    assert json.loads(json_response({"file": "\udcff"}).body) == {"file": "\udcff"}
