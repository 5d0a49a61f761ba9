"""Reads from the index which files stand as they were when git looked at them (gitformat-index(5))."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from autosync.backends.git.repository import Repository
from autosync.backends.git.settings import FileSignature, file_signature
from autosync.core.model import RelPath

MANY = 64
"""Paths for which the index is read at all: below it their contents are read as quickly."""
_SHARE = 32
"""Entries of the index for each path that is asked for, at most: beyond it reading them all takes longer."""
_TICK = 20_000_000
"""ns; twice the coarsest step of file times.  An entry that is not older than the index by that much says nothing:
the file may have been written again within the step (racy-git in git's Documentation/technical)."""

_COARSE = 2_000_000_000
"""ns; the same where a file system, of a memory card or of another machine, keeps whole seconds or every other one."""

_HEADER = struct.Struct(">4sII")
_TIMES = struct.Struct(">10I")  # ctime s, ns, mtime s, ns, dev, ino, mode, uid, gid, size
_CHANGES = struct.Struct(">4I")  # the first of them
_WORD = 0xFFFFFFFF
_ASSUMED, _EXTENDED, _STAGE = 0x8000, 0x4000, 0x3000
_LATER = 0x6000  # of the second flags: skip-worktree, intent-to-add


class Entered(NamedTuple):
    """One file of the index: its stat data as they are written, and the raw id of its content."""

    stat: bytes
    oid: bytes


class IndexFile:
    """The file that the user's git keeps its index in; only ever read."""

    def __init__(self, repo: Repository) -> None:
        self._path = os.path.join(repo.git_dir, b"index")
        self._hash_size = repo.hex_digits // 2
        self._seen: FileSignature = None
        self._entries: Mapping[RelPath, Entered] = {}

    def refresh(self, asked: int) -> None:
        """Read the index if so many paths make it worth it; else know nothing."""
        seen = file_signature(self._path) if asked >= MANY else None
        if seen is None or seen != self._seen:
            self._entries = self._read(asked) if seen is not None else {}
            self._seen = seen if self._entries else None

    def content(self, path: RelPath, found: os.stat_result) -> str | None:
        """Return the hex id of what stands at ``path``, ``None`` unless the index proves it.

        It does by equal size, times, inode, owner and mode: to git such a file is unchanged, and is not read.
        """
        entered = self._entries.get(path)
        if entered is None:
            return None
        return entered.oid.hex() if _stat_data(found, entered.stat) == entered.stat else None

    def _read(self, asked: int) -> Mapping[RelPath, Entered]:
        try:
            with open(self._path, "rb") as file:
                head = file.read(_HEADER.size)
                magic, version, count = _HEADER.unpack(head)
                if magic != b"DIRC" or version not in {2, 3, 4} or count > _SHARE * asked:
                    return {}
                written = os.fstat(file.fileno()).st_mtime_ns
                return dict(_entries(head + file.read(), version, count, self._hash_size, written))
        except (OSError, struct.error, ValueError, IndexError):  # torn, or none of ours: the files tell all the same
            return {}


def _entries(raw: bytes, version: int, count: int, hash_size: int, written: int) -> Iterator[tuple[RelPath, Entered]]:
    """Yield the files that the user did not tell git to ignore, and that are older than what was ``written`` (ns)."""
    fixed = _TIMES.size + hash_size
    at, path = _HEADER.size, b""
    for _ in range(count):
        start = at
        flags = int.from_bytes(raw[start + fixed : start + fixed + 2], "big")
        more = int.from_bytes(raw[start + fixed + 2 : start + fixed + 4], "big") if flags & _EXTENDED else 0
        at = start + fixed + (4 if flags & _EXTENDED else 2)
        if version == 4:
            kept, at = _varint(raw, at)
            path = path[: len(path) - kept]
        else:
            path = b""
        end = raw.index(b"\0", at)
        path += raw[at:end]
        at = end + 1 if version == 4 else start + (end - start + 8) // 8 * 8
        times = raw[start : start + _TIMES.size]
        if is_older(times, written) and not flags & (_ASSUMED | _STAGE) and not more & _LATER:
            yield RelPath(path), Entered(times, raw[start + _TIMES.size : start + fixed])


def is_older(times: bytes, written: int) -> bool:
    """Return whether a file was written so long before ``written`` (ns) that it was not written to again unseen.

    ``times`` are those of change and modification as the index has them, seconds and ns of each.
    """
    _, changed, modify, modified = _CHANGES.unpack_from(times)
    tick = _TICK if changed or modified else _COARSE
    return bool(modify * 1_000_000_000 + modified < written - tick)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return a number as git writes offsets (gitformat-pack(5)), and where it ends."""
    byte = raw[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = raw[at]
        value = (value + 1) << 7 | byte & 0x7F
    return value, at + 1


def _stat_data(found: os.stat_result, entered: bytes) -> bytes:
    """Return what git would write of a file, with the device of ``entered``: git leaves that out of comparisons."""
    mode = stat.S_IFREG | (0o755 if found.st_mode & stat.S_IXUSR else 0o644)
    change, changed = divmod(found.st_ctime_ns, 1_000_000_000)
    modify, modified = divmod(found.st_mtime_ns, 1_000_000_000)
    device = int.from_bytes(entered[16:20], "big")
    return _TIMES.pack(
        change & _WORD,
        changed,
        modify & _WORD,
        modified,
        device,
        found.st_ino & _WORD,
        mode,
        found.st_uid,
        found.st_gid,
        found.st_size & _WORD,
    )
