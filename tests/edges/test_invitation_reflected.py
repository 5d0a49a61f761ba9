"""Invitations through a reflector whose operator does what he can: look, repeat, swap, change, pretend, say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autosync.core.candidates import Candidate, CandidateKind, on_lan
from autosync.errors import Refused, Unreachable
from autosync.invitation import InvitationLine, read_line
from autosync.invitation.joiner import Closed
from autosync.invitation.line import place_of as place_of_token
from autosync.link.dialling import Unlinked
from autosync.link.reflected import call, place_of
from tests.channels.reflectors import Running, running
from tests.edges.linked_devices import eventually
from tests.edges.listeners import drop, listening
from tests.edges.test_invitation import KEY, KEY_TEXT, Host, host, visit
from tests.figures import record
from tests.ports import free_ports
from tests.waiting import PATIENCE

Meddle = Callable[[int, bytes], bytes]
"""Given the number of a piece and what the joiner says in it; returns what the inviter hears."""


class Operator:
    """A reflector that is honest to the inviter, and stands between him and who calls here."""

    def __init__(self, honest: Running, meddle: Meddle) -> None:
        self.recorded = bytearray()
        """What those who call have said, without the requests."""
        self.port = 0
        self._honest = honest
        self._meddle = meddle

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lead one caller to where he wants, and meddle."""
        writer.write(b"debug!connected...\n")
        request = await reader.readuntil()
        found = re.fullmatch(rb"call ([0-9a-f]{32})\n", request)
        assert found is not None, request
        try:
            onward = await call(f"127.0.0.1:{self._honest.port}/{found[1].decode()}")
        except Unlinked:
            return
        to_reader, to_writer = await asyncio.open_connection(sock=onward)
        writer.write(b"pipe!open\n")
        back = asyncio.create_task(_copy(to_reader, writer, lambda _, piece: piece))
        try:
            await _copy(reader, to_writer, self._seen)
        finally:
            back.cancel()
            await asyncio.wait([back])
            await drop(to_writer)

    def _seen(self, number: int, piece: bytes) -> bytes:
        self.recorded += piece
        return self._meddle(number, piece)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, through: Meddle) -> None:
    number = 0
    with contextlib.suppress(OSError):
        while piece := await source.read(65536):
            sink.write(through(number, piece))
            number += 1
    sink.close()


@contextlib.asynccontextmanager
async def operator(honest: Running, meddle: Meddle = lambda _, piece: piece) -> AsyncIterator[Operator]:
    """A reflector with an operator."""
    there = Operator(honest, meddle)
    async with listening(there.serve) as there.port:
        yield there


def by_way_of(line: str, port: int) -> str:
    """Return the line as if it named the reflector at ``port``."""
    said = read_line(line)
    (way,) = said.candidates
    return str(replace(said, candidates=(replace(way, address=f"127.0.0.1:{port}/{place_of(way)}"),)))


async def come_in(state: Path, line: str, name: str = "desktop") -> str:
    """Return the key that a device is given."""
    async with visit(state, name, line) as guest:
        assert (await guest.offer()).workspace == "notes"
        return await guest.key_text()


async def test_two_meet_at_a_reflector_that_learns_nothing(tmp_path: Path) -> None:
    with running() as server:
        async with host(tmp_path, server.port) as laptop, operator(server) as spy:
            _, line = laptop.open(once=True)
            said = read_line(line)
            assert [str(c.kind.value) for c in said.candidates] == ["reflector"]
            assert await come_in(tmp_path, by_way_of(line, spy.port)) == KEY_TEXT
            assert laptop.told == [("joined", "desktop")]
            place = place_of(said.candidates[0]).encode()
            for secret in (KEY.raw, KEY_TEXT.strip().encode(), said.token, said.token.hex().encode(), b"notes", place):
                assert secret not in spy.recorded


