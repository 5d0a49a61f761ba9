"""A member of a workspace that has its key and says what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from autosync.backends.git.objects import format_snapshot
from autosync.backends.git.thin import Loose, Outgoing, encode
from autosync.core.announcement import encode as encode_announcement
from autosync.core.condensing import condense
from autosync.core.events import Announcement
from autosync.core.model import Base, CommitId, DeviceId, SnapshotId, TreeId, Version
from autosync.link import Timing, wire
from autosync.link.hello import Hello, open_hello, receive_hello, secure
from autosync.link.wire import Kind, Outcome
from autosync.trust.identity import certify, load_or_create_identity
from autosync.trust.sealing import WorkspaceKey
from autosync.trust.signing import device_id, sign

FILE, EXECUTABLE, LINK, DIRECTORY = b"100644", b"100755", b"120000", b"40000"
Tree = list[tuple[bytes, bytes, bytes]]
"""Lines of a tree object: mode, name, raw id; written in this order, whatever git thinks of it."""


class Objects:
    """git objects that no git has checked."""

    def __init__(self) -> None:
        self.made: dict[bytes, Loose] = {}

    def blob(self, content: bytes) -> bytes:
        return self.add(b"blob", content)

    def tree(self, lines: Tree) -> bytes:
        return self.add(b"tree", b"".join(b"%s %s\0%s" % line for line in lines))

    def add(self, kind: bytes, content: bytes) -> bytes:
        """Return the raw id of a new object."""
        oid = hashlib.sha1(b"%s %d\0" % (kind, len(content)) + content).digest()  # noqa: S324  # git's
        self.made[oid] = Loose(kind=kind, content=content)
        return oid

    def snapshot(
        self,
        tree: bytes,
        *,
        base: str | None,
        branch: str | None = "refs/heads/main",
        version: dict[str, int] | None = None,
        device: str = "mallory",
        time: int = 1_700_000_000,
    ) -> SnapshotId:
        """Return the id of a new snapshot."""
        counters = tuple(sorted((DeviceId(d), n) for d, n in (version or {"mallory-" + 26 * "6": 1}).items()))
        content = format_snapshot(
            tree=TreeId(tree.hex()),
            base=Base(commit=None if base is None else CommitId(base), branch=branch),
            version=Version(counters),
            parents=(),
            device=device,
            time=time,
        )
        return SnapshotId(self.add(b"commit", content).hex())

    def pack(self) -> bytes:
        """Return everything as one pack."""
        packed = encode([Outgoing(object=loose) for loose in self.made.values()], "sha1", limit=1 << 30)
        assert packed is not None
        return packed


@dataclass(frozen=True, slots=True)
class Voice:
    """What one needs to speak as a device."""

    device: DeviceId
    key: ec.EllipticCurvePrivateKey
    certificate_der: bytes

    @classmethod
    def of_ghost(cls, name: str = "ghost") -> Voice:
        """Return a device that was made up this moment: anybody can make up keys."""
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(device_id(name, key.public_key()), key, certify(key).public_bytes(Encoding.DER))

    def called(self, name: str) -> Voice:
        """Return another device with the same key."""
        return replace(self, device=device_id(name, self.key.public_key()))


class Rogue:
    """One link to an agent.  ``packs`` is what it answers when it is asked for a snapshot, ``asked`` the questions."""

    def __init__(
        self, key: WorkspaceKey, voice: Voice, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.packs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.device = voice.device
        self.voice = voice
        self._key = key
        self.reader = reader
        self.writer = writer
        self._seq = 0

    def sealed(self, *, by: Voice | None = None, **said: Any) -> bytes:
        """Return an announcement with these fields, sound but for them; signed ``by`` another device than itself."""
        self._seq += 1
        voice = by or self.voice
        fields: dict[str, Any] = {
            "device": voice.device,
            "name": "mallory",
            "seq": self._seq,
            "state": "ok",
            "snapshot": None,
            "tree": None,
            "base": Base(commit=None, branch="refs/heads/main"),
            "version": Version(((voice.device, self._seq),)),
            "candidates": (),
            "certificate": voice.certificate_der,
            **said,
        }
        return self.signed_and_sealed(encode_announcement(Announcement(**fields)), voice)

    def signed_and_sealed(self, encoded: bytes, voice: Voice | None = None) -> bytes:
        """Return these bytes as an announcement of a device."""
        purpose = b"announcement in " + bytes.fromhex(self._key.id)
        signature = sign((voice or self.voice).key, encoded, purpose=purpose)
        return self.sealed_bytes(condense(encoded) + signature)

    def sealed_bytes(self, content: bytes) -> bytes:
        return self._key.seal(content, context=b"announcement")

    async def send(self, *sealed: bytes) -> None:
        """Send announcements, each of them."""
        self.writer.write(b"".join(wire.frame(Kind.ANNOUNCE, one) for one in sealed))
        await self.writer.drain()

    async def say(self, **said: Any) -> None:
        """Announce."""
        await self.send(self.sealed(**said))

    async def offer(self, snapshot: SnapshotId, objects: Objects, *, inline: bool, **said: Any) -> None:
        """Announce a snapshot, with its pack in the announcement or on request."""
        pack = objects.pack()
        self.packs[snapshot] = b"" if inline else pack
        await self.say(snapshot=snapshot, inline=pack if inline else b"", **said)

    async def serve(self) -> None:
        """Answer what the agent asks until the link ends."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                kind, payload = await wire.read_frame(self.reader)
                if kind == Kind.PING:
                    self.writer.write(wire.frame(Kind.PONG, payload))
                elif kind == Kind.FETCH:
                    request, wish = wire.parse_fetch(payload)
                    self.asked.append(wish.want)
                    pack = self.packs.get(wish.want, b"")
                    for start in range(0, len(pack), wire.CHUNK):
                        self.writer.write(wire.chunk(request, pack[start : start + wire.CHUNK]))
                    self.writer.write(wire.end(request, Outcome.COMPLETE if pack else Outcome.MISSING))
                await self.writer.drain()


