"""Notes what is integrated before the store has it on the disk, for the case that the agent is killed meanwhile."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator

from autosync.core.model import SnapshotId

_NAME = re.compile(rb"early-([0-9a-f]{40}|[0-9a-f]{64})")

log = logging.getLogger(__name__)


class Early:
    """A file for each snapshot, with the inline pack that it came in, in our private directory ``metadata``.

    Without it, what a killed agent had already brought would look like edits that the user made here,
    and clash with what their maker made of them since.  It is not forced to the disk: after a power
    cut it may be missing, for the snapshot itself is on the disk a moment later.
    """

    def __init__(self, metadata: bytes) -> None:
        self._metadata = metadata

    def note(self, snapshot: SnapshotId, pack: bytes) -> bool:
        """Return whether it is noted."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(self._path(snapshot), flags, 0o600), "wb") as file:
                file.write(pack)
        except OSError:
            return False
        return True

    def forget(self, snapshot: SnapshotId) -> None:
        """Take the note away: the store has the snapshot."""
        with contextlib.suppress(OSError):  # what is left tells nothing that is not so
            os.unlink(self._path(snapshot))

    def left(self) -> Iterator[tuple[SnapshotId, bytes]]:
        """Yield each snapshot that is noted and its pack, which may be torn.

        A note that cannot be read is passed over: it is only an aid.
        """
        try:
            names = os.listdir(self._metadata)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("what was noted in %s cannot be read: %s", os.fsdecode(self._metadata), error.strerror)
            return
        for found in filter(None, map(_NAME.fullmatch, names)):
            path = os.path.join(self._metadata, found[0])
            try:
                with open(path, "rb", opener=_opened) as file:
                    pack = file.read()
            except OSError as error:
                log.warning("%s cannot be read: %s", os.fsdecode(path), error.strerror)
                continue
            yield SnapshotId(found[1].decode()), pack

    def _path(self, snapshot: SnapshotId) -> bytes:
        return os.path.join(self._metadata, b"early-" + snapshot.encode())


def _opened(path: str | bytes, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would never end