async def test_what_the_operator_has_recorded_opens_nothing(tmp_path: Path) -> None:
    with running() as server:
        async with host(tmp_path, server.port) as laptop, operator(server) as spy:
            _, line = laptop.open()
            await come_in(tmp_path, by_way_of(line, spy.port))
            (way,) = read_line(line).candidates
            before = laptop.links.dropped["replay"]
            replayed = await call(way.address)
            loop = asyncio.get_running_loop()
            with replayed:
                await loop.sock_sendall(replayed, bytes(spy.recorded))
                async with asyncio.timeout(PATIENCE):
                    with contextlib.suppress(ConnectionError):
                        assert await loop.sock_recv(replayed, 1) == b""
            assert laptop.links.dropped["replay"] == before + 1
            assert laptop.told == [("joined", "desktop")]
    record("faults injected", 1)


def _swapped() -> Meddle:
    held = bytearray()

    def meddle(number: int, piece: bytes) -> bytes:
        if number == 1:  # the first is the hello
            held.extend(piece)
            return b""
        return piece + bytes(held) if number == 2 else piece

    return meddle


def _flipped(number: int, piece: bytes) -> bytes:
    return piece if number == 0 else piece[:-1] + bytes((piece[-1] ^ 1,))


@pytest.mark.parametrize(
    "meddle",
    [
        pytest.param(_flipped, id="a bit after the hello"),
        pytest.param(_swapped(), id="swapped"),
        pytest.param(lambda number, piece: piece * (1 + (number == 1)), id="twice"),
        pytest.param(lambda number, piece: b"" if number == 1 else piece, id="left out"),
        pytest.param(lambda _number, _piece: b"", id="nothing at all"),
    ],
)
async def test_who_changes_what_passes_can_deny_and_nothing_else(tmp_path: Path, meddle: Meddle) -> None:
    with running() as server:
        async with host(tmp_path, server.port) as laptop, operator(server, meddle) as hostile:
            _, line = laptop.open(once=True)
            with pytest.raises(Unreachable) as caught:
                async with visit(tmp_path, "desktop", by_way_of(line, hostile.port), patience=0.5) as guest:
                    await guest.offer()
            assert f"127.0.0.1:{hostile.port}: " in str(caught.value)
            assert place_of(read_line(line).candidates[0]) not in str(caught.value)
            assert laptop.told == []
            # Nothing was used up.
            assert await come_in(tmp_path, line) == KEY_TEXT
    record("faults injected", 1)


async def test_an_operator_who_pretends_to_be_the_inviter_is_not_believed(tmp_path: Path) -> None:
    """He leads the joiner to a device of his own: without the token, and then with it."""
    with running() as server, running() as theirs:
        async with host(tmp_path, server.port) as laptop, host(tmp_path / "mallory", theirs.port) as mallory:
            _, line = laptop.open()
            said = read_line(line)
            place = place_of(said.candidates[0])
            assert mallory.channel is not None
            mallory.channel.attend(place)
            with pytest.raises(Closed):
                await visited(tmp_path, by_way_of(line, theirs.port))
            forged = _Knowing(said, mallory)
            mallory.links.add(forged)
            with pytest.raises(Unreachable, match="The inviting device is not reached"):
                await visited(tmp_path, by_way_of(line, theirs.port))
            assert forged.asked == []
    record("faults injected", 2)


async def visited(state: Path, line: str, *, patience: float = 0.5, ssh: bool = True) -> None:
    """Come by a line, without patience."""
    async with visit(state, "desktop", line, patience=patience, ssh=ssh):
        raise AssertionError("it was let in")


class _Knowing:
    """What somebody who has read the line can say of it."""

    def __init__(self, line: InvitationLine, who: Host) -> None:
        self.key, self.device, self.name = line.key, who.device, "laptop"
        self.asked: list[object] = []

    def announced(self, sealed: bytes, peer: object) -> None:
        """Nothing is announced."""

    def serve(self, want: object, have: object, out: object) -> None:
        """Take note that somebody has asked."""
        self.asked.append((want, have, out))


