"""Reads the keys that say how this device is reached from afar, and how much of its lines may be used."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from autosync.config.reading import Value
from autosync.core.candidates import Candidate, CandidateKind

T = TypeVar("T")

SLOWEST = 8 * 1024
"""Bytes per second: with less, the answers of a few links at once would look like stalled ones."""
_MOST = 1 << 40


def unless_none(read: Callable[[Value], T]) -> Callable[[Value], T | None]:
    """Return what reads a value that may be ``none``: as if the key were not there."""
    return lambda value: None if getattr(value.node, "value", None) == "none" else read(value)


def read_limit(value: Value) -> int | None:
    """Return bytes per second, ``None`` for none."""
    if getattr(value.node, "value", None) == "none":
        return None
    limit = value.size(most=_MOST)
    if limit < SLOWEST:
        raise value.error("must be at least 8k", "Sizes are per second; `none` is no limit.")
    return limit


def read_public_address(value: Value) -> tuple[str, int]:
    """Return host and port, 0 if none is written."""
    text = value.text()
    match = None if text.endswith("]") else re.fullmatch(r"(.*?)(?::([0-9]{1,5}))?", text)
    host, port = (match[1], match[2]) if match is not None else (text, None)
    if Candidate(kind=CandidateKind.PUBLIC, address=f"{host}:{port or 1}").problem():
        raise value.error(
            "must be a host, with a port if that is not the one of `listen`",
            "Write it like this: home.example.org:4711; an IPv6 address needs brackets: '[fd00::2]:4711'",
        )
    return host.removeprefix("[").removesuffix("]"), int(port or 0)
