"""Metrics: how they are written, and a server that a stranger on the loopback interface can only read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from autosync.answers.metrics import Metrics
from autosync.config import parse
from autosync.errors import AutosyncError, ConfigError, TransientError
from autosync.metrics import serving
from autosync.metrics.exposition import Family, write
from autosync.metrics.serving import MOST_ASKED, MOST_READERS, MetricsServer
from tests import figures
from tests.ports import free_ports
from tests.waiting import PATIENCE

HOSTILE = ['a"b', "a\\b", "a\\", 'a\nautosync_up{x="1"} 7', "a\\n", "a}b{", "é漢", "\u2028", "\r", "\x1b[2J", "\x00"]


def test_names_arrive_as_they_are_and_make_up_nothing() -> None:
    family = Family("autosync_x_total", "counter", "A text with \\ and\na second line.")
    for number, name in enumerate(HOSTILE):
        family.add(number, {"workspace": name, "device": "d"})
    (parsed,) = text_string_to_metric_families(write([family]).decode())
    shown = [c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for name in HOSTILE for c in name]
    assert "".join(sample.labels["workspace"] for sample in parsed.samples) == "".join(shown)
    assert [sample.value for sample in parsed.samples] == list(range(len(HOSTILE)))
    assert (parsed.name, parsed.type) == ("autosync_x", "counter")
    figures.record("bad inputs refused", len(HOSTILE))


def test_what_is_no_text_is_shown() -> None:
    family = Family("autosync_x", "gauge", "X.")
    family.add(1, {"workspace": "caf\udce9"})
    assert write([family]).decode().splitlines()[2] == 'autosync_x{workspace="caf\\\\udce9"} 1'


@pytest.mark.parametrize(
    ("value", "written"), [(True, "1"), (0, "0"), (1 << 60, "1.152921504606847e+18"), (0.25, "0.25"), (1e300, "1e+300")]
)
def test_numbers(value: float, written: str) -> None:
    family = Family("autosync_x", "gauge", "X.")
    family.add(value)
    assert write([family]).decode().splitlines()[2] == f"autosync_x {written}"


def test_what_is_not_known_is_left_out_and_nothing_comes_twice() -> None:
    family, empty = Family("autosync_x", "gauge", "X."), Family("autosync_y", "gauge", "Y.")
    family.add(1, {"a": "b"})
    family.add(2, {"a": "b"})
    empty.add(None)
    assert write([family, empty]) == b'# HELP autosync_x X.\n# TYPE autosync_x gauge\nautosync_x{a="b"} 2\n'


# -- the configuration -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("127.0.0.1:9847", ("127.0.0.1", 9847)),
        ("127.8.9.1:1", ("127.8.9.1", 1)),
        ("localhost:9847", ("127.0.0.1", 9847)),
        ("'[::1]:9847'", ("::1", 9847)),
        ("none", None),
    ],
)
def test_an_address_of_this_machine_alone(written: str, address: object) -> None:
    assert parse(f"metrics: {written}\n", "/c", {"HOME": "/h"}).metrics == address


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("0.0.0.0:9847", "0.0.0.0 is not an address of the loopback interface"),
        ("'*:9847'", "* is not an address of the loopback interface"),
        ("'[::]:9847'", "[::] is not an address of the loopback interface"),
        ("192.168.1.5:9847", "192.168.1.5 is not an address of the loopback interface"),
        ("localhost.example.org:9847", "localhost.example.org is not an address of the loopback interface"),
        ("127.0.0.1", "must be an address with a port from 1 to 65535"),
        ("9847", "must be"),
        ("127.0.0.1:0", "must be an address with a port from 1 to 65535"),
        ("127.0.0.1:99999", "must be an address with a port from 1 to 65535"),
        ("::1:9847", "must be an address with a port from 1 to 65535"),
        ("true", "must be"),
        ("[127.0.0.1, 9847]", "must be"),
    ],
)
def test_no_other_address(written: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"metrics: {written}\n", "/c", {"HOME": "/h"})
    assert "metrics" in caught.value.title
    assert words in caught.value.title
    figures.record("bad inputs refused", 1)


# -- the server ----------------------------------------------------------------------------------
class Renderer:
    """What is served: counts how often it was asked for."""

    def __init__(self) -> None:
        self.body = b"autosync_x 1\n"
        self.calls = 0
        self.error: Exception | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self) -> bytes:
        self.calls += 1
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return self.body


@pytest.fixture
def renderer() -> Renderer:
    return Renderer()


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
async def server(renderer: Renderer, port: int) -> AsyncIterator[MetricsServer]:
    server = MetricsServer(("127.0.0.1", port), renderer)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "WITHIN", 0.3)


async def ask(port: int, request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return status line, headers and body; empty ones if the server hangs up without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()
    received = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            while chunk := await reader.read(65536):
                received += chunk
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


def get(path: str = "/metrics", host: str = "127.0.0.1:9847") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


async def test_the_metrics_are_read(server: MetricsServer, port: int) -> None:
    status, headers, body = await ask(port, get())
    assert (status, body) == ("HTTP/1.1 200 OK", b"autosync_x 1\n")
    assert headers == {
        "Content-Type": "text/plain; version=0.0.4; charset=utf-8",
        "Content-Length": "13",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
    }
    assert (await ask(port, get("/metrics?x=1", "[::1]:9")))[0] == "HTTP/1.1 200 OK"
    assert (await ask(port, b"GET /metrics HTTP/1.0\r\n\r\n"))[2] == b"autosync_x 1\n"
    status, headers, body = await ask(port, b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (status, headers["Content-Length"], body) == ("HTTP/1.1 200 OK", "13", b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), "404 Not Found"),
        (get("/metrics/../etc/passwd"), "404 Not Found"),
        (get("http://127.0.0.1/metrics"), "404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed"),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (get(host="evil.example.org"), "421 Misdirected Request"),
        (get(host="127.0.0.1.evil.example.org:9847"), "421 Misdirected Request"),
        (get(host="localhost.evil.example.org"), "421 Misdirected Request"),
        (get(host="192.168.1.5"), "421 Misdirected Request"),
        (get(host=""), "421 Misdirected Request"),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.org\r\n\r\n", "421 Misdirected Request"),
        (b"GET /metrics\r\n\r\n", "400 Bad Request"),
        (b"\r\n\r\n", "400 Bad Request"),
        (b"\xff\x00\xfe\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 4 * MOST_ASKED + b"\r\n\r\n", "431 Request Header Fields Too Large"),
        (b"x" * 4 * MOST_ASKED, "431 Request Header Fields Too Large"),
    ],
)
async def test_nothing_else_is_answered(
    server: MetricsServer, port: int, renderer: Renderer, request_: bytes, status: str
) -> None:
    answer, _, body = await ask(port, request_)
    # What was sent in excess may reset the connection before the answer was read.
    assert answer in (f"HTTP/1.1 {status}", *([""] if status.startswith("431") else []))
    assert b"autosync_x" not in body
    assert renderer.calls == 0
    assert (await ask(port, get()))[0] == "HTTP/1.1 200 OK"
    figures.record("bad inputs refused", 1)


async def test_however_many_ask_they_cost_no_more_than_one(
    server: MetricsServer, port: int, renderer: Renderer
) -> None:
    renderer.go_on.clear()
    asking = [asyncio.create_task(ask(port, get())) for _ in range(MOST_READERS)]
    while len(server._readers) < MOST_READERS:  # noqa: ASYNC110 - nothing tells of a connection
        await asyncio.sleep(0.01)
    assert (await ask(port, get()))[0] == ""  # one too many
    renderer.go_on.set()
    assert {answer[2] for answer in await asyncio.gather(*asking)} == {b"autosync_x 1\n"}
    assert renderer.calls == 1


async def test_who_says_nothing_is_not_waited_for(
    server: MetricsServer, port: int, renderer: Renderer, impatient: None
) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_READERS)]
    for _, writer in silent:
        writer.write(b"GET /metrics HTTP/1.1\r\n")
    assert [await reader.read() for reader, _ in silent] == [b""] * MOST_READERS
    for _, writer in silent:
        writer.close()
    assert (await ask(port, get()))[0] == "HTTP/1.1 200 OK"
    assert renderer.calls == 1


async def test_who_does_not_read_is_not_waited_for(
    server: MetricsServer, port: int, renderer: Renderer, impatient: None
) -> None:
    renderer.body = b"x" * 50_000_000
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(slow, get())
        while not server._readers:  # noqa: ASYNC110 - nothing tells of a connection
            await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*server._readers)
    assert (await ask(port, get()))[0] == "HTTP/1.1 200 OK"


async def test_what_goes_wrong_is_no_end(server: MetricsServer, port: int, renderer: Renderer) -> None:
    renderer.error = TransientError("The agent is starting", hint="Wait.")
    status, _, body = await ask(port, get())
    assert (status, body) == ("HTTP/1.1 503 Service Unavailable", b"The agent is starting\n")
    server._rendered = None
    renderer.error = ZeroDivisionError("a bug")
    assert (await ask(port, get()))[0] == "HTTP/1.1 500 Internal Server Error"
    server._rendered = None
    renderer.error = None
    assert (await ask(port, get()))[0] == "HTTP/1.1 200 OK"


async def test_an_address_that_is_taken_is_told(server: MetricsServer, port: int, renderer: Renderer) -> None:
    with pytest.raises(AutosyncError) as caught:
        await MetricsServer(("127.0.0.1", port), renderer).start()
    assert caught.value.title.startswith(f"metrics: 127.0.0.1 port {port} cannot be listened at: ")
    assert "another port" in caught.value.hint


async def test_it_ends_with_readers(renderer: Renderer, port: int) -> None:
    server = MetricsServer(("127.0.0.1", port), renderer)
    await server.start()
    renderer.go_on.clear()
    asking = asyncio.create_task(ask(port, get()))
    while not renderer.calls:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.01)
    await server.stop()
    assert (await asking)[0] == ""


# -- what is told ------------------------------------------------------------------------------
class Store:
    def __init__(self, size: int | OSError) -> None:
        self._size = size

    def size(self) -> int:
        if isinstance(self._size, OSError):
            raise self._size
        return self._size


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def status(**changes: Any) -> dict[str, Any]:
    agent = {"pid": 1, "started": "2026-03-01T12:00:00+00:00", "uptime": 5.0, "rss": None}
    return {"device": "laptop", "agent": agent, "channels": [], "workspaces": [], **changes}


def workspace(name: str, **changes: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(("tree", "snapshot", "hub", "last-sync"))
    nothing: dict[str, Any] = {"conflicts": [], "unreadable": [], "watch": {}, "dropped": {}, "held": {"reasons": {}}}
    return {"name": name, "phase": "idle", "halt": None, "pending": 0, **unknown, **nothing, **changes}


async def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    text = (await metrics.render()).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_an_agent_with_nothing_to_keep(executor: ThreadPoolExecutor) -> None:
    async def ask_status() -> dict[str, Any]:
        return status(channels=[{"kind": "xmpp", "state": "failed", "dropped": {"forged": 3}}])

    found = await samples(Metrics(ask_status, dict, dict, executor))
    assert found["autosync_channel_up", "xmpp"] == 0
    assert found["autosync_channel_state", "xmpp", "failed"] == 1
    assert found["autosync_channel_dropped_total", "xmpp", "forged"] == 3
    assert "process_resident_memory_bytes" not in {name for name, *_ in found}
    # Not a moment that the time of the question plays into: a change of it tells of a new start.
    assert found["process_start_time_seconds",] == 1772366400


async def test_of_what_commands_keep_it_is_not_told_whether_devices_are_in_sync(executor: ThreadPoolExecutor) -> None:
    peer = {"device": "desktop", "id": "d", "state": "unknown", "seen": None}

    async def ask_status() -> dict[str, Any]:
        kept = [workspace("tree", tree="t", peers=[{**peer, "tree": "t"}])]
        return status(workspaces=[*kept, workspace("scripts", tree=None, peers=[{**peer, "tree": None}])])

    found = await samples(Metrics(ask_status, dict, dict, executor))
    assert {key: value for key, value in found.items() if key[0] == "autosync_peer_in_sync"} == {
        ("autosync_peer_in_sync", "tree", "desktop", "d"): 1
    }


async def test_a_store_whose_disk_is_gone_is_left_out(executor: ThreadPoolExecutor) -> None:
    async def ask_status() -> dict[str, Any]:
        return status()

    stores = {"here": Store(4096), "gone": Store(OSError(5, "Input/output error"))}
    carried = {("content", "lan", "in"): 7, ("announcement", "xmpp", "out"): 9}
    found = await samples(Metrics(ask_status, lambda: carried, lambda: stores, executor))
    assert {key: value for key, value in found.items() if "store" in key[0]} == {("autosync_store_bytes", "here"): 4096}
    assert found["autosync_transferred_bytes_total", "content", "lan", "in"] == 7
    assert found["autosync_transferred_bytes_total", "announcement", "xmpp", "out"] == 9
