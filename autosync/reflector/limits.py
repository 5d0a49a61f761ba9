"""What one reflector allows to whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds.

    What an honest client needs is far below each; together they bound the memory, whoever
    connects, to about 250 MB.
    """

    clients: int = 4000
    """Connections; every one takes a file descriptor."""
    clients_per_address: int = 1000
    """Connections from one IPv4 address or IPv6 /64: a whole office may be behind it."""
    subscriptions: int = 1024
    """Of one client: four for each of its working copies are plenty."""
    subscriptions_per_address: int = 50_000
    subscriptions_in_all: int = 200_000
    rate: int = 1024 * 1024
    """Bytes per second of one client, in the long run; more are left waiting in its own machine."""
    burst: int = 4 * 1024 * 1024
    lines_rate: int = 200
    """Lines per second of one client, in the long run."""
    lines_burst: int = 4000
    unsent: int = 2 * 1024 * 1024
    """Waiting for one client that reads slowly, each line with its place in the queue, before it is dropped."""
    unsent_in_all: int = 64 * 1024 * 1024
    unread_in_all: int = 16 * 1024 * 1024
    """Of lines that have begun and not ended."""
    line_within: float = 30.0
    """From the first byte of a line to its last."""
    stuck: float = 60.0
    """A client that takes nothing of what waits for it for so long is dropped."""
    aimless: float = 60.0
    """A client that follows nothing is dropped when it has said nothing for so long."""
    garbage: int = 50
    """Lines that are no requests, before a client is dropped."""
    slots: int = 512
    """Kept in one tag: one for each device."""
    kept: int = 32 * 1024 * 1024
    """Kept in all; of who takes the most, what was not renewed for longest goes first."""
    kept_for: float = 30 * 86400.0
    pipes: int = 1000
    """Pairs of connections that are joined, and calls that wait; 0: none. Each holds two times 16 KiB at most."""
    pipes_per_address: int = 250
    """Ends of pipes that lead to one address."""
    pipe_rate: int = 2 * 1024 * 1024
    """Bytes per second of one end of a pipe, in the long run."""
    pipe_burst: int = 4 * 1024 * 1024
    call_within: float = 15.0
    """From a call until it is taken."""
    pipe_idle: float = 300.0
    """A pipe on which nothing is said for so long is ended; links say something every minute."""
