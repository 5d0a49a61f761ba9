"""Several channels at once: what one of them cannot carry, and in which order the same arrives over two."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from autosync.broadcast import CONTEXT, Broadcaster
from autosync.channels.fanout import FanoutChannel
from autosync.channels.reflector import ReflectorChannel
from autosync.core.announcement import decode
from autosync.core.commands import Announce
from autosync.core.condensing import expand
from autosync.core.events import Announced, AnnouncementsAsked, Event
from autosync.core.model import Base, CommitId, Snapshot, SnapshotId, TreeId, Version
from autosync.ports import ChannelStatus
from autosync.store import StateDirectory, WorkspaceState
from autosync.trust.identity import load_or_create_identity
from autosync.trust.sealing import create_key
from autosync.trust.signing import SIGNATURE_BYTES
from tests.channels.fanout_server import FanoutServer
from tests.channels.media import QUICK
from tests.channels.reflectors import Running
from tests.edges.xmpp_devices import eventually
from tests.waiting import PATIENCE

PACK = random.Random(5).randbytes(7680)  # nothing that could be made shorter


@dataclass
class Told:
    """A working copy that keeps what it is told."""

    workspace: str = "notes"
    events: list[Event] = field(default_factory=list)

    def post(self, event: Event) -> None:
        self.events.append(event)

    @property
    def announced(self) -> list[Announced]:
        return [event for event in self.events if isinstance(event, Announced)]

    @property
    def contents(self) -> set[bytes]:
        return {announced.announcement.inline for announced in self.announced}

    @property
    def lanes(self) -> set[str]:
        return {announced.lane for announced in self.announced}


class Device:
    """A broadcaster with a workspace and its channels."""

    def __init__(self, place: Path, name: str, key_file: Path) -> None:
        home = place / name
        home.mkdir()
        if not key_file.exists():
            create_key(str(key_file))
        identity = load_or_create_identity(str(home))
        self.told = Told()
        self.broadcaster = Broadcaster(
            device=identity.device_id(name), name=name, identity=identity, states=StateDirectory(str(home))
        )
        self.member = self.broadcaster.join(self.told, str(key_file), WorkspaceState())

    async def announce(self, pack: bytes) -> None:
        device = self.broadcaster.device
        snapshot = Snapshot(
            id=SnapshotId("a" * 40),
            tree=TreeId("b" * 40),
            base=Base(commit=CommitId("c" * 40), branch="refs/heads/main"),
            version=Version.of({device: 1}),
            parents=(),
            device="laptop",
            time=0,
        )
        command = Announce(state="ok", current=snapshot, share=True, inline=True, on_hub=False)
        await self.broadcaster.announce(self.told, command, pack)  # type: ignore[arg-type]  # asked for its member only


@contextlib.asynccontextmanager
async def two_devices(place: Path, reflector: Running, fanout: FanoutServer) -> AsyncIterator[tuple[Device, Device]]:
    """Two devices, each with a channel over both servers."""
    key_file = place / "notes.key"
    devices = (Device(place, "laptop", key_file), Device(place, "desktop", key_file))
    async with contextlib.AsyncExitStack() as stack:
        for server in (reflector, fanout):
            server.start()
            stack.callback(server.stop)
        for device in devices:
            for kind, port in ((ReflectorChannel, reflector.port), (FanoutChannel, fanout.port)):
                members = device.broadcaster.members
                channel = kind(("127.0.0.1", port), device.broadcaster, tags=members.keys, timing=QUICK)
                device.broadcaster.channels.append(channel)
                await channel.start()
                stack.push_async_callback(channel.stop)
        for device in devices:
            asked = device.told.events
            await eventually(lambda asked=asked: sum(isinstance(e, AnnouncementsAsked) for e in asked) >= 2)  # type: ignore[misc]
        yield devices


async def test_the_same_over_two_channels_is_acted_on_once(tmp_path: Path) -> None:
    async with two_devices(tmp_path, Running(), FanoutServer()) as (laptop, desktop):
        await laptop.announce(b"small")
        await eventually(lambda: desktop.member.dropped.get("repeated", 0) == 1)
        (announced,) = desktop.told.announced
        assert announced.announcement.inline == b"small"


async def test_what_a_channel_cannot_carry_goes_there_without_its_content(tmp_path: Path) -> None:
    reflector, fanout = Running(), FanoutServer()
    async with two_devices(tmp_path, reflector, fanout) as (laptop, desktop):
        await laptop.announce(PACK)
        await eventually(lambda: any(a.announcement.inline == PACK for a in desktop.told.announced))
        # Over the fanout server it came without; whichever was first, the content was not passed over for it.
        assert sum(line.startswith("announce ") for line in fanout.said) == 1
        assert {len(a.announcement.inline) for a in desktop.told.announced} <= {0, len(PACK)}
        assert desktop.told.lanes <= {"reflector", "fanout"}


async def test_content_that_comes_after_the_bare_announcement_is_taken(tmp_path: Path) -> None:
    async with two_devices(tmp_path, Running(), FanoutServer()) as (laptop, desktop):
        heard: list[tuple[str, bytes, str]] = []
        receive = desktop.broadcaster.sealed_received
        for channel in desktop.broadcaster.channels:
            assert isinstance(channel, ReflectorChannel | FanoutChannel)
            channel.listener = Delayed(heard)
        await laptop.announce(PACK)
        await eventually(lambda: len(heard) == 2)
        bare, full = sorted(heard, key=lambda message: len(message[1]))
        receive(*bare)
        receive(*full)
        receive(*bare)
        first, second = desktop.told.announced
        assert (first.announcement.inline, second.announcement.inline) == (b"", PACK)
        assert first.announcement.snapshot == second.announcement.snapshot
        assert first.announcement.seq < second.announcement.seq
        assert desktop.member.dropped == {"repeated": 1}


class Mute:
    """A channel whose server takes everything and answers nothing, until it is let."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.answers = asyncio.Event()

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Nothing to end."""

    async def publish(self, slot: str, workspace_tag: str, sealed: bytes) -> None:  # noqa: ARG002
        self.taken.append(sealed)
        await self.answers.wait()

    def nudge(self) -> None:
        """Nothing to look for."""

    def status(self) -> ChannelStatus:
        return ChannelStatus(kind="mute", state="online")


async def test_a_server_that_answers_nothing_holds_up_no_other_channel(tmp_path: Path) -> None:
    async with two_devices(tmp_path, Running(), FanoutServer()) as (laptop, desktop):
        mute = Mute()
        laptop.broadcaster.channels.append(mute)
        async with asyncio.timeout(PATIENCE):
            for number in range(5):
                await laptop.announce(b"%d" % number)
                await eventually(lambda n=number: b"%d" % n in desktop.told.contents)  # type: ignore[misc]
            assert len(mute.taken) == 1
            mute.answers.set()
            await eventually(lambda: len(mute.taken) == 2)  # what is newest, and nothing in between
        said = [laptop.member.key.open(sealed, context=CONTEXT)[:-SIGNATURE_BYTES] for sealed in mute.taken]
        assert [decode(expand(condensed)).inline for condensed in said] == [b"0", b"4"]


async def test_what_waits_is_not_said_any_more_once_the_key_was_changed(tmp_path: Path) -> None:
    """Its place under the old key belongs to what tells of the new one, for those who were off."""
    laptop, mute = Device(tmp_path, "laptop", tmp_path / "notes.key"), Mute()
    laptop.broadcaster.channels.append(mute)
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as saying:
        saying.create_task(laptop.announce(b"on its way"))
        await eventually(lambda: len(mute.taken) == 1)
        said = laptop.member.seq
        saying.create_task(laptop.announce(b"waits"))
        await eventually(lambda: laptop.member.seq > said)
        laptop.member.keyring.revoke({"a" * 26: "lost"}, {}, at=0)
        mute.answers.set()
    assert len(mute.taken) == 1
    await laptop.announce(b"2")
    opened = expand(laptop.member.key.open(mute.taken[1], context=CONTEXT)[:-SIGNATURE_BYTES])
    assert (len(mute.taken), decode(opened).inline) == (2, b"2")


async def test_what_is_said_in_a_workspace_of_others_wakes_nobody(tmp_path: Path) -> None:
    laptop, stranger = (Device(tmp_path, name, tmp_path / f"{name}.key") for name in ("laptop", "stranger"))
    server = Mute()
    server.answers.set()
    stranger.broadcaster.channels.append(server)
    await stranger.announce(b"of others")
    (sealed,) = server.taken
    woken: list[str] = []

    def look(*_: object) -> bool:
        woken.append("a key")
        return True

    laptop.broadcaster.learned = lambda *_: woken.append("learned")
    laptop.broadcaster.key_changed = look
    stranger_tag = stranger.member.key.tag
    for tag in (stranger_tag, "", "no-tag", stranger_tag[:-1]):
        laptop.broadcaster.sealed_received(tag, sealed, "xmpp")
    assert (laptop.told.events, laptop.member.timer, laptop.member.dropped, woken) == ([], None, {}, [])
    assert list(laptop.member.intake.last()) == []
    laptop.broadcaster.sealed_received(laptop.member.key.tag, sealed, "xmpp")  # under our tag it is looked at
    assert (laptop.told.events, laptop.member.timer, woken) == ([], None, ["a key"])


class Delayed:
    """A listener that holds back what it hears."""

    def __init__(self, heard: list[tuple[str, bytes, str]]) -> None:
        self._heard = heard

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:
        self._heard.append((workspace_tag, sealed, lane))

    def channel_ready(self, lane: str) -> None:
        """Not a second time."""

    def catch_up_done(self, lane: str) -> None:
        """Not a second time."""
