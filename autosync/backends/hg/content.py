"""What a file holds: bytes while it is small, a file of its own, read part by part, once it is large."""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator

from autosync.backends.hgext.contents import SMALL
from autosync.backends.hgext.frames import Value

PART = 256 << 10
"""Bytes of a large content that are in memory at a time."""


Proof = Callable[[], tuple["hashlib._Hash", bytes]]
"""Gives a digest that has what comes before a content in its id, and that id."""


class Content:
    """A content of ``size`` bytes, for any thread."""

    def __init__(self, held: bytes) -> None:
        self._held = held
        self.size = len(held)

    def parts(self) -> Iterator[bytes]:
        """Yield it from its start, in parts; none for nothing.  Raises :class:`StateError` if it is damaged."""
        if self._held:
            yield self._held

    def value(self) -> Value:
        """Return it as a question to hg has it (:mod:`autosync.backends.hgext.contents`).

        It must live until the answer is there.
        """
        return self._held

    def whole(self) -> bytes:
        """Return all of it."""
        parts = list(self.parts())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def oid(self) -> bytes:
        """Return its raw id: SHA-256 of the form that git gives a blob."""
        digest = hashlib.sha256(b"blob %d\0" % self.size)
        for part in self.parts():
            digest.update(part)
        return digest.digest()


class Spooled(Content):
    """A content in a file without a name, which goes with the last one who has this."""

    def __init__(self, directory: bytes) -> None:
        """Make it, empty, on the file system of ``directory``."""
        super().__init__(b"")
        self._file = _nameless(directory)
        weakref.finalize(self, os.close, self._file)

    @property
    def place(self) -> bytes:
        """The path by which hg opens it (proc(5), ``/proc/[pid]/fd``)."""
        return _place(self._file)

    def write(self, part: bytes, /) -> None:
        """Add to its end."""
        view = memoryview(part)
        while view:
            written = os.pwrite(self._file, view, self.size)
            self.size += written
            view = view[written:]

    def filled(self, size: int) -> Spooled:
        """Return this, now that hg has written so many bytes to it."""
        self.size = size
        return self

    def parts(self) -> Iterator[bytes]:
        """Yield it from its start."""
        at = 0
        while at < self.size:
            part = os.pread(self._file, min(PART, self.size - at), at)
            if not part:
                raise EOFError("the file is shorter than it was")
            at += len(part)
            yield part

    def value(self) -> Value:
        """Return where it is."""
        return {b"file": self.place, b"packed": 0}


class Packed(Content):
    """A content of which a zlib stream is at hand: in memory, or in a file (a descriptor, which is ours then).

    ``broken`` gives the error for one that is damaged, in words.
    """

    def __init__(self, stream: bytes | int, size: int, proof: Proof, broken: Callable[[str], Exception]) -> None:
        super().__init__(b"")
        self.size = size
        self._stream = stream
        self._proof = proof
        self._broken = broken
        if isinstance(stream, int):
            weakref.finalize(self, os.close, stream)

    def parts(self) -> Iterator[bytes]:
        """Yield it from its start; at the end it has proven to be what its id says."""
        digest, oid = self._proof()
        unpacker = zlib.decompressobj()
        try:
            for packed in self._packed():
                unread = packed
                while part := unpacker.decompress(unread, PART):
                    digest.update(part)
                    yield part
                    unread = unpacker.unconsumed_tail
        except zlib.error as error:
            raise self._broken(str(error)) from error
        if not unpacker.eof or unpacker.unused_data or digest.digest() != oid:
            raise self._broken("it is not what was written")

    def value(self) -> Value:
        """Return the stream, or where it is."""
        if isinstance(self._stream, bytes):
            return {b"body": self._stream}
        return {b"file": _place(self._stream), b"packed": 1}

    def _packed(self) -> Iterator[bytes]:
        if isinstance(self._stream, bytes):
            yield self._stream
            return
        at = 0
        while part := os.pread(self._stream, PART, at):
            at += len(part)
            yield part


def gathered(parts: Iterable[bytes], size: int, directory: bytes) -> Content:
    """Return the content of ``size`` bytes that ``parts`` make; a large one is put into ``directory``."""
    if size <= SMALL:
        return Content(b"".join(parts))
    content = Spooled(directory)
    for part in parts:
        content.write(part)
    return content


def _place(file: int) -> bytes:
    return b"/proc/%d/fd/%d" % (os.getpid(), file)


def _nameless(directory: bytes) -> int:
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        return os.dup(file.fileno())
