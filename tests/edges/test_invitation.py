"""Invitations under attack: lines, grants and hubs that are not what they seem, and visitors who should not come in."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from autosync.channels.deaf import Deaf
from autosync.channels.lines import LineTiming
from autosync.channels.reflector import ReflectorChannel
from autosync.cli.invocation import Invocation
from autosync.cli.joining import find_outdated, perform, prepare, renew
from autosync.config import Config, PathConfig
from autosync.core.candidates import Candidate, CandidateKind, on_lan
from autosync.core.model import DeviceId, SnapshotId, WorkspaceId
from autosync.errors import AutosyncError, Refused, Unreachable, Unsafe
from autosync.invitation import (
    Arrival,
    Hub,
    Invitation,
    InvitationLine,
    Invitations,
    Offer,
    XmppOffer,
    reached,
    read_line,
)
from autosync.invitation.grant import MAX_BYTES, OFFER, decode_key, decode_offer, encode_key, encode_offer
from autosync.invitation.hubs import problem_with, without_credentials
from autosync.invitation.joiner import Closed
from autosync.invitation.line import FITTING, choose, place_of
from autosync.invitation.remotes import hub_of
from autosync.link import Links
from autosync.relays import Relays
from autosync.trust.identity import load_or_create_identity
from autosync.trust.keyfile import KeyText
from autosync.trust.sealing import WorkspaceKey, key_in
from tests.edges.link_attackers import relay
from tests.edges.linked_devices import LOOPBACK, QUICK, eventually
from tests.edges.tcp_proxy import TcpProxy
from tests.figures import record
from tests.waiting import PATIENCE

KEY = KeyText(raw=bytes(range(32)))
KEY_TEXT = KEY.render().decode()
LAPTOP = DeviceId("laptop-" + "a" * 26)
OFFERED = Offer(
    workspace="notes",
    id=key_in(KEY).id,
    tag=key_in(KEY).tag,
    vcs="git",
    device=LAPTOP,
    device_name="laptop",
    candidates=on_lan(["192.0.2.1:4711"]),
    hub=Hub(name="origin", url="ssh://git@example.org/notes.git"),
    xmpp=XmppOffer(jid="me@example.org", service="pubsub.example.org", node="team", members=("you@example.org",)),
    places={"reflector": "reflector.example.org:4712"},
    commits=("0123456789" * 4, "f" * 64),
    branch="refs/heads/main",
)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"),
    st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,5})?", fullmatch=True),
)


def run(*argv: str, at: Path) -> None:
    """Run git or hg as a user does."""
    subprocess.run(argv, cwd=at, check=True, capture_output=True)


def fingerprint(raw: bytes) -> str:
    """Return 16 bytes as ids have them."""
    return base64.b32encode(raw).decode().rstrip("=").lower()


TOKENS = st.binary(min_size=16, max_size=16)


def lines_of(token: bytes) -> st.SearchStrategy[InvitationLine]:
    """Lines of one token: the place at a reflector follows from it."""
    shapes = {
        CandidateKind.LAN: "{}:{}",
        CandidateKind.PUBLIC: "{}:{}",
        CandidateKind.SSH: "me@{}/{}",
        CandidateKind.REFLECTOR: f"{{}}:{{}}/{place_of(token)}",
        CandidateKind.XMPP: "jürgen@example.org/{1}",
    }
    candidates = st.builds(
        lambda kind, host, port: Candidate(kind=kind, address=shapes[kind].format(host, port)),
        st.sampled_from(list(shapes)),
        ADDRESSES,
        st.integers(1, 65535),
    )
    return st.builds(
        InvitationLine,
        token=st.just(token),
        inviter=st.binary(min_size=16, max_size=16).map(fingerprint),
        candidates=st.lists(candidates, max_size=4).map(tuple),
    )


LINES = TOKENS.flatmap(lines_of)


# -- the line --------------------------------------------------------------------------------------
@given(LINES)
def test_a_line_is_read_as_it_was_written(line: InvitationLine) -> None:
    text = str(line)
    read = read_line(text)
    assert (read.token, read.inviter) == (line.token, line.inviter)
    assert [c.kind for c in read.candidates] == [c.kind for c in line.candidates]
    assert str(read) == text
    assert read_line(f" '{text[:30]}\n {text[30:].upper()}'\r\n") == read
    assert line.token.hex() not in repr(line)


@given(LINES, st.data())
def test_a_line_that_was_cut_or_mistyped_is_told_as_such(line: InvitationLine, data: st.DataObject) -> None:
    text = str(line)
    at = data.draw(st.integers(10, len(text) - 1))
    other = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567").filter(lambda c: c != text[at]))
    for wrong in (text[:at], text[:at] + other + text[at + 1 :], text + other, text + text):
        with pytest.raises(AutosyncError, match="not complete, or a character of it is wrong"):
            read_line(wrong)
    record("bad inputs refused", 4)


@given(st.text(max_size=300))
def test_any_text_is_a_line_or_told_not_to_be_one(text: str) -> None:
    for whole in (text, "autosync1-" + text):
        with pytest.raises(AutosyncError) as caught:
            read_line(whole)
        assert len(text) < 12 or text not in str(caught.value)


def test_a_line_stays_short_and_names_loopback_only_where_there_is_nothing_else() -> None:
    many = on_lan([f"192.0.2.{n}:40000" for n in range(9)] + [f"[2001:db8::{n}]:40000" for n in range(9)])
    public = Candidate(kind=CandidateKind.PUBLIC, address="home.example.org:4711")
    loopback = on_lan(["127.0.0.1:40000"])
    chosen = choose((*many, public, *loopback))
    assert [str(c) for c in chosen[:2]] == [str(many[0]), str(public)]
    assert (chosen[2], len(chosen)) == (many[9], 5)
    assert len(str(InvitationLine(token=bytes(16), inviter="a" * 26, candidates=chosen))) <= FITTING
    assert choose(loopback) == loopback
    afar = [
        Candidate(kind=CandidateKind.REFLECTOR, address=f"reflector.example.org:1986/{place_of(bytes(16))}"),
        Candidate(kind=CandidateKind.SSH, address="me@server.example.org/4711"),
    ]
    # One of each kind, whatever room that takes; of what is local alone nobody afar has anything.
    chosen = choose((*many, public, *afar, *loopback))
    assert chosen == (many[0], public, afar[1], afar[0])
    line = InvitationLine(token=bytes(16), inviter="a" * 26, candidates=chosen)
    assert read_line(str(line)) == line
    assert len(str(line)) < 240
    line = replace(line, candidates=choose((*many, afar[0])))
    assert segno.make(str(line).upper(), error="l", boost_error=False).symbol_size(border=2)[1] // 2 < 24
    usual = InvitationLine(token=bytes(16), inviter="a" * 26, candidates=(many[0], many[9]))
    assert len(str(usual)) < 130


# -- the grant ----------------------------------------------------------------------------------------
def test_what_is_offered_arrives() -> None:
    assert decode_offer(encode_offer(OFFERED)) == OFFERED
    assert decode_key(encode_key(KEY_TEXT)) == KEY_TEXT


HOSTILE: list[tuple[str, object]] = [
    ("workspace", "../../.ssh"),
    ("workspace", "a/b"),
    ("workspace", ".."),
    ("workspace", "a..b"),
    ("workspace", "-rf"),
    ("workspace", "notes\n"),
    ("workspace", "\x1b]0;owned\x07"),
    ("workspace", ""),
    ("workspace", "n" * 65),
    ("workspace", 7),
    ("id", "0" * 31),
    ("id", "../" + "0" * 29),
    ("vcs", "command"),
    ("vcs", "sh"),
    ("device", "lap top"),
    ("device", "../x-00000000"),
    ("device-name", "lap\x1b[2Jtop"),
    ("device-name", "n" * 129),
    ("candidates", [["lan", "-oProxyCommand=x:1"]]),
    ("candidates", [["lan", "192.0.2.1:4711"]] * 17),
    ("candidates", [["lan"]]),
    ("candidates", {"lan": 1}),
    ("hub", {"name": "--upload-pack=touch /tmp/x", "url": "https://example.org/x"}),
    ("hub", {"name": "a..b", "url": "https://example.org/x"}),
    ("hub", {"name": "x.lock", "url": "https://example.org/x"}),
    ("hub", {"name": "or\nigin", "url": "https://example.org/x"}),
    ("hub", {"name": "origin", "url": "https://example.org/x\n[hooks]\nupdate = touch x"}),
    ("hub", {"name": "origin", "url": "https://example.org/" + "x" * 500}),
    ("hub", {"name": "origin"}),
    ("hub", ["origin"]),
    ("xmpp", {"jid": "me@example.org, password-command: [sh]", "members": []}),
    ("xmpp", {"jid": "me", "members": []}),
    ("xmpp", {"jid": "me@example.org", "members": ["a@b\n"]}),
    ("xmpp", {"jid": "me@example.org", "members": ["a@b"] * 201}),
    ("xmpp", {"jid": "me@example.org", "members": [], "port": "1; x"}),
    ("xmpp", {"jid": "me@example.org", "members": [], "host": "-x"}),
    ("xmpp", {"jid": "me@example.org", "members": [], "node": "of:no/configuration"}),
    ("xmpp", {"jid": "me@example.org", "members": [], "node": "n" * 65}),
    ("places", {"reflector": "host:1\nxmpp: {}"}),
    ("places", {"fanout": "-x:1"}),
    ("places", "reflector"),
    ("commits", ["--all"]),
    ("commits", ["0" * 41]),
    ("commits", [7]),
    ("commits", ["0" * 40] * 65),
    ("commits", "0" * 40),
    ("branch", "main\x1b[2J"),
    ("branch", ["main"]),
    ("v", 2),
]


@pytest.mark.parametrize(("field", "value"), HOSTILE)
def test_a_hostile_offer_is_refused(field: str, value: object) -> None:
    body = {**json.loads(encode_offer(OFFERED)), field: value}
    with pytest.raises(Unsafe) as caught:
        decode_offer(json.dumps(body).encode())
    assert str(caught.value).replace("\n", "").isprintable()
    record("bad inputs refused", 1)


@given(
    st.one_of(
        st.binary(max_size=300), st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
    )
)
def test_any_bytes_are_no_grant(content: bytes) -> None:
    for decode in (decode_offer, decode_key):
        with pytest.raises(Unsafe):
            decode(content)


def test_what_a_later_release_adds_is_passed_over_and_what_is_deep_is_refused() -> None:
    body = {**json.loads(encode_offer(OFFERED)), "hooks": {"post-update": "touch x"}}
    body["candidates"].append(["carrier-pigeon", "coo"])
    body["places"]["hg"] = "/bin/sh"
    assert decode_offer(json.dumps(body).encode()) == OFFERED
    with pytest.raises(Unsafe):
        decode_offer(b"[" * 50_000)
    with pytest.raises(Unsafe):
        decode_offer(encode_offer(OFFERED) + b" " * MAX_BYTES)


# -- the hub ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "fd::17",
        "--upload-pack=touch",
        "-oProxyCommand=touch:x",
        "ssh://-oProxyCommand=touch/x",
        "ssh://me@-oProxyCommand=touch/x",
        "git@-oProxyCommand=x:notes",
        "-x@example.org:notes",
        "https://me:secret@example.org/x",
        "https://me@example.org/x",
        "ssh://me:secret@example.org/x",
        "http::https://example.org/x",
        "file://localhost/x",
        "../x",
        "notes.git",
        "https://example.org/a b",
        "https://example.org/\x1b[2J",
        "https://exämple.org/x",
        "ftp://example.org/x",
        "example.org:-x",
        "",
    ],
)
@pytest.mark.parametrize("vcs", ["git", "hg"])
def test_a_hub_that_could_run_something_is_not_used(url: str, vcs: str) -> None:
    assert problem_with(url, vcs)
    record("bad inputs refused", 1)


@pytest.mark.parametrize(
    "url", ["bundle:x", "union:a", "git://example.org/x", "static-http:x", "git@example.org:notes"]
)
def test_what_is_an_address_to_git_alone_is_none_to_hg(url: str) -> None:
    assert problem_with(url, "hg")


@pytest.mark.parametrize(
    "url",
    [
        "git@example.org:team/notes.git",
        "example.org:notes",
        "ssh://git@example.org:2222/~/notes",
        "https://example.org/notes.git",
        "http://[2001:db8::1]:8000/x",
        "git://example.org/x",
    ],
)
def test_a_usual_hub_is_used(url: str) -> None:
    assert problem_with(url, "git") == ""
    assert without_credentials(url) == url


def test_nobody_is_told_the_inviters_password() -> None:
    assert without_credentials("https://me:secret@example.org:8443/x?token=y") == "https://example.org:8443/x"
    assert without_credentials("ssh://git:secret@example.org/x") == "ssh://git@example.org/x"


def test_a_directory_here_is_used_only_if_nothing_in_it_is_a_program(tmp_path: Path) -> None:
    bare = tmp_path / "hub.git"
    run("git", "init", "-q", "--bare", str(bare), at=tmp_path)
    assert problem_with(str(bare), "git") == ""
    (bare / "config").write_text((bare / "config").read_text() + "\tfsmonitor = touch x\n")
    assert problem_with(str(bare), "git") == f"{bare} on this device has settings of its own"
    (bare / "hooks/pre-receive").write_text("#!/bin/sh\n")
    assert problem_with(str(bare), "git") == f"{bare} on this device has hooks"
    os.chown(bare, 12345, -1)
    assert problem_with(str(bare), "git") == f"{bare} on this device is not yours"
    assert "there is no" in problem_with(str(tmp_path / "absent"), "git")
    assert problem_with(str(tmp_path), "git") == f"{tmp_path} on this device is no repository"
    (tmp_path / "clone/.hg").mkdir(parents=True)
    assert problem_with(str(tmp_path / "clone"), "hg") == ""
    (tmp_path / "clone/.hg/hgrc").write_text("[hooks]\nchangegroup = touch x\n")
    assert problem_with(str(tmp_path / "clone"), "hg")


@pytest.mark.parametrize("vcs", ["git", "hg"])
def test_the_hub_is_told_as_it_is_configured_but_for_the_login(tmp_path: Path, vcs: str) -> None:
    path = PathConfig(path=str(tmp_path), workspace="notes", key_file="/k")
    run(vcs, "init", "-q", at=tmp_path)
    url = "https://me:secret@example.org/notes"
    if vcs == "git":
        run("git", "remote", "add", "origin", url, at=tmp_path)
    else:
        (tmp_path / ".hg/hgrc").write_text(f"[paths]\norigin = {url}\n")
    clean = "https://example.org/notes"
    assert hub_of(replace(path, remote="origin"), vcs) == Hub(name="origin", url=clean)
    assert hub_of(replace(path, remote=url), vcs) == Hub(name="", url=clean)
    assert hub_of(replace(path, remote="absent"), vcs) is None
    assert hub_of(path, vcs) is None


# -- coming in ----------------------------------------------------------------------------------------
class Host:
    """A device that invites, without an agent around it."""

    def __init__(self, state: Path, reflector: int | None = None) -> None:
        identity = load_or_create_identity(str(state / "laptop"))
        self.device = identity.device_id("laptop")
        self.links = Links(identity, listen=LOOPBACK, timing=QUICK)
        self.told: list[tuple[str, str]] = []
        self.key_text = KEY_TEXT
        relays = Relays(Config(source="", device="laptop", state_dir=str(state)), self.links)
        self.channel = (
            None
            if reflector is None
            else ReflectorChannel(("127.0.0.1", reflector), Deaf(), tags=tuple, timing=LineTiming(retry_base=0.05))
        )
        if self.channel is not None:
            relays.through(self.channel)
        self.invitations = Invitations(
            self.links,
            relays,
            device=self.device,
            name="laptop",
            tell=lambda what, _, who: self.told.append((what, who.name)),
        )

    def open(self, *, seconds: float = 60, once: bool = False, at: int | None = None) -> tuple[Invitation, str]:
        """Return an invitation that leads to the port ``at``, or through the reflector, and its line."""
        offer = decode_offer(encode_offer(OFFERED).replace(LAPTOP.encode(), self.device.encode()))
        where = on_lan([f"127.0.0.1:{at or self.links.port}"]) if self.channel is None else ()
        invitation, line = self.invitations.open(
            lambda: offer, lambda: self.key_text, where, seconds=seconds, once=once
        )
        return invitation, str(line)


@contextlib.asynccontextmanager
async def host(state: Path, reflector: int | None = None) -> AsyncIterator[Host]:
    """A device that invites; with a ``reflector`` at that port it is reached through that alone."""
    host = Host(state, reflector)
    await host.links.start()
    if (channel := host.channel) is not None:
        await channel.start()
        await eventually(lambda: channel.status().state == "online")
    try:
        yield host
    finally:
        await host.invitations.stop()
        if channel is not None:
            await channel.stop()
        await host.links.stop()


@contextlib.asynccontextmanager
async def visit(
    state: Path, name: str, line: str, patience: float = PATIENCE, *, ssh: bool = True
) -> AsyncIterator[Arrival]:
    """A device that comes by a line."""
    identity = load_or_create_identity(str(state / name))
    way = reached(
        read_line(line),
        identity,
        device=identity.device_id(name),
        name=name,
        host="127.0.0.1",
        discovery=False,
        ssh=ssh,
        patience=patience,
    )
    async with way as arrival:
        yield arrival


async def test_one_device_comes_in_and_may_repeat_what_a_cut_has_interrupted(tmp_path: Path) -> None:
    async with host(tmp_path) as laptop:
        _, line = laptop.open(once=True)
        async with visit(tmp_path, "desktop", line) as desktop, visit(tmp_path, "thief", line) as thief:
            # An offer alone is no key, so whoever stops there has used up nothing.
            assert (await thief.offer()).workspace == (await desktop.offer()).workspace == "notes"
            assert await desktop.key_text() == KEY_TEXT
            for refused in (thief.key_text, thief.offer):
                with pytest.raises(Refused, match="laptop does not let this device in: this invitation was for one"):
                    await refused()
        async with visit(tmp_path, "desktop", line) as again:
            assert await again.key_text() == KEY_TEXT
        await eventually(lambda: len(laptop.told) == 2)
        assert laptop.told == [("joined", "desktop"), ("refused", "thief")]


async def test_of_those_who_come_at_one_moment_one_comes_in(tmp_path: Path) -> None:
    async with host(tmp_path) as laptop, contextlib.AsyncExitStack() as visits:
        _, line = laptop.open(once=True)
        names = [f"guest{number}" for number in range(6)]
        guests = [await visits.enter_async_context(visit(tmp_path, name, line)) for name in names]
        answers = await asyncio.gather(*(guest.key_text() for guest in guests), return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["Refused"] * 5 + ["str"]
        await eventually(lambda: len(laptop.told) == 6)
        (joined,) = [name for what, name in laptop.told if what == "joined"]
        assert answers[names.index(joined)] == KEY_TEXT


async def test_a_joiner_that_is_cut_off_has_not_used_it_up(tmp_path: Path) -> None:
    async with host(tmp_path) as laptop, TcpProxy(laptop.links.port) as network:
        _, line = laptop.open(once=True, at=network.port)
        async with visit(tmp_path, "gone", line) as gone:
            await gone.offer()
            network.cut()
        async with visit(tmp_path, "desktop", line) as desktop:
            await desktop.offer()
            network.cut()  # it links again by itself
            assert await desktop.key_text() == KEY_TEXT
            network.cut()
            assert await desktop.key_text() == KEY_TEXT
        record("faults injected", 3)
        assert laptop.told == [("joined", "desktop")]


async def test_who_only_knows_the_line_is_not_the_inviter(tmp_path: Path) -> None:
    """A second guest, or a thief, who answers in the inviter's place: his device id is another one."""
    async with host(tmp_path) as laptop:
        _, line = laptop.open()
    async with host(tmp_path / "mallory") as mallory:
        stolen = read_line(line)
        theirs = InvitationLine(
            token=stolen.token, inviter=stolen.inviter, candidates=on_lan([f"127.0.0.1:{mallory.links.port}"])
        )
        offer, asked = Serving(theirs, mallory.device, b"{}"), asyncio.Event()
        mallory.links.add(offer)
        with pytest.raises(Unreachable, match="The inviting device is not reached"):
            async with visit(tmp_path, "desktop", str(theirs), patience=1.0):
                asked.set()
        assert (asked.is_set(), offer.asked) == (False, [])


