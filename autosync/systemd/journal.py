"""Logs to journald with fields, over its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import struct
from collections.abc import Iterator, Mapping

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "autosync"
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Of syslog(3), by the lowest level of logging; below is 7."""
_BUFFER = 8 * 1024 * 1024
"""Bytes asked for to be kept until journald reads them: what sd-journal asks for."""
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
"""journald takes nothing from a file that could still change."""

Fields = Mapping[str, str | bytes | int]


def encode(fields: Fields) -> bytes:
    """Return an entry in the native protocol; values may hold anything, newlines too.

    Names are upper case letters, digits and ``_`` and begin with a letter; empty values are left out.
    """
    parts = []
    for name, value in fields.items():
        raw = value if isinstance(value, bytes) else _bytes_of(str(value))
        if not raw:
            continue
        # With a length before it no value can pass for the end of itself and the start of another field.
        parts.append(name.encode("ascii") + b"\n" + struct.pack("<Q", len(raw)) + raw + b"\n")
    return b"".join(parts)


def _bytes_of(text: str) -> bytes:
    """Return a text as UTF-8, and a file's name that is none as the bytes that it is."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


class JournalUnavailable(OSError):
    """journald does not run here, or does not listen."""


class Journal:
    """A connection to journald.  Raises :class:`JournalUnavailable` if there is none."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise JournalUnavailable(error.errno, f"{path}: {error.strerror}") from error

    def send(self, fields: Fields) -> bool:
        """Hand in an entry of any size; ``False`` if journald does not keep up, for nobody waits for it.

        Raises :class:`JournalUnavailable` if it is gone for good.
        """
        entry = encode(fields)
        try:
            try:
                self._send(entry)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                self._socket.connect(self._path)
                self._send(entry)
        except BlockingIOError:
            return False
        except OSError as error:
            raise JournalUnavailable(error.errno, f"{self._path}: {error.strerror}") from error
        return True

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _send(self, entry: bytes) -> None:
        try:
            self._socket.send(entry)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            with _sealed(entry) as file:
                socket.send_fds(self._socket, [], [file])


_GONE = {errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET}
"""Of a socket whose other end was: journald may have been started anew."""
_TOO_LARGE = {errno.EMSGSIZE, errno.ENOBUFS}


@contextlib.contextmanager
def _sealed(entry: bytes) -> Iterator[int]:
    """Yield a file in memory that holds ``entry`` and that nobody can change any more (memfd_create(2))."""
    file = os.memfd_create("autosync-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(entry)
        while rest:
            rest = rest[os.write(file, rest) :]
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        yield file
    finally:
        os.close(file)


class JournalHandler(logging.Handler):
    """Writes each record as one entry, and what journald does not take with ``fallback``.

    ``device`` is this device's name.  ``workspaces`` are the names that a record's first argument is
    recognised by as the workspace it is about; more may be added.  A record may bring fields of its own:
    ``extra={"fields": {"AUTOSYNC_KIND": "saved"}}``.
    """

    def __init__(self, journal: Journal, *, device: str, workspaces: set[str], fallback: logging.Handler) -> None:
        super().__init__()
        self._journal = journal
        self._device = device
        self._workspaces = workspaces
        self._fallback = fallback
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            if self._lost and self._journal.send(self._loss()):
                self._lost = 0
            if not self._journal.send(self.fields(record)):
                self._lost += 1
        except JournalUnavailable:
            self._fallback.handle(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Hang up."""
        self._journal.close()
        super().close()

    def fields(self, record: logging.LogRecord) -> dict[str, str | bytes | int]:
        """Return what the journal is to keep of a record."""
        trace = self.formatter.formatException(record.exc_info) if self.formatter and record.exc_info else ""
        return {
            **self._common(next((number for level, number in _PRIORITIES if record.levelno >= level), 7)),
            "MESSAGE": self.format(record),
            "CODE_FILE": record.pathname,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName or "",
            "LOGGER": record.name,
            "THREAD_NAME": record.threadName or "",
            "EXCEPTION": trace,
            "AUTOSYNC_WORKSPACE": self._workspace_of(record),
            **getattr(record, "fields", {}),
        }

    def _common(self, priority: int) -> dict[str, str | bytes | int]:
        return {"PRIORITY": priority, "SYSLOG_IDENTIFIER": IDENTIFIER, "AUTOSYNC_DEVICE": self._device}

    def _loss(self) -> dict[str, str | bytes | int]:
        words = f"{self._lost} records were lost: the journal did not keep up"
        return {**self._common(4), "MESSAGE": words, "AUTOSYNC_LOST": self._lost}

    def _workspace_of(self, record: logging.LogRecord) -> str:
        """Return the workspace that is the first word of the record, as the log has it; empty if none is."""
        if not record.msg or not str(record.msg).startswith("%s") or not isinstance(record.args, tuple):
            return ""
        first = record.args[0] if record.args else None
        return first if isinstance(first, str) and first in self._workspaces else ""


def stderr_is_the_journal(environ: Mapping[str, str]) -> bool:
    """Return whether what this process writes to standard error is read by journald (systemd.exec(5))."""
    try:
        device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
        found = os.fstat(2)
        return (int(device), int(inode)) == (found.st_dev, found.st_ino)
    except (ValueError, OSError):
        return False
