"""Links and those who should have none: strangers, eavesdroppers, members that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.candidates import on_lan
from autosync.errors import Unreachable
from autosync.link import Timing, wire
from autosync.link.hello import HelloRefused, open_hello, secure
from autosync.link.wire import WINDOW, Kind, Outcome, WireError, frame
from autosync.trust.identity import load_or_create_identity
from tests import figures
from tests.edges.link_attackers import close, hello_of, member, relay, rest_of, say_hello
from tests.edges.linked_devices import (
    BLOCK,
    KEY,
    OTHER_KEY,
    PATIENT,
    QUICK,
    WANTED,
    Sink,
    eventually,
    running,
    serving,
)
from tests.edges.listeners import drop, listening
from tests.waiting import PATIENCE

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


# -- strangers ------------------------------------------------------------------------------------
def _clienthello_of() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="autosync")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def _answer_to(address: str, sent: bytes) -> bytes:
    """Return all that the listener answers before it closes the connection."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    received = b""
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionResetError):
            while part := await reader.read(1000):
                received += part
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return received


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0", id="half a length"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="http"),
        pytest.param(_clienthello_of(), id="tls client hello"),
        pytest.param(b"\0\0", id="empty hello"),
        pytest.param(b"\0\x28" + bytes(40), id="garbage"),
        pytest.param(b"\x0f\xff" + bytes(10), id="cut short"),
        pytest.param(b"\x00\x60" + KEY.seal(b"x" * 63, context=b"announcement"), id="a sealed announcement"),
        pytest.param(hello_of().sealed(OTHER_KEY, answers=None), id="hello of another workspace"),
        pytest.param(hello_of().sealed(KEY, answers=bytes(16)), id="an answer"),
    ],
)
async def test_a_stranger_gets_no_byte(tmp_path: Path, sent: bytes) -> None:
    async with running(tmp_path, "laptop", timing=Timing(hello=0.3)) as laptop:
        assert await _answer_to(laptop.address, sent) == b""
        assert laptop.links.dropped == {"stranger": 1}


async def test_a_recorded_hello_is_worth_nothing(tmp_path: Path) -> None:
    async with (
        running(tmp_path, "laptop") as laptop,
        relay(laptop.address) as between,
        running(tmp_path, "desktop") as desktop,
    ):
        desktop.links.learn(KEY.id, None, on_lan([between.address]))
        await eventually(laptop.linked_with)
        recorded = between.first_hello()
        assert await _answer_to(laptop.address, recorded) == b""
        assert laptop.links.dropped == {"replay": 1}
        assert laptop.linked_with() == ["desktop"]
    # A listener that was started again cannot know that it is a replay.  It answers with
    # what only members can read, and TLS needs the private key.
    async with running(tmp_path, "laptop", timing=Timing(hello=0.3)) as laptop:
        answer = await _answer_to(laptop.address, recorded)
        assert len(answer) < 2000
        assert b"laptop" not in answer
        assert laptop.linked_with() == []


