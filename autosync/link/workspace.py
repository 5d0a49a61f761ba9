"""What a link needs of a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from autosync.core.model import DeviceId, SnapshotId
from autosync.trust.sealing import WorkspaceKey


class WorkspaceHandle(Protocol):
    """One workspace of this device, as its links see it."""

    @property
    def key(self) -> WorkspaceKey:
        """The key that proves membership."""

    @property
    def device(self) -> DeviceId:
        """This device."""

    @property
    def name(self) -> str:
        """This device's name, for people."""

    def announced(self, sealed: bytes, peer: DeviceId) -> None:
        """A linked peer sent an announcement; called in the event loop.

        It has still to be opened: who sent it is known, what it says is not.
        """

    def serve(self, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """As :meth:`autosync.ports.Backend.serve`; called in a thread.

        ``out`` is a pipe; writing raises :class:`BrokenPipeError` once nobody wants the rest.
        """


@runtime_checkable
class AnswersByPeer(Protocol):
    """A workspace whose answers depend on who asks; asked instead of :meth:`WorkspaceHandle.serve`."""

    def serve_peer(self, peer: DeviceId, want: SnapshotId, have: Sequence[str], out: BinaryIO) -> None:
        """As :meth:`WorkspaceHandle.serve`, for the device that has proved to be ``peer``."""


@runtime_checkable
class NamesItself(Protocol):
    """A workspace that says what it is called on this device."""

    @property
    def workspace(self) -> str:
        """The workspace's name, for people."""


def called(handle: WorkspaceHandle) -> str:
    """Return what the log calls a workspace's links by: its name if it says that, else this device's."""
    return handle.workspace if isinstance(handle, NamesItself) else handle.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What is known of one way to a peer.

    ``rtt_ms`` and ``throughput`` (bytes per second) are as last measured, the times in
    seconds since the epoch; ``problem`` says why the last attempt failed, if none has
    succeeded since.
    """

    kind: str
    address: str
    rtt_ms: float | None = None
    throughput: float | None = None
    used_at: float | None = None
    failed_at: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """What is known of a peer and the ways to it.

    ``device`` is ``None`` for a configured address that has not answered yet; ``address`` and
    ``kind`` are those of the link, or of the way to be tried first; ``rtt_ms`` is the last
    measured round trip; ``problem`` says why the last attempt failed.
    """

    device: DeviceId | None
    name: str
    address: str
    connected: bool
    rtt_ms: float | None = None
    problem: str = ""
    kind: str = ""
    dialled: bool = False
    """Whether this device made the link, and so chose the way."""
    ways: tuple[Way, ...] = ()
    """All that are known, in the order in which they are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long links wait, in seconds."""

    hello: float = 5.0
    """For each step of a new connection: connecting, the hello, TLS."""
    ping: float = 30.0
    """Between pings."""
    patience: float = 30.0
    """For any sign of life after a ping."""
    doubt: float = 3.0
    """The same once there is a cause for doubt: this machine slept, or its networks changed."""
    stall: float = 120.0
    """For the next bytes of a fetch."""
    stagger: float = 0.25
    """Between attempts at the addresses of one peer (RFC 8305, "Happy Eyeballs", 5)."""
    retry_first: float = 0.25
    retry_most: float = 30.0
    better: float = 30.0
    """Before a nearer way than that of a link is tried, the first time; then more and more rarely."""
    better_most: float = 600.0
    settled: float = 10.0
    """A link that lived shorter counts as a failed attempt."""
