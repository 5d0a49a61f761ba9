"""Sweeps away the directories for passing work that killed agents have left in our private directory."""

from __future__ import annotations

import contextlib
import os
import shutil

_PREFIXES = (b"copy-", b"merge-", b"clean-")
"""Of a copy that is put elsewhere, of a merge of two texts, of what the user's filters make of a file."""


def sweep(metadata: bytes) -> None:
    """Delete them; call it while nothing is at work in the private directory ``metadata``."""
    with contextlib.suppress(OSError):  # what cannot be deleted takes place and harms nobody
        for name in os.listdir(metadata):
            if name.startswith(_PREFIXES):
                shutil.rmtree(os.path.join(metadata, name), ignore_errors=True)
