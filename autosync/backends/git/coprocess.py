"""Holds a conversation with one long-lived git process over its pipes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import BinaryIO, cast

from autosync.backends.git.cli import Git
from autosync.errors import TransientError


class Ended(TransientError):
    """The process ended, or answered what it never answers; the next question starts another."""


class Coprocess:
    """A git command that answers questions; started by the first of them.

    Not for several threads at once.  A question must be shorter than a pipe holds
    (:data:`QUESTION_LIMIT`), or both sides could wait for each other.
    """

    def __init__(self, git: Git, *args: str | bytes, env: Mapping[str, str] | None = None) -> None:
        self._git = git
        self._args = args
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: bytes) -> None:
        """Send ``question``; read the answer with the ``read`` methods.  Raises :class:`Ended`."""
        process = self._process or self._start()
        try:
            os.write(cast(BinaryIO, process.stdin).fileno(), question)
        except BrokenPipeError:
            raise self._ended() from None

    def read_line(self) -> bytes:
        """Return the next line of the answer without its end."""
        line = self._output().readline()
        if not line.endswith(b"\n"):
            raise self._ended()
        return line[:-1]

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes of the answer."""
        content = self._output().read(size)
        if len(content) != size:
            raise self._ended()
        return content

    def read_fields(self, count: int) -> list[bytes]:
        """Return the next ``count`` NUL-terminated fields of the answer."""
        output = self._output()
        gathered = bytearray()
        while gathered.count(0) < count:
            part = os.read(output.fileno(), 1 << 16)
            if not part:
                raise self._ended()
            gathered += part
        fields = bytes(gathered).split(b"\0")
        if len(fields) != count + 1 or fields.pop():
            raise self._ended()
        return fields

    def close(self) -> None:
        """End the process, if one runs."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            cast(BinaryIO, pipe).close()
        process.kill()
        process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = self._git.start(*self._args, env=self._env)
        return self._process

    def _output(self) -> BinaryIO:
        if self._process is None:
            raise self._ended()
        return cast(BinaryIO, self._process.stdout)

    def _ended(self) -> Ended:
        self.close()
        name = " ".join(os.fsdecode(arg) for arg in self._args[:2])
        return Ended(f"git {name} ended unexpectedly", hint="It is started again by itself.")


QUESTION_LIMIT = 32 << 10
"""Bytes; Linux pipes hold 64 KiB (pipe(7))."""
