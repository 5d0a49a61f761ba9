"""Runs a command that talks to another machine, and ends it with all its children when that falls silent."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Protocol

_CHUNK = 1 << 16
_STOPPING = "autosync is stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds until a command that says nothing, or altogether takes too long, is ended."""

    silence: float = 120.0
    total: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended: ``code`` is its exit code, ``ended`` says why we ended it ourselves.

    ``trace`` is what it wrote where it was led to do so.
    """

    code: int
    output: bytes
    errors: str
    ended: str | None = None
    trace: bytes = b""


class Program(Protocol):
    """What is started, and how: git or hg."""

    @property
    def directory(self) -> bytes:
        """Where its commands run."""

    def argv(self, args: Iterable[str | bytes], /) -> list[str | bytes]:
        """Return the whole command line."""

    def environment(self, extra: Mapping[str, str], /) -> dict[str, str]:
        """Return the environment of a command that needs ``extra`` as well."""


class Line:
    """Starts network commands; from any thread, any number at a time."""

    def __init__(self, program: Program, patience: Patience) -> None:
        self._program = program
        self._patience = patience
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def close(self) -> None:
        """End every command that runs and let no other start."""
        with self._lock:
            self._closed = True
            running = tuple(self._running)
        for process in running:
            _end(process)

    def run(
        self,
        args: Iterable[str | bytes],
        *,
        env: Mapping[str, str],
        most: int = 64 << 20,
        traced_by: str | None = None,
    ) -> Outcome:
        """Return how the command ended; it reads nothing and may print ``most`` bytes.

        ``traced_by`` is the variable that leads it to where it writes its trace, which may have as many bytes.

        Progress on its standard error counts as a sign of life.
        """
        if traced_by is None:
            return self._run(args, env, most, None)
        # No disk can be too full for a pipe, and whoever writes to one whose reader was killed does not wait for him.
        trace, written = os.pipe()
        with open(trace, "rb", buffering=0), open(written, "wb", buffering=0) as writing:
            return self._run(args, {**env, traced_by: f"/proc/self/fd/{written}"}, most, trace, writing)

    def _run(
        self,
        args: Iterable[str | bytes],
        env: Mapping[str, str],
        most: int,
        trace: int | None,
        writing: IO[bytes] | None = None,
    ) -> Outcome:
        with self._lock:
            if self._closed:
                return Outcome(code=-1, output=b"", errors="", ended=_STOPPING)
            # A session of its own: no terminal to prompt on, and ssh ends with its group.
            process = subprocess.Popen(
                self._program.argv(args),
                cwd=self._program.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._program.environment(env),
                start_new_session=True,
                pass_fds=() if writing is None else (writing.fileno(),),
            )
            self._running.add(process)
        if writing is not None:
            writing.close()  # the command and its children have it
        try:
            return self._attend(process, most, trace)
        finally:
            with self._lock:
                self._running.discard(process)
            _end(process)
            for stream in (process.stdout, process.stderr):
                if stream:
                    stream.close()

    def _attend(self, process: subprocess.Popen[bytes], most: int, trace: int | None) -> Outcome:
        """Collect what ``process`` prints, and writes to ``trace``, until it exits.

        Not until its pipes close: an ssh that stays behind as a connection master
        (ControlPersist) holds on to standard error.
        """
        output, errors = _ear_of(process.stdout), _ear_of(process.stderr)
        traced = None if trace is None else _Ear(trace)
        ears = {ear.descriptor: ear for ear in (output, errors, traced) if ear is not None}
        ended: str | None = None
        exited = os.pidfd_open(process.pid)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, exited)
            selector = stack.enter_context(selectors.DefaultSelector())
            for descriptor in (exited, *ears):
                selector.register(descriptor, selectors.EVENT_READ)
            start = heard = time.monotonic()
            gone = False
            while not gone and ended is None:
                silent_until, late_at = heard + self._patience.silence, start + self._patience.total
                ready = {key.fd for key, _ in selector.select(max(0.0, min(silent_until, late_at) - time.monotonic()))}
                gone = exited in ready
                for descriptor in ears.keys() & ready:
                    if ears[descriptor].listen():
                        heard = time.monotonic()
                    else:
                        selector.unregister(descriptor)
                errors.forget(_CHUNK)
                if len(output.text) > most or (traced is not None and len(traced.text) > most):
                    ended = f"it answered with more than {most} bytes"
                elif not ready:
                    late = time.monotonic() >= late_at
                    ended = (
                        f"it was not done within {self._patience.total:.0f} seconds"
                        if late
                        else f"it did not answer for {self._patience.silence:.0f} seconds"
                    )
        if ended is not None:
            _end(process)
        code = process.wait()
        for ear in ears.values():
            ear.listen()
        if self._closed and code < 0:
            ended = _STOPPING
        return Outcome(
            code=code,
            output=bytes(output.text),
            errors=errors.text.decode("utf-8", "replace"),
            ended=ended,
            trace=b"" if traced is None else bytes(traced.text),
        )


class _Ear:
    """What has been heard from one pipe of a command."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.text = bytearray()
        os.set_blocking(self.descriptor, False)

    def listen(self) -> bool:
        """Take in what is there, at most 1 MiB; return whether the pipe may bring more."""
        for _ in range(16):
            try:
                part = os.read(self.descriptor, _CHUNK)
            except BlockingIOError:
                return True
            if not part:
                return False
            self.text += part
        return True

    def forget(self, keep: int) -> None:
        """Drop all but the last ``keep`` bytes."""
        del self.text[:-keep]


def _ear_of(pipe: IO[bytes] | None) -> _Ear:
    if pipe is None:
        raise ValueError("the command was started without a pipe")
    return _Ear(pipe.fileno())


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the command's whole group, unless it has already ended by itself."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