async def test_the_wrong_key_never_links(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop") as laptop, running(tmp_path, "eve", key=OTHER_KEY) as eve:
        eve.links.learn(None, None, on_lan([laptop.address]))
        laptop.links.learn(None, None, on_lan([eve.address]))
        await eventually(lambda: laptop.links.dropped["stranger"] and eve.links.dropped["stranger"])
        problem = f"{laptop.address}: it does not know this workspace, or its key is another one"
        await eventually(lambda: [p.problem for p in eve.links.peers(OTHER_KEY.id)] == [problem])
        assert laptop.linked_with() == eve.linked_with() == []


@pytest.mark.parametrize("towards", ["listener", "dialler"])
async def test_a_man_in_the_middle_gets_no_link(tmp_path: Path, towards: str) -> None:
    """He passes the sealed hellos on, then speaks TLS with a certificate of his own."""
    eve = load_or_create_identity(str(tmp_path / "eve"))
    met: asyncio.Queue[str] = asyncio.Queue()
    async with running(tmp_path, "laptop") as laptop:

        async def intercept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            listener = await asyncio.open_connection("127.0.0.1", laptop.links.port)
            try:
                for source, target in ((reader, listener[1]), (listener[0], writer)):
                    length = await source.readexactly(2)
                    target.write(length + await source.readexactly(int.from_bytes(length, "big")))
                    await target.drain()
                met.put_nowait(await spoken_tls((reader, writer), listener))
            finally:
                await drop(listener[1])

        async def spoken_tls(dialler: _Streams, listener: _Streams) -> str:
            to_listener = towards == "listener"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if to_listener else ssl.PROTOCOL_TLS_SERVER)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.load_cert_chain(eve.path)
            victim = listener if to_listener else dialler
            try:
                await victim[1].start_tls(context)
                return repr(await victim[0].read(100))
            except OSError as error:
                return type(error).__name__

        async with listening(intercept) as port, running(tmp_path, "desktop") as desktop:
            desktop.say("secret")
            laptop.say("secret")
            desktop.links.learn(KEY.id, None, on_lan([f"127.0.0.1:{port}"]))
            async with asyncio.timeout(PATIENCE):
                assert await met.get() in ("b''", "SSLError", "SSLCertVerificationError", "ConnectionResetError")
            assert laptop.linked_with() == desktop.linked_with() == []
            assert laptop.workspace.heard.empty()
            assert desktop.workspace.heard.empty()


async def test_a_member_cannot_use_the_certificate_of_another(tmp_path: Path) -> None:
    """He has the workspace key and says hello as the desktop, with its certificate."""
    desktop = load_or_create_identity(str(tmp_path / "desktop"))
    mallory = load_or_create_identity(str(tmp_path / "mallory"))
    async with running(tmp_path, "laptop") as laptop:
        connection, theirs = await say_hello(laptop, hello_of(desktop.device_id("desktop"), desktop.certificate_der))
        with contextlib.suppress(OSError):
            reader, writer = await secure(connection, mallory, theirs, dialled=True, timing=QUICK)
            assert await rest_of(reader) == b""
            writer.close()
            await writer.wait_closed()
        assert laptop.linked_with() == []
        assert laptop.workspace.heard.empty()


async def test_junk_connections_do_not_keep_a_peer_out(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop", timing=Timing(hello=60)) as laptop, contextlib.AsyncExitStack() as junk:
        for n in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", laptop.links.port)
            junk.push_async_callback(close, writer)
            if n % 2:
                writer.write(b"\x01\x00")  # the length of a hello that never comes
        async with running(tmp_path, "desktop") as desktop:
            laptop.say("in spite of it")
            desktop.knows(laptop)
            assert await desktop.hears() == ("laptop", "in spite of it")
        assert laptop.links.dropped["flood"] >= 200 - 64


# -- members that misbehave -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("sent", "broken"),
    [
        (b"\xff\xff\xff\xff\x01", True),
        (frame(Kind.ANNOUNCE, bytes(65537)), True),
        (frame(Kind.FETCH, b"\0"), True),
        (frame(Kind.FETCH, b"\0\0\0\1{}"), True),
        (frame(Kind.FETCH, b"\0\0\0\1" + json.dumps({"want": "--output=x", "have": []}).encode()), True),
        (frame(Kind.FETCH, b"\0\0\0\1" + b"[" * 90_000), True),
        (wire.fetch(1, WANTED, []) * 2, True),
        (frame(Kind.CREDIT, b"\0"), True),
        (frame(Kind.END, b"\0"), True),
        (frame(Kind.DATA, b"\0\0\0\x07data that nobody asked for"), False),
        (frame(Kind.CANCEL, b"\0\0\0\x07"), False),
        (frame(Kind.PONG, b"x" * 1000), False),
        (b"\0\0\0\3\xeeabc", False),
    ],
)
async def test_what_a_member_sends_breaks_at_most_his_link(tmp_path: Path, sent: bytes, broken: bool) -> None:
    async with running(tmp_path, "laptop", timing=PATIENT) as laptop:
        laptop.workspace.answers[WANTED] = serving(b"")
        async with member(laptop, tmp_path) as (reader, writer):
            writer.write(sent)
            writer.write(frame(Kind.ANNOUNCE, b"still here"))
            if broken:
                await rest_of(reader)
                await eventually(lambda: laptop.links.dropped == {"broken frame": 1})
                assert laptop.workspace.heard.empty()
            else:
                assert await laptop.hears() == ("mallory", "still here")
        async with running(tmp_path, "desktop") as desktop:
            desktop.knows(laptop)
            await eventually(laptop.linked_with)


