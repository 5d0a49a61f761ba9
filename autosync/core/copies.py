"""Names the copies that keep the losing side of a conflict."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from autosync.core.model import RelPath

COMPONENT_LIMIT = 255
"""Longest name of one path component in bytes (NAME_MAX of Linux's file systems)."""

_EXTENSION_LIMIT = 16
_DEVICE_LIMIT = 64
_LAST_SECOND = 253_402_300_799  # 9999-12-31 23:59:59, the last one that datetime can show


def conflict_name(path: RelPath, *, device: str, time: int, taken: Callable[[RelPath], bool]) -> RelPath:
    """Return a free name beside ``path``: ``name (conflict, laptop, 2026-11-21 10.15.02).ext``.

    ``device`` made the copied content, ``time`` is when (seconds since the epoch, shown in
    UTC).  While ``taken`` says that a name is in use, " 2", " 3" and so on is added.  No
    component gets longer than :data:`COMPONENT_LIMIT`; the stem gives way.
    """
    directory, slash, name = path.rpartition(b"/")
    stem, extension = split_extension(name)
    mark = f" (conflict, {_printable(device)}, {_utc(time)})".encode()
    number = 1
    while True:
        counter = b"" if number == 1 else b" %d" % number
        tail = mark + counter + extension
        candidate = RelPath(directory + slash + _shorten(stem, COMPONENT_LIMIT - len(tail)) + tail)
        if not taken(candidate):
            return candidate
        number += 1


def split_extension(name: bytes) -> tuple[bytes, bytes]:
    """Return a file name in two parts, the second being what tells programs its type.

    ``.tar.gz`` and its like stay whole; a leading dot starts no extension, and neither
    does one that is followed by something long or with a space in it.
    """
    stem, dot, last = name.rpartition(b".")
    if not dot or not stem.strip(b".") or not last or len(last) > _EXTENSION_LIMIT or b" " in last:
        return name, b""
    if stem.lower().endswith(b".tar") and stem[:-4].strip(b"."):
        return stem[:-4], stem[-4:] + dot + last
    return stem, dot + last


def _printable(device: str) -> str:
    """Return a device's name without what would break a path or a terminal, at most 64 bytes long."""
    clean = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "-" for c in device)
    return _shorten(clean.encode("utf-8", "replace"), _DEVICE_LIMIT).decode("utf-8", "replace") or "-"


def _utc(time: int) -> str:
    return datetime.fromtimestamp(min(max(time, 0), _LAST_SECOND), tz=UTC).strftime("%Y-%m-%d %H.%M.%S")


def _shorten(name: bytes, limit: int) -> bytes:
    """Return ``name`` cut to ``limit`` bytes, not in the middle of a UTF-8 character."""
    if len(name) <= limit:
        return name
    end = limit
    while end > 0 and limit - end < 3 and name[end] & 0xC0 == 0x80:
        end -= 1
    return name[: end if name[end] & 0xC0 != 0x80 else limit]