async def test_a_second_joiner_with_the_same_line_is_refused_and_told(tmp_path: Path) -> None:
    with running() as server:
        async with host(tmp_path, server.port) as laptop:
            _, line = laptop.open(once=True)
            assert await come_in(tmp_path, line) == KEY_TEXT
            with pytest.raises(Refused, match="this invitation was for one device, and another one has come by it"):
                await come_in(tmp_path, line, "thief")
            await eventually(lambda: laptop.told == [("joined", "desktop"), ("refused", "thief")])


async def test_a_line_that_is_closed_leads_to_nobody(tmp_path: Path) -> None:
    with running() as server:
        async with host(tmp_path, server.port) as laptop:
            invitation, line = laptop.open()
            (way,) = read_line(line).candidates
            assert await laptop.invitations.cancel(lambda one: one is invitation) == [invitation]
            _, brief = laptop.open(seconds=0.2)
            await eventually(lambda: not laptop.invitations.listed())
            for closed in (way, *read_line(brief).candidates):
                with pytest.raises(Unlinked, match=r"^nobody waits there$"):
                    await call(closed.address)


async def test_a_reflector_that_is_started_again_costs_a_moment(tmp_path: Path) -> None:
    with running() as server:
        async with host(tmp_path, server.port) as laptop:
            _, line = laptop.open(once=True)
            server.stop()
            server.start()
            assert await come_in(tmp_path, line) == KEY_TEXT
            server.stop()
            server.start()
            assert await come_in(tmp_path, line) == KEY_TEXT
    record("faults injected", 2)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, "no reflector answers there"),
        (b"x" * 1000, "no reflector answers there"),
        (b"", "no reflector answers there"),
        (b"debug!busy\n", "the reflector has too many connections"),
        (b"debug!refused \x1b[2Jtoo many pipes\n", "the reflector refuses: [2Jtoo many pipes"),
        (b"debug!connected...\ndebug!refused nobody is there\n", "nobody waits there"),
    ],
)
async def test_what_is_no_pipe_is_told_as_such(answer: bytes, why: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)

    async with listening(serve) as port:
        with pytest.raises(Unlinked, match=f"^{re.escape(why)}$"):
            await call(f"127.0.0.1:{port}/{'0' * 32}")
    record("bad inputs refused", 1)


async def test_what_was_tried_and_what_to_configure_is_told(tmp_path: Path) -> None:
    with running() as server:
        lan, ssh = free_ports(2)
        token = bytes(16)
        ways = (
            *on_lan([f"127.0.0.1:{lan}"]),
            Candidate(kind=CandidateKind.SSH, address=f"me@127.0.0.1:{ssh}/4711"),
            Candidate(kind=CandidateKind.REFLECTOR, address=f"127.0.0.1:{server.port}/{place_of_token(token)}"),
        )
        line = str(InvitationLine(token=token, inviter="a" * 26, candidates=ways))
        with pytest.raises(Unreachable) as caught:
            await visited(tmp_path, line, patience=3.0)
        assert caught.value.title.splitlines() == [
            "The inviting device is not reached",
            f"  lan 127.0.0.1:{lan}: Connection refused",
            f"  ssh me@127.0.0.1:{ssh}/4711: "
            f"ssh to 127.0.0.1 ended: ssh: connect to host 127.0.0.1 port {ssh}: Connection refused",
            f"  reflector 127.0.0.1:{server.port}: nobody waits there",
        ]
        for advice in ("`public-address:`", "`ssh-address:`", "`reflector:`", "autosync invite --list"):
            assert advice in caught.value.hint
        # Whoever uses no address for ssh that another device has told goes without it here too.
        account = Candidate(kind=CandidateKind.XMPP, address="me@example.org/laptop")
        line = str(InvitationLine(token=token, inviter="a" * 26, candidates=(*ways, account)))
        with pytest.raises(
            Unreachable, match=r"xmpp me@example.org/laptop: .*there is no `xmpp:` in the configuration"
        ):
            await visited(tmp_path, line)
        with pytest.raises(Unreachable, match=r"ssh me@127\.0\.0\.1:.*: does not answer, or `ssh: false` stands in"):
            await visited(tmp_path, line, ssh=False)