async def test_data_beyond_the_window_ends_the_link(tmp_path: Path) -> None:
    async with running(tmp_path, "laptop", timing=PATIENT) as laptop, member(laptop, tmp_path) as (reader, writer):
        gate = threading.Event()
        mallory = load_or_create_identity(str(tmp_path / "mallory")).device_id("mallory")
        fetching = asyncio.create_task(laptop.fetch(mallory, WANTED, Sink(gate)))
        while (await wire.read_frame(reader))[0] != Kind.FETCH:
            pass
        for _ in range(2 * WINDOW // len(BLOCK)):
            writer.write(wire.chunk(1, BLOCK))
        await rest_of(reader)
        gate.set()
        with pytest.raises(Unreachable, match="mallory: sent more data than it was allowed to send"):
            await fetching


async def test_a_member_that_asks_and_reads_nothing_loses_its_link(tmp_path: Path) -> None:
    """Or what it does not read would fill the memory."""
    async with running(tmp_path, "laptop") as laptop, member(laptop, tmp_path) as (_, writer):
        pings = frame(Kind.PING, bytes(8)) * 2000
        with contextlib.suppress(OSError):
            async with asyncio.timeout(30):
                while laptop.linked_with():
                    writer.write(pings)
                    await writer.drain()
        await eventually(lambda: not laptop.linked_with())
    figures.record("bad inputs refused", 1)


async def test_a_reader_that_takes_nothing_gets_the_newest_state_in_the_end(tmp_path: Path) -> None:
    patient = Timing(ping=60, patience=60)
    async with running(tmp_path, "laptop", timing=patient) as laptop, member(laptop, tmp_path) as (reader, _):
        tracemalloc.start()
        for n in range(1000):
            laptop.say(f"{n:<60000}")
            await asyncio.sleep(0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5_000_000
        heard = [""]
        async with asyncio.timeout(PATIENCE):
            while heard[-1] != "999":
                kind, payload = await wire.read_frame(reader)
                if kind == Kind.ANNOUNCE:
                    heard.append(payload.decode().strip())
        assert len(heard) < 200


# -- bytes ------------------------------------------------------------------------------------------------
def fetch_payload(oid: bytes) -> bytes:
    """Return a FETCH whose have is the hex of these bytes."""
    return b"\0\0\0\1" + json.dumps({"want": WANTED, "have": [oid.hex()]}).encode()


@given(st.binary(max_size=200) | st.binary(max_size=40).map(fetch_payload))
def test_any_payload_is_read_or_refused(payload: bytes) -> None:
    for parse in (wire.parse_fetch, wire.parse_end, wire.parse_credit, wire.split_number):
        with contextlib.suppress(WireError):
            parse(payload)


def test_an_outcome_of_a_later_release_is_a_failure() -> None:
    assert wire.parse_end(b"\0\0\0\1\x63why\x1b[1m") == (1, Outcome.FAILED, "why [1m")
    assert wire.parse_end(wire.end(7, Outcome.MISSING, "gone")[5:]) == (7, Outcome.MISSING, "gone")


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.lists(st.integers(), max_size=2)
)


@given(
    st.dictionaries(st.sampled_from(["v", "device", "name", "certificate", "instance", "number", "nonce"]), values),
    values,
)
def test_any_sealed_json_is_a_hello_or_refused(changes: dict[str, object], other: object) -> None:
    body = {
        "v": 1,
        "device": "eve-00000000",
        "name": "eve",
        "certificate": "",
        "instance": "00" * 8,
        "number": 1,
        "nonce": "00" * 16,
    }
    for value in (body | changes, other):
        sealed = KEY.seal(json.dumps(value).encode(), context=b"hello")
        with contextlib.suppress(HelloRefused):
            hello = open_hello(KEY, sealed, answers=None)
            assert (len(hello.nonce), len(hello.instance)) == (16, 8)