async def test_what_passes_on_the_way_is_no_use_to_others(tmp_path: Path) -> None:
    async with host(tmp_path) as laptop, relay(f"127.0.0.1:{laptop.links.port}") as between:
        _, line = laptop.open(at=int(between.address.partition(":")[2]))
        async with visit(tmp_path, "desktop", line) as desktop:
            await desktop.offer()
            assert await desktop.key_text() == KEY_TEXT
        hello, seen = between.first_hello(), bytes(between.recorded)
        for secret in (KEY.raw, KEY_TEXT.strip().encode(), read_line(line).token, b"notes", b"desktop"):
            assert secret not in seen
        before = laptop.links.dropped["replay"]
        with socket.create_connection(("127.0.0.1", laptop.links.port)) as replayed:
            replayed.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(replayed, hello)
            async with asyncio.timeout(PATIENCE):
                assert await loop.sock_recv(replayed, 1) == b""
        assert laptop.links.dropped["replay"] == before + 1


async def test_a_line_that_was_closed_is_told_as_such(tmp_path: Path) -> None:
    async with host(tmp_path) as laptop:
        invitation, line = laptop.open()
        guessed = read_line(line)
        wrong = InvitationLine(token=bytes(16), inviter=guessed.inviter, candidates=guessed.candidates)
        with pytest.raises(Closed):
            async with visit(tmp_path, "guesser", str(wrong)):
                pass
        async with visit(tmp_path, "slow", line) as slow:
            await slow.offer()
            assert await laptop.invitations.cancel(lambda one: one is invitation) == [invitation]
        with pytest.raises(Closed):
            async with visit(tmp_path, "late", line):
                pass
        _, brief = laptop.open(seconds=0.2)
        await eventually(lambda: not laptop.invitations.listed())
        with pytest.raises(Closed):
            async with visit(tmp_path, "late", brief):
                pass
        assert laptop.links.handles() == ()


