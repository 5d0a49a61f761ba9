"""The targets that turn bytes into values: announcements, files of ours, configuration, beacons, XMPP items, names."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from autosync.apply.limbo import Limbo
from autosync.apply.signature import signature_at
from autosync.channels.beacon import as_text
from autosync.channels.discovery import Discovery
from autosync.channels.reflector import ReflectorChannel
from autosync.channels.xmpp_element import NAMESPACE, Item, read_item, write_item
from autosync.channels.xmpp_inbox import Inbox
from autosync.channels.xmpp_node import EVENT
from autosync.config import PathConfig, load, with_overrides
from autosync.core.announcement import decode, encode
from autosync.core.candidates import Candidate, CandidateKind, on_lan
from autosync.core.copies import conflict_name, ordinary_name, parse_conflict_name
from autosync.core.events import Announcement
from autosync.core.model import Base, CommitId, DeviceId, RelPath, SnapshotId, TreeId, Version, WorkspaceId
from autosync.core.safety import folded, unsafe_component
from autosync.errors import ConfigError, Missing, StateError
from autosync.link import Links
from autosync.reflector.protocol import Malformed, Splitter, parse
from autosync.store import StateDirectory, WorkspaceState
from autosync.trust.identity import load_or_create_identity
from autosync.trust.sealing import SealBroken, WorkspaceKey
from tests.fuzz.target import Broken, Target, same

KEY = WorkspaceKey(bytes(range(32)))
LAPTOP = DeviceId("laptop-0a1b2c3d")
ANNOUNCEMENT = Announcement(
    device=LAPTOP,
    name="laptop",
    seq=7,
    state="ok",
    snapshot=SnapshotId("a" * 40),
    tree=TreeId("b" * 40),
    base=Base(commit=CommitId("c" * 40), branch="refs/heads/main"),
    version=Version.of({LAPTOP: 3, DeviceId("desktop-00000000"): 9}),
    candidates=(
        *on_lan(["192.168.1.5:4711", "[fe80::1]:4711"]),
        Candidate(kind=CandidateKind.SSH, address="ann@box.example.org:2222/4711"),
        Candidate(kind=CandidateKind.REFLECTOR, address="box.example.org:1986/" + "0" * 32),
    ),
    certificate=b"\x30\x82cert",
    on_hub=True,
    inline=b"PACK\0\0\0\2",
    sent_at_ms=1_790_000_000_000,
)
EXAMPLE = Path(__file__).parents[2] / "examples" / ".autosync-example"


@functools.cache
def scratch() -> Path:
    """Return a directory for this process; whoever set TMPDIR deletes it."""
    return Path(tempfile.mkdtemp(prefix="autosync-fuzz-"))


# -- announcements ---------------------------------------------------------------------------
def _announcement(content: bytes) -> bool:
    try:
        said = decode(content)
    except ValueError:
        return False
    return same(said, decode(encode(said)))


def _sealed(content: bytes) -> bool:
    try:
        opened = KEY.open(content, context=b"announcement")
    except SealBroken:
        return False
    return _announcement(opened)


# -- files -----------------------------------------------------------------------------------
def _config(content: bytes) -> bool:
    file = scratch() / "config.yaml"
    file.write_bytes(content)
    environment = {"HOME": "/home/fuzz"}
    try:
        config = load(str(file), environment, on_disk=False)
    except ConfigError as error:
        return _told(error)
    for path in config.paths:
        os.fsencode(path.path + path.key_file + "".join(path.ignore) + (path.remote or ""))
    return same(config, load(str(file), environment, on_disk=False))


def _synced_settings(content: bytes) -> bool:
    place = scratch()
    (place / ".autosync").write_bytes(content)
    plain = PathConfig(path=str(place), workspace="notes", key_file="/nowhere/key")
    try:
        found = with_overrides(plain, "/nowhere/config.yaml")
    except ConfigError as error:
        return _told(error)
    kept = ("path", "workspace", "key_file", "remote", "mode", "commits", "inline_limit", "hub_prefix", "pull_lock")
    for name in kept:
        same(getattr(plain, name), getattr(found, name))
    same(plain.ignore, found.ignore[: len(plain.ignore)])
    for pattern in found.ignore:
        os.fsencode(pattern)
    return True


def _told(error: ConfigError) -> bool:
    """Return false; raise unless the error can be shown to a user."""
    str(error).encode()
    return False


def _state(content: bytes) -> bool:
    directory, workspace = StateDirectory(str(scratch() / "state")), WorkspaceId("0" * 32)
    file = Path(directory.path) / "workspaces" / f"{workspace}.json"
    file.write_bytes(content)
    try:
        state = directory.workspace(workspace, set_aside=False)
    except StateError:
        return False
    directory.save(workspace, state)
    return same(state, directory.workspace(workspace, set_aside=False))


def _state_seeds() -> Sequence[bytes]:
    state = WorkspaceState(snapshot=SnapshotId("a" * 40), seq=5, seen={LAPTOP: 3}, paused=True)
    return [msgspec.json.encode({"schema": 1, "state": state}), b'{"schema":2}']


def _journal(content: bytes) -> bool:
    place = scratch() / "limbo"
    shutil.rmtree(place, ignore_errors=True)
    batch = place / "private" / "0"
    batch.mkdir(parents=True)
    (place / "canary").write_bytes(b"outside")
    for slot in ("0", "1"):
        (batch / slot).write_bytes(b"old " + slot.encode())
    (batch / "journal").write_bytes(content)
    limbo = Limbo(os.fsencode(place / "private"))
    try:
        for kept in limbo.kept():
            directory, slash, name = kept.slot.partition(b"/")
            if (directory, slash) != (b"0", b"/") or unsafe_component(name) or name == b"journal":
                raise Broken(f"slot {kept.slot!r}")
            if any(map(unsafe_component, kept.path.split(b"/"))):
                raise Broken(f"path {kept.path!r}")
            limbo.look(kept)
            limbo.release(kept)
    finally:
        limbo.close()
    same(b"outside", (place / "canary").read_bytes())
    # What a journal does not explain is put aside, never deleted.
    return same(set(), set(os.listdir(place)) - {"canary", "private", "recovered"})


def _journal_seeds() -> Sequence[bytes]:
    place = scratch() / "journal"
    shutil.rmtree(place, ignore_errors=True)
    (place / "0").mkdir(parents=True)
    (place / "0" / "0").write_bytes(b"x")
    descriptor = os.open(place, os.O_RDONLY)
    was = signature_at(descriptor, b"0/0")
    os.close(descriptor)
    text = '{"slot": "%d", "path": "a/b", "kind": %s, "oid": %s, "was": %s, "placed": %s}\n'
    first = text % (0, '"file"', f'"{"a" * 40}"', list(was or ()), "null")
    begun = f'{{"slots": [{first.strip()}]}}\n'
    second = text % (1, "null", "null", list(was or ()), [1, 2, 3, 4])
    return [first.encode(), (begun + first).encode(), (second + first).encode(), b"torn"]


# -- from the network ---------------------------------------------------------------------------
class Member:
    """A workspace that keeps nothing of what it is told, and has nothing."""

    key = KEY
    device = LAPTOP
    name = "laptop"

    def announced(self, sealed: bytes, peer: DeviceId) -> None:
        """Forget it."""

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """Have nothing."""
        del have, out
        raise Missing(f"no {want}", hint="")


def _beacon(content: bytes) -> bool:
    return asyncio.run(_hear(content))


async def _hear(content: bytes) -> bool:
    links = Links(load_or_create_identity(str(scratch())), listen=("127.0.0.1", 0))
    links.add(Member())
    dropped: Counter[str] = Counter()
    discovery = Discovery(links, dropped)
    try:
        discovery._take("label", as_text(KEY, "label", content))
        discovery._take("label", content)
    finally:
        await links.stop()
    if unknown := dropped.keys() - {"stranger", "malformed beacon", "copied state-dir"}:
        raise Broken(f"counted as {unknown}")
    return not dropped["malformed beacon"]


def _beacon_seeds() -> Sequence[bytes]:
    return [
        b'{"device":"desktop-00000000","instance":"00ff","addresses":["192.0.2.1:4711"],"local":[],"port":%s}' % port
        for port in (b"4711", b"0", b"Infinity", b"1e999")
    ] + [b'{"device":"laptop-0a1b2c3d","instance":"00","addresses":[],"local":["fe80::1"],"port":1}']


def _xmpp(content: bytes) -> bool:
    try:
        message = ET.fromstring(content)  # noqa: S314 - as slixmpp reads it
    except (ET.ParseError, ValueError):  # ValueError: an encoding that expat cannot have
        return False
    found: list[Item] = []
    inbox = Inbox(
        {"me@example.org": NAMESPACE},
        deliver=found.append,
        node_deleted=lambda _: None,
        wanted=lambda tag: tag != "others",
    )
    inbox.take_event(message)
    if unknown := inbox.dropped.keys() - {"forged", "malformed", "too large"}:
        raise Broken(f"counted as {unknown}")
    for item in found:
        if item.workspace_tag == "others":
            raise Broken("what nobody here wants was delivered")
        element = ET.Element("item", {"id": item.slot})
        element.append(write_item(item))
        same(item, read_item(ET.fromstring(ET.tostring(element))))  # noqa: S314
    return bool(found)


def _xmpp_seeds() -> Sequence[bytes]:
    return [
        (
            f'<message xmlns="jabber:client" from="{who}"><event xmlns="{EVENT}"><items node="{NAMESPACE}">'
            f'<item id="{"a" * 32}"><announcement xmlns="{NAMESPACE}" workspace="{tag}">aGVsbG8=</announcement></item>'
            "</items></event></message>"
        ).encode()
        for who, tag in (("me@example.org", "w"), ("me@example.org/x", "w"), ("me@example.org", "others"))
    ] + [
        f'<message from="me@example.org"><event xmlns="{EVENT}"><delete node="{NAMESPACE}"/></event></message>'.encode()
    ]


# -- names ----------------------------------------------------------------------------------
def _name(content: bytes) -> bool:
    if unsafe_component(content) is not None:
        return False
    plain = folded(content).rstrip(". ")
    if not content or b"/" in content or b"\0" in content or plain in {".git", ".hg", "git~1", "hg~1"}:
        raise Broken(f"{content!r} may be written")
    same(folded(content), folded(folded(content).encode("utf-8", "surrogateescape")))
    return True


def _conflict_name(content: bytes) -> bool:
    """Name a conflict copy, and take the content for such a name itself."""
    name, _, device = content.partition(b"\0")
    if unsafe_component(name) is not None or len(name) > 255:
        return False
    path = RelPath(b"d/" + name)
    made = conflict_name(
        path,
        device=device.decode("utf-8", "surrogateescape"),
        time=int.from_bytes(content[:7]),
        taken=lambda path: b" 2" not in path,
    )
    _expect_beside(made)
    parsed = parse_conflict_name(path)
    if parsed is not None:
        _expect_beside(parsed.original)
        _expect_beside(ordinary_name(parsed, taken=lambda _: False))
    return True


def _copies() -> Sequence[bytes]:
    copy = b" (conflict, desktop, 2026-11-21 10.15.02)"
    return [b"report.tar.gz\0desktop", "ä\0\x1b".encode(), b"report" + copy + b".txt", b".git" + copy, copy]


def _expect_beside(path: bytes) -> None:
    directory, _, name = path.partition(b"/")
    if directory != b"d" or len(name) > 255 or unsafe_component(name) is not None:
        raise Broken(f"{path!r} would be written")


# -- lines of a reflector and of a fanout server -----------------------------------------------
def _request(content: bytes) -> bool:
    try:
        asked = parse(content)
    except Malformed:
        return False
    parts = (asked.verb.value, asked.name, asked.slot, asked.payload)
    return same(asked, parse(b" ".join(part for part in parts if part)))


class _Listener:
    """Counts what a channel lets through."""

    def __init__(self) -> None:
        self.sealed: list[bytes] = []

    def sealed_received(self, workspace_tag: str, sealed: bytes, lane: str) -> None:  # noqa: ARG002
        self.sealed.append(sealed)

    def channel_ready(self, lane: str) -> None:
        """Nobody waits for it."""

    def catch_up_done(self, lane: str) -> None:
        """Nobody waits for it."""


def _server_lines(content: bytes) -> bool:
    listener = _Listener()
    channel = ReflectorChannel(("127.0.0.1", 1), listener, tags=lambda: ())
    channel.heard_of.add(b"tag")
    try:
        lines = Splitter().feed(content)
    except Malformed:
        return False
    for line in lines:
        channel.line_received(line)
    return bool(listener.sealed) and all(listener.sealed)


TARGETS = (
    Target(name="announcement", feed=_announcement, seeds=lambda: [encode(ANNOUNCEMENT)]),
    Target(name="sealed", feed=_sealed, seeds=lambda: [KEY.seal(encode(ANNOUNCEMENT), context=b"announcement")]),
    Target(name="config", feed=_config, seeds=lambda: [EXAMPLE.read_bytes(), b"device: x\npaths: []\n"]),
    Target(
        name="synced-settings",
        feed=_synced_settings,
        seeds=lambda: [b"settle: 50ms\nmax-wait: 2s\ncommit-after: 1m\nignore: ['*.o', \"\\e[31m\"]\n"],
    ),
    Target(name="state", feed=_state, seeds=_state_seeds),
    Target(name="journal", feed=_journal, seeds=_journal_seeds),
    Target(name="beacon", feed=_beacon, seeds=_beacon_seeds),
    Target(name="xmpp", feed=_xmpp, seeds=_xmpp_seeds),
    Target(name="name", feed=_name, seeds=lambda: [".g\u200cit".encode(), b"GIT~1", b".git::$INDEX_ALLOCATION", b"a"]),
    Target(name="conflict-name", feed=_conflict_name, seeds=_copies),
    Target(
        name="request", feed=_request, seeds=lambda: [b"keep tag slot QUJD", b"announce id a message", b"follow tag"]
    ),
    Target(
        name="server-lines",
        feed=_server_lines,
        seeds=lambda: [b"debug!connected...\ntag!slot QUJD\ntag!QUJD\n1700000000\ntag!end\ndebug!refused so\nx!y\n"],
    ),
)
