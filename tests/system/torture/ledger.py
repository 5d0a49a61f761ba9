"""Remembers every content that a user saved, and when he himself replaced or deleted it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path


def blob(content: bytes, algorithm: str = "sha1") -> str:
    """Return the id that git gives a content, or our store beside hg (``sha256``)."""
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass
class Saved:
    """One saved content; times are the wall clock's, in seconds since the epoch, as in the agents' logs."""

    device: str
    path: str
    how: str
    at: float
    gone: float | None = None
    gone_by: str = ""


@dataclass
class Ledger:
    """Every content that was ever saved; each is unique, so its id tells where it is."""

    algorithm: str = "sha1"
    saved: dict[str, Saved] = field(default_factory=dict)
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def new(self, device: str) -> bytes:
        """Return a content that nobody has saved yet."""
        with self._lock:
            self._count += 1
            return b"%s %d\n" % (device.encode(), self._count) + b"line\n" * 8

    def id_of(self, content: bytes) -> str:
        """Return what names a content here and in the stores."""
        return blob(content, self.algorithm)

    def save(self, device: str, path: bytes, content: bytes, how: str) -> None:
        """Take note that ``content`` stands at ``path`` by the will of the user."""
        with self._lock:
            self.saved[self.id_of(content)] = Saved(device, repr(path), how, time.time())

    def undone(self, device: str, contents: Iterable[bytes], how: str) -> None:
        """Take note that the user of ``device`` takes away what he had saved there himself."""
        now = time.time()
        with self._lock:
            for content in contents:
                saved = self.saved.get(self.id_of(content))
                if saved is not None and saved.device == device and saved.gone is None:
                    saved.gone, saved.gone_by = now, how

    def write(self, file: Path) -> None:
        """Write all of it down, for whoever looks into a failure."""
        file.write_text(json.dumps({name: asdict(saved) for name, saved in self.saved.items()}, indent=1))