async def test_an_invitation_that_has_expired_gives_nothing_to_who_is_there_already(tmp_path: Path) -> None:
    async with host(tmp_path) as laptop:
        invitation, _ = laptop.open(seconds=0.01)
        await eventually(lambda: invitation.seconds_left == 0)
        sink = open(os.devnull, "wb")  # noqa: SIM115, ASYNC230
        with sink, pytest.raises(Refused, match="this invitation has expired"):
            invitation.serve_peer(DeviceId("desktop"), OFFER, (), sink)


async def test_a_line_from_before_a_change_of_the_key_does_not_give_the_new_one(tmp_path: Path) -> None:
    async with host(tmp_path) as laptop:
        _, line = laptop.open()
        async with visit(tmp_path, "revoked", line) as revoked:
            await revoked.offer()
            laptop.key_text = KeyText(raw=bytes(32), id=OFFERED.id, epoch=1, head="0" * 64).render().decode()
            with pytest.raises(Refused, match="the workspace's key was changed after this invitation was made"):
                await revoked.key_text()
        assert laptop.told == []


async def test_only_so_many_invitations_are_open(tmp_path: Path) -> None:
    async with host(tmp_path) as laptop:
        for _ in range(20):
            laptop.open()
        with pytest.raises(AutosyncError, match="20 invitations are open already"):
            laptop.open()


