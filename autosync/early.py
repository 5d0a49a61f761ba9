"""Notes what is integrated before the store has it on the disk, for the case that the agent is killed meanwhile."""

from __future__ import annotations

import contextlib
import os
import re

from autosync.core.model import SnapshotId

_NAME = b"early"
_FORM = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64})\n(.+)", re.DOTALL)


class Early:
    """One snapshot at most, with the inline pack that it came in, in our private directory ``metadata``.

    Without it, what a killed agent had already brought would look like edits that the user made here,
    and clash with what their maker made of them since.  It is not forced to the disk: after a power
    cut it may be missing, for the snapshot itself is on the disk a moment later.
    """

    def __init__(self, metadata: bytes) -> None:
        self._path = os.path.join(metadata, _NAME)

    def note(self, snapshot: SnapshotId, pack: bytes) -> bool:
        """Return whether it is noted, in the place of what was before."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(self._path, flags, 0o600), "wb") as file:
                file.write(snapshot.encode() + b"\n" + pack)
        except OSError:
            return False
        return True

    def forget(self) -> None:
        """Take the note away: the store has the snapshot."""
        with contextlib.suppress(OSError):  # what is left tells nothing that is not so
            os.unlink(self._path)

    def left(self) -> tuple[SnapshotId, bytes] | None:
        """Return the snapshot that is noted and its pack, which may be torn.  Raises :class:`OSError`."""
        try:
            with open(os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                found = _FORM.fullmatch(file.read())
        except (FileNotFoundError, IsADirectoryError):
            return None
        return (SnapshotId(found[1].decode()), found[2]) if found else None
