"""Opens a working copy for an examination: one after the other, for the first one makes what is private there."""

from __future__ import annotations

import threading
from collections import defaultdict

from autosync.backends.git.refnames import RefNames
from autosync.backends.opening import open_backend
from autosync.config import PathConfig
from autosync.ports import Backend
from autosync.trust.sealing import load_key

_TURNS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def open_to_look(path: PathConfig) -> Backend:
    """Return the backend at ``path``, which the caller closes.  Raises :class:`autosync.errors.AutosyncError`."""
    key = load_key(path.key_file)
    with _TURNS[path.path]:
        return open_backend(path, key.id, names=RefNames(lambda: (key,)))
