"""Names the copies that keep the losing side of a conflict, and reads such names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from autosync.core.model import RelPath
from autosync.core.safety import unsafe_component

COMPONENT_LIMIT = 255
"""Longest name of one path component in bytes (NAME_MAX of Linux's file systems)."""

_EXTENSION_LIMIT = 16
_DEVICE_LIMIT = 64
_LAST_SECOND = 253_402_300_799  # 9999-12-31 23:59:59, the last one that datetime can show
_CUT_MOST = 3
"""Bytes that a name may stay below its limit so that no UTF-8 character is cut."""

MARK = b" (conflict, "
"""What is in the name of every conflict copy."""
_NAME = re.compile(
    rb"(?P<stem>.+) \(conflict, (?P<device>[^()]+), (?P<time>\d{4}-\d\d-\d\d \d\d\.\d\d\.\d\d)\)"
    rb"(?: (?:[2-9]|[1-9][0-9]+))?(?P<extension>(?:\.[^ ]*)?)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictName:
    """What the name of a conflict copy tells.

    ``copy`` is the name itself, ``original`` the path whose other version it is; ``device``
    made the copy's content, at ``time`` (seconds since the epoch).  With ``shortened`` the
    original's name may have been longer: then ``original`` is what is left of it.
    """

    copy: RelPath
    original: RelPath
    device: str
    time: int
    shortened: bool = False

    def is_by(self, device: str) -> bool:
        """Return whether the device of this name (of several, as after a merge) made the copy."""
        made_by, name = self.device.split("+"), _printable(device)
        if name in made_by:
            return True
        return len(self.device.encode()) >= _DEVICE_LIMIT - _CUT_MOST and name.startswith(made_by[-1])


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


def parse_conflict_name(path: RelPath) -> ConflictName | None:
    """Return what the last component of ``path`` tells if :func:`conflict_name` can have made it, else ``None``."""
    directory, slash, name = path.rpartition(b"/")
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    stem, extension = found["stem"], found["extension"]
    try:
        device = found["device"].decode()
        moment = datetime.strptime(found["time"].decode(), "%Y-%m-%d %H.%M.%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    time = int(moment.timestamp())
    if unsafe_component(stem + extension) is not None:  # a file that comes from others may be called so
        return None
    if time < 0 or (extension and split_extension(b"x" + extension) != (b"x", extension)):
        return None
    return ConflictName(
        copy=path,
        original=RelPath(directory + slash + stem + extension),
        device=device,
        time=time,
        shortened=COMPONENT_LIMIT - _CUT_MOST <= len(name) <= COMPONENT_LIMIT,
    )


def original_of(name: ConflictName, siblings: Iterable[bytes]) -> RelPath | None:
    """Return the path whose other version a copy is, ``None`` if its name was shortened and nothing tells.

    ``siblings`` are the names in the copy's directory: the original's begins as the copy's.
    """
    if not name.shortened:
        return name.original
    directory, slash, short = name.original.rpartition(b"/")
    stem, extension = split_extension(short)
    found = {
        sibling
        for sibling in siblings
        if sibling.startswith(stem)
        and sibling.endswith(extension)
        and len(sibling) >= len(short)
        and parse_conflict_name(RelPath(sibling)) is None
    }
    return RelPath(directory + slash + found.pop()) if len(found) == 1 else None


def ordinary_name(name: ConflictName, *, taken: Callable[[RelPath], bool]) -> RelPath:
    """Return a free name for a copy that is no conflict any more: ``name (laptop).ext``, `` 2`` and so on added."""
    directory, slash, original = name.original.rpartition(b"/")
    stem, extension = split_extension(original)
    number = 1
    while True:
        counter = b"" if number == 1 else b" %d" % number
        tail = b" (%b)" % name.device.encode() + counter + extension
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
    clean = "".join(c if c.isprintable() and c not in '/\\:*?"<>|()' else "-" for c in device)
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
