"""What a connection of a kind is good for, and so how a link behaves on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from autosync.link.wire import CHUNK
from autosync.link.workspace import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Carriage:
    """How patient a link is, and how many bytes it hands over at a time."""

    timing: Timing = field(default_factory=Timing)
    chunk: int = CHUNK
    """Bytes of an answer in one frame, which nothing can overtake: at most :data:`~autosync.link.wire.CHUNK`."""
    unsent: int = 64 * 1024
    """Bytes that may wait in this process to be sent before data has to wait."""


TUNNEL = Carriage(timing=Timing(hello=20.0))
"""For a connection that a program makes, which logs in somewhere first."""

NARROW = Carriage(
    timing=Timing(hello=60.0, ping=120.0, patience=120.0, stall=600.0, retry_first=1.0, retry_most=120.0, settled=60.0),
    chunk=4 * 1024,
    unsent=8 * 1024,
)
"""For a pipe of a few kB/s that others share: small frames, long waits."""
