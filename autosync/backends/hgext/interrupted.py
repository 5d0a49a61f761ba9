"""Tells of which working copy an interrupted transaction is, where several share the store that has its journal."""

from __future__ import annotations

import os
from collections.abc import Iterator

_PLAIN = b"plain"
"""What the journal calls the ``.hg`` of the working copy, without saying whose."""


def is_elsewhere(metadata: bytes, store: bytes) -> bool:
    """Return whether to roll back the transaction in the ``.hg`` ``metadata`` would take its files for another's.

    hg removes a file before it finds out that it has no backup of it here, and one that was not there when the
    transaction began for good (transaction._playback).  So it must not be asked to, unless all backups are here.
    """
    for backup in _backups(os.path.join(store, b"journal.backupfiles")):
        # Of a file that was not there, there is none; who began the transaction has this, then.
        if not os.path.lexists(os.path.join(metadata, backup or b"journal.desc")):
            return True
    return False


def _backups(path: bytes) -> Iterator[bytes]:
    """Yield the names of the backups in the working copy, empty for a file that was not there."""
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()[1:]  # after the version of the format
    except FileNotFoundError:
        return
    for line in lines:
        fields = line.split(b"\0")
        if fields[0] == _PLAIN and len(fields) == 4 and fields[1]:  # the last line may be a part of one
            yield fields[2]
