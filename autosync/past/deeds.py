"""Remembers which changes of a working copy brought back what had been."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass

from autosync.core.model import RelPath, Snapshot, SnapshotId
from autosync.durable import replacing

_NAME = b"brought-back"
_LINE = re.compile(r"([0-9a-f]{40,64}) (undo|restored) ([0-9a-f]{40,64})")
_MOST = 200
"""Deeds that are remembered: at first twice as many, so that not each of them rewrites the file."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What was brought back: all of the working copy (``undo``) or a part of it, as it was in ``state``."""

    undo: bool
    state: SnapshotId


class Deeds:
    """A line for each deed, with the snapshot that it followed, in our private directory ``metadata``.

    It is an aid: what cannot be written or read is told as any other change.
    """

    def __init__(self, metadata: bytes) -> None:
        self._file = os.path.join(metadata, _NAME)

    def note(self, recorded: SnapshotId, path: RelPath, state: SnapshotId) -> None:
        """Note that ``path`` is brought to what it was in ``state``; ``recorded`` is what stood there before."""
        line = f"{recorded} {'restored' if path else 'undo'} {state}\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(self._file, flags, 0o600), "ab") as file:
                file.write(line.encode())
            kept = self._lines()
            if len(kept) > 2 * _MOST:
                with replacing(self._file, durable=False) as new:
                    new.write("".join(f"{each}\n" for each in kept[-_MOST:]).encode())
        except OSError as error:
            log.warning("%s cannot be written: %s", os.fsdecode(self._file), error.strerror)

    def read(self) -> dict[SnapshotId, Deed]:
        """Return each deed by the snapshot that it followed."""
        found = (_LINE.fullmatch(line) for line in self._lines())
        return {
            SnapshotId(match[1]): Deed(undo=match[2] == "undo", state=SnapshotId(match[3])) for match in found if match
        }

    def _lines(self) -> list[str]:
        with contextlib.suppress(OSError):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would never end
            with open(os.open(self._file, flags), "rb") as file:
                return file.read().decode("ascii", "replace").splitlines()
        return []


def deed_of(snapshot: Snapshot, device: str, deeds: dict[SnapshotId, Deed]) -> Deed | None:
    """Return what ``snapshot`` is the trace of, if this ``device`` made it by bringing something back."""
    if snapshot.device != device:
        return None
    return next((deeds[parent] for parent in snapshot.parents if parent in deeds), None)
