"""Reads objects through one long-lived `git cat-file`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from autosync.backends.git.cli import Git
from autosync.backends.git.coprocess import Coprocess, Ended

_AT_ONCE = 256
"""Questions in flight; they must fit into a pipe (coprocess.QUESTION_LIMIT)."""


class CatFile:
    """`git cat-file --batch-command` in one repository, for any thread.

    Sees objects that appear later: git looks again at packs and alternates before it
    calls an object missing.
    """

    def __init__(self, git: Git) -> None:
        self._process = Coprocess(git, "cat-file", "--batch-command")
        self._lock = threading.Lock()

    def contents(self, oid: str) -> tuple[bytes, bytes] | None:
        """Return kind and content of the object with this hex id, ``None`` if it is missing."""
        with self._lock:
            found = self._header(b"contents", oid)
            if found is None:
                return None
            kind, size = found
            content = self._process.read(size + 1)
        return kind, content[:-1]

    def contents_of_many(self, oids: Sequence[str]) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (hex id, kind, content) of those objects that are here.

        Many are asked for at once: a question for each would cost a change of process each.
        """
        for start in range(0, len(oids), _AT_ONCE):
            asked = oids[start : start + _AT_ONCE]
            with self._lock:
                found = self._exchange(asked)
            yield from found

    def headers_of_many(self, oids: Sequence[str]) -> dict[str, tuple[bytes, int]]:
        """Return hex id -> kind and size in bytes of those objects that are here."""
        found: dict[str, tuple[bytes, int]] = {}
        for start in range(0, len(oids), _AT_ONCE):
            asked = oids[start : start + _AT_ONCE]
            with self._lock:
                self._process.ask(b"".join(b"info %s\n" % oid.encode("ascii") for oid in asked))
                headers = [self._parse(self._process.read_line()) for _ in asked]
            found.update((oid, header) for oid, header in zip(asked, headers, strict=True) if header is not None)
        return found

    def header(self, oid: str) -> tuple[bytes, int] | None:
        """Return kind and size in bytes, ``None`` if the object is missing."""
        with self._lock:
            return self._header(b"info", oid)

    def close(self) -> None:
        """End the process; a later question starts another."""
        with self._lock:
            self._process.close()

    def _exchange(self, oids: Sequence[str]) -> list[tuple[str, bytes, bytes]]:
        self._process.ask(b"".join(b"contents %s\n" % oid.encode("ascii") for oid in oids))
        found = []
        for oid in oids:
            header = self._parse(self._process.read_line())
            if header is not None:
                found.append((oid, header[0], self._process.read(header[1] + 1)[:-1]))
        return found

    def _header(self, command: bytes, oid: str) -> tuple[bytes, int] | None:
        question = command + b" " + oid.encode("ascii") + b"\n"
        try:
            self._process.ask(question)
            answer = self._process.read_line()
        except Ended:  # killed by somebody since the last question: once more with a new one
            self._process.ask(question)
            answer = self._process.read_line()
        return self._parse(answer)

    def _parse(self, answer: bytes) -> tuple[bytes, int] | None:
        parts = answer.split(b" ")
        if parts[-1] == b"missing":
            return None
        return parts[1], int(parts[2])
