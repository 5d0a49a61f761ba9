"""Talks to one `hg serve --cmdserver pipe`, which is started when needed and again when it has died."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO, cast

from autosync.backends.hg.command import KEPT_EXTENSIONS, NO_PROGRAM, environment, own_hg, server_argv
from autosync.backends.hgext.frames import CHANNEL, Fields, Garbled, Value, frame, unframe
from autosync.backends.hgext.refusal import (
    BUSY,
    DAMAGED,
    DIVERGED,
    MISSING,
    MOVED,
    NAMELESS,
    REFUSED,
    UNSAFE,
    UNSUPPORTED,
)
from autosync.causes import error_said
from autosync.errors import (
    AutosyncError,
    Busy,
    Diverged,
    Missing,
    NotAWorkingCopy,
    Shortage,
    TransientError,
    Unsafe,
    Unsupported,
)

_HEADER = struct.Struct(">cI")
_LENGTH = struct.Struct(">I")
_QUESTION = b"autosync-answer"
_HELLO = b"capabilities: "
_HELLO_LIMIT = 1 << 12
_GRACE = 2.0
"""Seconds for hg to end by itself, once it is told to."""
_OLDEST = (6, 3)
_AGAIN = "It is tried again by itself."
Signature = tuple[int, int, int] | None


class HgEnded(TransientError):
    """The hg process ended while it was asked; the next question starts another.

    ``code`` is its exit code, or the negative number of the signal; ``said`` are its last words.
    """

    def __init__(self, place: str, code: int, said: str) -> None:
        more = f": {said[-300:]}" if said else ""
        super().__init__(f"hg for {place} ended unexpectedly{more}", hint="It is started again by itself.")
        self.code = code
        self.said = said


class HgFailed(AutosyncError):
    """hg answered a command with an error."""

    def __init__(self, what: str, said: bytes) -> None:
        text = said.decode("utf-8", "replace").strip()
        super().__init__(
            f"{what} failed: {text[-800:] or 'no message'}", hint="Run `hg status` in that folder to see more."
        )
        self.said = text


class HgRefuses(TransientError):
    """hg does not do what it was asked, for a cause of the user's that it names."""


_DECLINED: Mapping[bytes, tuple[type[AutosyncError], str]] = {
    MOVED: (Busy, _AGAIN),
    BUSY: (Busy, "It is tried again when that has ended."),
    MISSING: (Missing, _AGAIN),
    UNSAFE: (Unsafe, "It is refused."),
    DIVERGED: (Diverged, "Nothing was moved. Join them with `hg merge`, then it arrives on the others."),
    REFUSED: (HgRefuses, "Mend that; autosync goes on by itself."),
    DAMAGED: (AutosyncError, "`hg verify` in that folder says more. Nothing was touched; no snapshot is lost."),
    NAMELESS: (AutosyncError, "Tell hg your name: `hg config --edit`, then `username =` below `[ui]`."),
}


