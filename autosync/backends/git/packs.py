"""Lists, writes, joins and deletes the packs of the private store."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autosync.backends.git.repository import Repository
from autosync.backends.git.store import TIDY_LOCK
from autosync.errors import StateError

_INDEX_HEAD = struct.Struct(">4sI1020xI")
"""Magic, version, and the last of the 256 sums: the count of objects."""
HOUR = 3600.0
WEEK = 7 * 24 * HOUR

_GROWTH = 2
"""A pack stays as it is while it is this many times larger than all smaller ones together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One pack: its name without suffix, size in bytes, and when its newest object came (seconds since the epoch)."""

    name: bytes
    size: int
    time: float


class Packs:
    """The packs of one store.

    git-repack(1) does not fit: with ``-l`` it drops what the user's repository has too,
    which his next ``git gc`` may take away there, and without it copies all his history.
    """

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._directory = os.path.join(repo.store_dir, b"objects", b"pack")

    def list(self) -> Sequence[Pack]:
        """Return all complete packs, smallest first."""
        found = []
        for name in os.listdir(self._directory):
            if name.startswith(b"pack-") and name.endswith(b".idx"):
                stem = name.removesuffix(b".idx")
                with contextlib.suppress(FileNotFoundError):
                    state = os.stat(os.path.join(self._directory, stem + b".pack"))
                    found.append(Pack(name=stem, size=state.st_size, time=state.st_mtime))
        return sorted(found, key=lambda pack: (pack.size, pack.name))

    def write(self, *args: str, request: bytes, time: float | None = None) -> bytes | None:
        """Write what ``git pack-objects`` with ``args`` makes of ``request``; return its name, ``None`` if it is empty.

        ``time`` becomes the pack's.
        """
        prefix = os.path.join(self._directory, b"pack")
        limits = ("-c", "pack.packSizeLimit=0")
        printed = self._repo.store.run(
            *limits, "pack-objects", "-q", "--non-empty", *args, prefix, input=request
        ).split()
        if not printed:
            return None
        name = b"pack-" + printed[-1]
        if time is not None:
            os.utime(os.path.join(self._directory, name + b".pack"), (time, time))
        return name

    def roll_up(self, *, most: int, now: float) -> None:
        """If there are more than ``most`` packs, join the small ones.

        Only packs of one week are joined, none of the last hour with an older one, and the
        new pack is as old as the youngest of them: so the age of a pack remains good for
        :class:`~autosync.backends.git.expiry.Expiry`.
        """
        packs = self.list()
        if len(packs) <= most:
            return
        weeks: dict[tuple[int, bool], list[Pack]] = {}
        for pack in packs:
            weeks.setdefault((int(pack.time // WEEK), pack.time > now - HOUR), []).append(pack)
        for week in weeks.values():
            small = _small(week)
            if len(small) > 1:
                names = b"".join(pack.name + b".pack\n" for pack in small)
                new = self.write("--stdin-packs", request=names, time=max(pack.time for pack in small))
                self.delete(pack.name for pack in small if pack.name != new)

    def delete(self, names: Iterable[bytes]) -> None:
        """Delete packs whose objects are elsewhere by now; who has one open reads on.

        The index goes first: a pack without one is not there for git.  The others who have the store open are told.
        """
        for name in names:
            for suffix in (b".idx", b".rev", b".pack"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._directory, name + suffix))
        with open(os.path.join(self._repo.store_dir, TIDY_LOCK), "ab") as told:
            os.utime(told.fileno())

    def objects(self, packs: Iterable[Pack]) -> frozenset[str]:
        """Return the ids of all objects in ``packs``, read from their indexes (gitformat-pack(5), version 2)."""
        width = self._repo.hex_digits // 2
        found: set[str] = set()
        for pack in packs:
            with open(os.path.join(self._directory, pack.name + b".idx"), "rb") as index:
                head = index.read(_INDEX_HEAD.size).ljust(_INDEX_HEAD.size, b"\0")
                magic, version, count = _INDEX_HEAD.unpack(head)
                size = count * width
                whole = (magic, version) == (b"\377tOc", 2) and size <= os.fstat(index.fileno()).st_size - len(head)
                if not whole:
                    raise StateError(
                        f"{os.fsdecode(index.name)} is no index of version 2",
                        hint=f"Rebuild it: git index-pack {os.fsdecode(index.name).removesuffix('.idx')}.pack",
                    )
                ids = index.read(size).hex()
            found.update(ids[at : at + 2 * width] for at in range(0, len(ids), 2 * width))
        return frozenset(found)


def _small(packs: Sequence[Pack]) -> Sequence[Pack]:
    """Return those of ``packs``, smallest first, that are to be joined so that sizes grow geometrically."""
    below = sum(pack.size for pack in packs)
    for count in range(len(packs), 0, -1):
        below -= packs[count - 1].size
        if packs[count - 1].size < _GROWTH * below:
            return packs[:count]
    return ()
