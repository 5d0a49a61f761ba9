"""SparkleShare's clients on our server, and our channel on a server as theirs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from autosync.channels.fanout import FanoutChannel
from autosync.channels.sparkleshare import Speaker
from tests.channels.fanout_server import FanoutServer
from tests.channels.media import QUICK, TAG, Recorder
from tests.channels.reflectors import Client, Running
from tests.edges.xmpp_devices import eventually

RECORDED = Path(__file__).parent / "sparkleshare.txt"
ID, OTHER_ID = "9a1f3c7e5b2d4f60718293a4b5c6d7e8f9012345", "0c1d2e3f405162738495a6b7c8d9eaf00b1c2d3e"
COMMIT, NEXT = "1" * 40, "2" * 40


@pytest.mark.parametrize("make", [Running, FanoutServer])
def test_the_recorded_exchange(make: Callable[[], Running | FanoutServer]) -> None:
    server = make()
    server.start()
    clients: dict[str, Client] = {}
    replayed, speaker = 0, ""
    try:
        for line in RECORDED.read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            replayed += 1
            who, what = line[0], line[1:2]
            if line.endswith("hangs up"):
                clients.pop(who).socket.close()
                continue
            client = clients.get(who) or clients.setdefault(who, Client(server.port))
            if what == ">":
                if speaker in clients and speaker != who:  # what one said has been taken before another speaks
                    clients[speaker].raw(b"ping\n")
                    assert clients[speaker].line().isdigit()
                speaker = who
                client.raw(line[3:].encode() + b"\n")
            else:
                heard = client.line()
                assert heard == line[3:] or (line[3:] == "(seconds)" and re.fullmatch(r"\d{10}", heard)), line
    finally:
        for client in clients.values():
            client.socket.close()
        server.stop()
    assert replayed == 20


class Repositories:
    """What the agent knows of repositories."""

    def __init__(self, *identifiers: str) -> None:
        self.met = identifiers
        self.told: list[tuple[str, str]] = []

    def identifiers(self) -> Iterable[str]:
        return self.met

    def commit_announced(self, identifier: str, commit: str) -> None:
        self.told.append((identifier, commit))


async def test_our_channel_hears_of_commits_and_tells_of_them() -> None:
    server = FanoutServer()
    server.start()
    heard, repositories = Recorder(), Repositories(ID)
    channel = FanoutChannel(("127.0.0.1", server.port), heard, tags=lambda: (TAG,), commits=repositories, timing=QUICK)
    try:
        await channel.start()
        await heard.until("ready")
        with Client(server.port) as other:
            other.say(f"subscribe {ID}", f"announce {ID} {COMMIT}", f"announce {ID} {COMMIT}", f"announce {ID} no hash")
            await eventually(lambda: repositories.told == [(ID, COMMIT)])
            channel.announce_commit(ID, COMMIT)  # everybody knows
            channel.announce_commit(ID, NEXT)
            channel.announce_commit(OTHER_ID, NEXT)
            await eventually(lambda: f"announce {OTHER_ID} {NEXT}" in server.said)
        assert server.said.count(f"announce {ID} {COMMIT}") == 2
        assert server.said.count(f"announce {ID} {NEXT}") == 1
        assert f"subscribe {ID}" in server.said
        assert repositories.told == [(ID, COMMIT)]
        assert heard.received == []
    finally:
        await channel.stop()
        server.stop()


async def test_a_repository_that_is_met_later_is_heard_of_over_the_same_connection() -> None:
    server = FanoutServer()
    server.start()
    heard, repositories = Recorder(), Repositories()
    channel = FanoutChannel(("127.0.0.1", server.port), heard, tags=lambda: (TAG,), commits=repositories, timing=QUICK)
    try:
        channel.identifiers_changed()  # there is no connection yet
        await channel.start()
        await heard.until("ready")
        repositories.met = (ID,)
        channel.identifiers_changed()
        channel.identifiers_changed()
        await eventually(lambda: f"subscribe {ID}" in server.said)
        with Client(server.port) as other:
            other.say(f"announce {ID} {COMMIT}")
            await eventually(lambda: repositories.told == [(ID, COMMIT)])
        assert server.said.count(f"subscribe {ID}") == 1
    finally:
        await channel.stop()
        server.stop()


def test_an_id_that_is_none_is_passed_over() -> None:
    speaker = Speaker(Repositories("with space", "with!mark", "", "x" * 200, ID))
    assert speaker.subscriptions() == [b"subscribe " + ID.encode()]
    assert speaker.announcement("with space", COMMIT) == []
    assert not speaker.heard(b"with!mark", COMMIT.encode())
    silent = Speaker(None)
    assert silent.subscriptions() == []
    assert not silent.heard(ID.encode(), COMMIT.encode())


def test_old_news_are_forgotten_as_sparkleshare_does() -> None:
    repositories = Repositories(ID)
    speaker = Speaker(repositories)
    speaker.subscriptions()
    for number in range(12):
        assert speaker.heard(ID.encode(), b"%040x" % number)
    speaker.heard(ID.encode(), b"%040x" % 11)
    assert len(repositories.told) == 12
    speaker.heard(ID.encode(), b"%040x" % 0)
    assert len(repositories.told) == 13
