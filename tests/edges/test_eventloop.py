"""Names that are looked up: what does not answer holds up nobody else, and not the end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from autosync.eventloop import run
from tests.edges.xmpp_devices import eventually
from tests.waiting import PATIENCE


class NameServer:
    """What the C library asks: it answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.answers = threading.Event()

    def __call__(self, host: object, *_: object) -> list[tuple[object, ...]]:
        self.asked.append(host)
        self.answers.wait(PATIENCE)
        if host == "unknown.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 1986))]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.answers.set()


async def lookup(host: str) -> list[tuple[object, ...]]:
    return list(await asyncio.get_running_loop().getaddrinfo(host, 1986, type=socket.SOCK_STREAM))


def test_the_end_waits_for_no_answer(server: NameServer) -> None:
    async def main() -> int:
        for number in range(20):  # more than the threads that asyncio has for everything
            attempt = asyncio.create_task(lookup(f"host{number}.example"))
            await eventually(lambda n=number: len(server.asked) > n)  # type: ignore[misc]
            attempt.cancel()
        return 7

    assert run(main()) == 7
    assert not server.answers.is_set()
    assert len(server.asked) == 20


def test_a_name_is_asked_for_once_at_a_time(server: NameServer) -> None:
    async def main() -> None:
        given_up, *waiting = (asyncio.create_task(lookup("a.example")) for _ in range(3))
        await eventually(lambda: bool(server.asked))
        given_up.cancel()
        server.answers.set()
        for found in await asyncio.gather(*waiting):
            assert found[0][4] == ("192.0.2.1", 1986)
        await lookup("a.example")

    run(main())
    assert server.asked == ["a.example", "a.example"]


def test_what_is_unknown_is_an_error_for_each_who_asked(server: NameServer) -> None:
    async def main() -> None:
        server.answers.set()
        answers = await asyncio.gather(*(lookup("unknown.example") for _ in range(2)), return_exceptions=True)
        assert all(isinstance(answer, socket.gaierror) for answer in answers)

    run(main())


@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
def test_a_name_that_can_be_none_is_unknown(host: str) -> None:
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        run(lookup(host))