class Server:
    """The command server of one working copy, for any thread.

    ``hg`` is the command to run, by default that of our own environment.  Nothing is started before
    the first question.  The server ends with :meth:`close`, and by itself when we are gone: its
    input, of which nobody else has the other end, is closed then.
    """

    def __init__(self, root: bytes, hg: Sequence[str] | None = None) -> None:
        self.root = root
        self._hg = tuple(hg) if hg else own_hg()
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: BinaryIO | None = None
        self._disabled: frozenset[bytes] = frozenset()
        self._identity: Fields | None = None
        self._config: dict[bytes, Signature] = {}

    def another(self) -> Server:
        """Return another one for the same working copy, by the same command."""
        return Server(self.root, self._hg)

    @property
    def pid(self) -> int | None:
        """The process that is running now."""
        process = self._process
        return None if process is None else process.pid

    def identity(self) -> Fields:
        """Return what the running hg says of itself: ``hg``, ``python``, ``extensions``, ``requirements``, ``user``.

        Raises as :meth:`ask`.
        """
        with self._lock:
            self._ready()
            return cast(Fields, self._identity)

    def settings(self) -> Mapping[bytes, Signature]:
        """Return the files that the running hg has its configuration from, each as it was when hg read it.

        Raises as :meth:`ask`.
        """
        with self._lock:
            self._ready()
            return self._config

    def ask(self, what: str, question: Mapping[bytes, Value] | None = None) -> Fields:
        """Return our extension's answer.

        Raises :class:`HgEnded` if the process dies meanwhile, :class:`Busy` if another changeset
        was checked out meanwhile, :class:`Missing`, :class:`Unsafe`, :class:`Unsupported` as the
        answer says, :class:`HgRefuses` for what the user can mend, :class:`OSError` for what the machine
        did not allow, :class:`HgFailed` for everything that nobody thought of.
        """
        with self._lock:
            self._ready()
            return self._ask(what, question or {})

    def run(self, *args: bytes, input: bytes = b"") -> tuple[int, bytes, bytes]:
        """Return exit code, output and errors of one of hg's own commands; raises :class:`HgEnded`."""
        with self._lock:
            self._ready()
            return self._command(args, input)

    def interrupt(self) -> None:
        """Kill the process, if one runs: whoever waits for its answer meets :class:`HgEnded` at once."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """End the process, if one runs; a later question starts another.

        A question that is being asked has two seconds to be answered.
        """
        while not self._lock.acquire(timeout=_GRACE):
            self.interrupt()
        try:
            self._end()
        finally:
            self._lock.release()

    def _end(self) -> None:
        process, self._process = self._process, None
        errors, self._errors = self._errors, None
        self._identity = None
        if process is None:
            return
        # Closed first, as an end it can expect; BrokenPipe: it has gone before us.
        for pipe in (process.stdin, process.stdout):
            try:
                cast(BinaryIO, pipe).close()
            except BrokenPipeError:
                continue
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        cast(BinaryIO, errors).close()

    def _ready(self) -> None:
        """See that a process runs, with the configuration as it is now."""
        process = self._process
        if process is not None and (process.poll() is not None or self._config_changed()):
            self.close()
        if self._process is None:
            self._start()

    def _start(self) -> None:
        self._launch()
        foreign = self._identify()
        if foreign:
            self._disabled |= foreign
            self.close()
            self._launch()
            self._identify()

    def _launch(self) -> None:
        # A file, so that nobody has to read it meanwhile; it is ours alone, and gone with us.
        self._errors = os.fdopen(os.memfd_create("autosync-hg-errors"), "w+b")
        try:
            self._process = subprocess.Popen(
                server_argv(self._hg, self.root, self._disabled),
                cwd=self.root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment(),
                start_new_session=True,  # what a terminal interrupts is us
            )
        except OSError as problem:
            self._errors.close()
            self._errors = None
            if problem.errno not in NO_PROGRAM:
                raise
            raise Unsupported(
                f"{self._hg[0]} cannot be started: {problem.strerror}",
                hint="Correct `hg:` in the config, or leave it out to use autosync's own Mercurial.",
            ) from None
        self._greet()

    def _greet(self) -> None:
        """Read what the server says first."""
        said = b""
        try:
            # Whatever an extension prints while it is loaded comes before.
            while not said.endswith(_HELLO) and len(said) < _HELLO_LIMIT:
                said += self._read(1)
            channel, size = _HEADER.unpack(said[: -len(_HELLO)][-_HEADER.size :].rjust(_HEADER.size))
            hello = self._read(size - len(_HELLO)) if len(_HELLO) < size < _HELLO_LIMIT else b""
        except HgEnded as ended:
            raise self._not_started(ended) from None
        if channel != b"o" or b"runcommand" not in hello:
            self.close()
            raise Unsupported(
                f"{self._hg[0]} does not answer as hg does: {said[:200].decode('utf-8', 'replace')}",
                hint="Correct `hg:` in the config, or leave it out to use autosync's own Mercurial.",
            )

    def _identify(self) -> frozenset[bytes]:
        """Learn who answers; return the extensions that should not have been loaded."""
        found = self._ask("identity", {})
        self._identity = found
        version = found.text(b"hg").decode("ascii", "replace")
        numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())
        if len(numbers) == 2 and numbers < _OLDEST:
            self.close()
            raise Unsupported(f"Mercurial {version} is too old", hint="Install Mercurial 6.3 or newer.")
        self._config = {path: _signature(path) for path in found.texts(b"config")}
        return frozenset(found.texts(b"extensions")) - KEPT_EXTENSIONS

    def _config_changed(self) -> bool:
        return any(_signature(path) != known for path, known in self._config.items())

    def _ask(self, what: str, question: Mapping[bytes, Value]) -> Fields:
        content = frame({**question, b"ask": what.encode("ascii")})
        code, output, errors = self._command((_QUESTION,), content, CHANNEL)
        if code:
            raise self._failure(what, errors)
        try:
            answer = unframe(output)
        except Garbled as garbled:
            raise HgFailed(f"Asking hg for {what}", str(garbled).encode()) from None
        if b"failed" in answer:
            raise self._failure(what, answer.text(b"failed"))
        if b"errno" in answer:
            number = answer.number(b"errno")
            place = answer.text(b"place") if b"place" in answer else self.root
            raise OSError(number, os.strerror(number), place)
        if b"declined" in answer:
            raise self._declined(answer.text(b"declined"), answer.text(b"words").decode("utf-8", "replace"))
        return answer

    def _failure(self, what: str, said: bytes) -> HgFailed | OSError:
        """Return why a question failed; a full disk is no different for whether hg or we met it first."""
        return self._os_error(said.decode("utf-8", "replace")) or HgFailed(f"Asking hg for {what}", said)

    def _os_error(self, said: str) -> OSError | None:
        number = error_said(said)
        return None if number is None else OSError(number, os.strerror(number), self.root)

    def _declined(self, reason: bytes, words: str) -> AutosyncError | OSError:
        shown = os.fsdecode(self.root)
        if reason in {REFUSED, DAMAGED} and (shortage := self._os_error(words)) is not None:
            return shortage
        if reason == UNSUPPORTED:
            return Unsupported(
                f"{shown} cannot be synced: {words}, which autosync does not handle yet",
                hint="Sync another clone, one without it.",
            )
        kind, hint = _DECLINED[reason]
        return kind(f"{shown}: {words}", hint=hint)

    def _command(self, args: Sequence[bytes], input: bytes, answers: bytes = b"o") -> tuple[int, bytes, bytes]:
        """Run one command; return its code, what came through the channel ``answers``, and its errors.

        See mercurial-scm.org/wiki/CommandServer.
        """
        joined = b"\0".join(args)
        self._write(b"runcommand\n" + _LENGTH.pack(len(joined)) + joined)
        output: dict[bytes, list[bytes]] = {answers: [], b"e": []}
        unread = memoryview(input)
        while True:
            channel, size = self._header()
            if channel in b"IL":
                end = min(size, len(unread))
                if channel == b"L":
                    end = bytes(unread[:end]).find(b"\n") + 1 or end
                self._write(_LENGTH.pack(end) + unread[:end])
                unread = unread[end:]
                continue
            content = self._read(size)
            if channel == b"r":
                return struct.unpack(">i", content)[0], b"".join(output[answers]), b"".join(output[b"e"])
            if channel in output:
                output[channel].append(content)
            elif channel.isupper():  # one that must be understood
                self.close()
                raise HgFailed("hg serve", b"it uses the unknown channel " + channel)

    def _header(self) -> tuple[bytes, int]:
        channel, size = _HEADER.unpack(self._read(_HEADER.size))
        return channel, size

    def _read(self, size: int) -> bytes:
        with self._alive() as process:
            content = cast(BinaryIO, process.stdout).read(size)
        if len(content) != size:
            raise self._ended()
        return content

    def _write(self, content: bytes) -> None:
        with self._alive() as process:
            pipe = cast(BinaryIO, process.stdin)
            pipe.write(content)
            pipe.flush()

    @contextmanager
    def _alive(self) -> Iterator[subprocess.Popen[bytes]]:
        process = self._process
        if process is None:
            raise self._ended()
        try:
            yield process
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> HgEnded:
        process = self._process
        errors = None if self._errors is None else os.dup(self._errors.fileno())
        self.close()
        code = 0 if process is None else process.returncode
        return HgEnded(os.fsdecode(self.root), code, _text(errors))

    def _not_started(self, ended: HgEnded) -> AutosyncError:
        """Return why hg did not even begin to serve: in its words, or that somebody killed it."""
        if ended.code < 0:
            return ended
        number = error_said(ended.said)
        if number is not None:
            return Shortage(f"hg cannot start: {os.strerror(number)}", hint="autosync goes on by itself.")
        if "requires features unknown" in ended.said:
            return Unsupported(
                f"{os.fsdecode(self.root)} needs another Mercurial: {ended.said[-500:]}",
                hint="Name your own hg in the config (`hg: /usr/bin/hg`).",
            )
        return NotAWorkingCopy(
            f"hg cannot open {os.fsdecode(self.root)}: {ended.said[-500:] or 'no message'}",
            hint="Make `hg status` work in that folder first.",
        )


def _text(handle: int | None) -> str:
    """Return what is in a file, which is closed."""
    if handle is None:
        return ""
    with os.fdopen(handle, "rb") as file:
        file.seek(0)
        return file.read().decode("utf-8", "replace").strip()


def _signature(path: bytes) -> Signature:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