class Serving:
    """Answers in the workspace of a line whatever it likes."""

    def __init__(self, line: InvitationLine, device: DeviceId, answer: bytes) -> None:
        self.key: WorkspaceKey = line.key
        self.device = device
        self.name = "mallory"
        self.answer = answer
        self.asked: list[SnapshotId] = []

    def announced(self, sealed: bytes, peer: DeviceId) -> None: ...

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:  # noqa: ARG002
        self.asked.append(want)
        out.write(self.answer)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"{}", "newer autosync"),
        (b"[", "its form is not what it must be"),
        (b" " * (MAX_BYTES + 1), "more than a grant can be"),
        (encode_offer(OFFERED), "in the name of another device"),
    ],
)
async def test_an_inviter_that_answers_nonsense_is_refused(tmp_path: Path, answer: bytes, problem: str) -> None:
    async with host(tmp_path) as mallory:
        where = on_lan([f"127.0.0.1:{mallory.links.port}"])
        line = InvitationLine(token=bytes(16), inviter=mallory.device[-26:], candidates=where)
        mallory.links.add(Serving(line, mallory.device, answer))
        async with visit(tmp_path, "desktop", str(line)) as desktop:
            with pytest.raises(Unsafe, match=problem):
                await desktop.offer()
    record("bad inputs refused", 1)