@contextlib.asynccontextmanager
async def rogue(
    key: WorkspaceKey, port: int, place: Path, name: str = "mallory", *, serving: bool = True
) -> AsyncIterator[Rogue]:
    """A rogue that is linked with the agent at ``port``; without ``serving`` what it is sent is left to be read."""
    identity = load_or_create_identity(str(place / name))
    voice = Voice(identity.device_id(name), identity.key, identity.certificate_der)
    mine = Hello(
        device=voice.device,
        name=name,
        certificate_der=identity.certificate_der,
        instance=os.urandom(8),
        number=1,
        nonce=os.urandom(16),
    )
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_sendall(connection, mine.sealed(key, answers=None))
    theirs = open_hello(key, await receive_hello(connection), answers=mine.nonce)
    reader, writer = await secure(connection, identity, theirs, dialled=True, timing=Timing())
    assert (await wire.read_frame(reader))[0] == Kind.READY
    member = Rogue(key, voice, reader, writer)
    tasks = [asyncio.create_task(member.serve())] if serving else []
    try:
        yield member
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def below(objects: Objects, *names: bytes, content: bytes = b"pwned\n") -> Tree:
    """Return the lines of a tree with one executable file below directories of these names."""
    *directories, last = names
    lines: Tree = [(EXECUTABLE, last, objects.blob(content))]
    for name in reversed(directories):
        lines = [(DIRECTORY, name, objects.tree(lines))]
    return lines


def bomb(objects: Objects, *, depth: int = 12, width: int = 10) -> Tree:
    """Return the lines of a tree of ``width ** depth`` files that takes ``depth`` small objects."""
    oid, mode = objects.blob(b"boom\n"), FILE
    for _ in range(depth):
        oid = objects.tree([(mode, b"%d" % n, oid) for n in range(width)])
        mode = DIRECTORY
    return [(DIRECTORY, b"bomb", oid)]