# -- all or nothing -----------------------------------------------------------------------------------
@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Invocation]:
    """Return an invocation with a configuration in a home of its own."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home/autosync").mkdir(parents=True)
    return lambda config: Invocation(config_option=config)


def everything(top: Path) -> dict[str, Any]:
    state = top / "home/autosync"
    return {str(p): p.lstat().st_mode for p in top.rglob("*") if state not in p.parents}


@pytest.mark.parametrize("vcs", ["git", "hg"])
@pytest.mark.parametrize("before", ["nothing", "a folder", "a repository"])
def test_what_cannot_be_finished_leaves_nothing(
    here: Callable[[str], Invocation], tmp_path: Path, vcs: str, before: str
) -> None:
    offer = decode_offer(encode_offer(OFFERED).replace(b'"git"', f'"{vcs}"'.encode()))
    root = tmp_path / "deep/er/notes"
    if before != "nothing":
        root.mkdir(parents=True)
        (root / "file").write_text("mine\n")
    if before == "a repository":
        run(vcs, "init", "-q", at=root)
    key = str(tmp_path / "keys/notes.key")
    # Nothing can be made in /proc, which is found out last of all.
    plan = prepare(here("/proc/none/config.yaml"), offer, path=str(root), workspace=None, key_file=key)
    assert plan.is_new_repository == (before != "a repository")
    (tmp_path / "keys").mkdir()
    left = everything(tmp_path)
    with pytest.raises(AutosyncError, match="cannot be written"):
        perform(plan, KEY_TEXT)
    assert everything(tmp_path).keys() == left.keys()
    with pytest.raises(AutosyncError, match="something else than the key of the workspace"):
        perform(plan, KeyText(raw=bytes(32)).render().decode())
    with pytest.raises(AutosyncError, match="something else than the key of the workspace"):
        perform(plan, "no key")
    assert everything(tmp_path).keys() == left.keys()
    record("faults injected", 3)

    config = str(tmp_path / "config.yaml")
    plan = prepare(here(config), offer, path=str(root), workspace=None, key_file=key)
    perform(plan, KEY_TEXT)
    assert (root / f".{vcs}").is_dir()
    shown = (root / ".git/config" if vcs == "git" else root / ".hg/hgrc").read_text()
    assert "ssh://git@example.org/notes.git" in shown
    assert "reflector: reflector.example.org:4712\n" in (tmp_path / "config.yaml").read_text()
    with pytest.raises(AutosyncError, match="This device has joined that workspace already"):
        find_outdated(here(config), offer)


def test_a_device_that_was_left_out_of_a_new_key_is_given_it(here: Callable[[str], Invocation], tmp_path: Path) -> None:
    config, key = str(tmp_path / "config.yaml"), tmp_path / "notes.key"
    plan = prepare(here(config), OFFERED, path=str(tmp_path / "notes"), workspace=None, key_file=None)
    assert find_outdated(here(config), OFFERED) is None
    perform(plan, KEY_TEXT)
    new = KeyText(raw=bytes(32), id=OFFERED.id, epoch=1, head="0" * 64)
    offer = replace(OFFERED, tag=key_in(new).tag)
    outdated = find_outdated(here(config), offer)
    assert outdated is not None
    with pytest.raises(Unsafe, match="something else than the key of the workspace"):
        renew(outdated, offer, KeyText(raw=bytes(32)).render().decode())
    assert key.read_text() == KEY_TEXT
    renew(outdated, offer, new.render().decode())
    assert (key.read_bytes(), key.stat().st_mode & 0o777) == (new.render(), 0o600)
    assert find_outdated(here(config), OFFERED) is not None
    with pytest.raises(Unsafe, match="does not have the newest key"):  # of a device that was revoked, say
        renew(outdated, OFFERED, KEY_TEXT)
    assert key.read_bytes() == new.render()


def test_a_remote_of_that_name_stays_and_the_hub_is_used_by_its_address(
    here: Callable[[str], Invocation], tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    run("git", "init", "-q", at=tmp_path / "notes")
    run("git", "remote", "add", "origin", "https://me:pw@other/x", at=tmp_path / "notes")
    plan = prepare(
        here(str(tmp_path / "config.yaml")), OFFERED, path=str(tmp_path / "notes"), workspace=None, key_file=None
    )
    assert (plan.addition.remote, plan.adds_remote) == ("ssh://git@example.org/notes.git", False)
    assert plan.notes[0] == (
        "The remote origin of this repository stays https://other/x; the inviter's hub "
        "ssh://git@example.org/notes.git is used by its address."
    )


def test_ids_of_workspaces_are_compared_and_not_names(here: Callable[[str], Invocation], tmp_path: Path) -> None:
    (tmp_path / "notes.key").write_text(KEY_TEXT)
    (tmp_path / "notes.key").chmod(0o600)
    plan = prepare(
        here(str(tmp_path / "config.yaml")), OFFERED, path=str(tmp_path / "notes"), workspace=None, key_file=None
    )
    assert not plan.is_new_key  # it was brought here before, by hand
    perform(plan, KEY_TEXT)
    assert WorkspaceId(key_in(KEY).id) == plan.offer.id


@pytest.mark.parametrize("kind", [CandidateKind.SSH, CandidateKind.PUBLIC])
def test_the_way_to_the_inviter_is_entered_where_no_channel_joins_the_two(
    here: Callable[[str], Invocation], tmp_path: Path, kind: CandidateKind
) -> None:
    way, entry = {
        CandidateKind.SSH: ("me@server.example.org:22/4711", "ssh://me@server.example.org:22/4711"),
        CandidateKind.PUBLIC: ("home.example.org:4711", "home.example.org:4711"),
    }[kind]
    config = tmp_path / "config.yaml"

    def entered(before: str, offer: Offer) -> tuple[str, tuple[str, ...]]:
        config.write_text(before)
        plan = prepare(
            here(str(config)),
            offer,
            path=str(tmp_path / "notes"),
            workspace=None,
            key_file=None,
            way=Candidate(kind=kind, address=way),
        )
        return plan.text, plan.notes

    alone = replace(OFFERED, hub=None, xmpp=None, places={})
    text, notes = entered("device: desktop\n", alone)
    assert text.startswith(f"peers: [{entry}]\ndevice: desktop\n")
    assert notes == ()
    assert entered(f"device: desktop\npeers: [{entry}]\n", alone)[1] == ()
    text, notes = entered("device: desktop\npeers: []\n", alone)
    assert notes == (
        f"No channel joins the two devices. Add {entry} to `peers:`, so that they always find each other.",
    )
    assert entry not in text
    assert "peers" not in entered("device: desktop\n", replace(alone, places=OFFERED.places))[0]
