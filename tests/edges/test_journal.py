"""The journal's native protocol: what arrives at a socket that reads it as journald does."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.systemd.journal import Journal, JournalHandler, JournalUnavailable, encode, stderr_is_the_journal
from tests import figures


class Listener:
    """Stands where journald would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(10)

    def entry(self) -> dict[str, bytes]:
        """Return the fields of the next entry; one that came as a file must be sealed as journald demands."""
        content, files, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
        for file in files:
            size = os.fstat(file).st_size
            with pytest.raises(PermissionError):
                os.ftruncate(file, size + 1)
            with pytest.raises(PermissionError):
                os.pwrite(file, b"x", 0)
            content = os.pread(file, size, 0)
            os.close(file)
        return decode(content)

    def close(self) -> None:
        self.socket.close()
        self.path.unlink()


def decode(entry: bytes) -> dict[str, bytes]:
    """Read an entry by the protocol's words, both forms of a field; a name that comes twice is an error."""
    found: dict[str, bytes] = {}
    while entry:
        line, _, entry = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack("<Q", entry[:8])
            value, end, entry = entry[8 : 8 + size], entry[8 + size : 9 + size], entry[9 + size :]
            assert (len(value), end) == (size, b"\n")
        assert name.decode() not in found
        found[name.decode()] = value
    return found


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "socket")
    yield listener
    listener.socket.close()


@pytest.fixture
def written() -> list[str]:
    return []


@pytest.fixture
def log(listener: Listener, written: list[str]) -> Iterator[logging.Logger]:
    """A logger of the journal; what falls back is in ``written``."""

    class Fallback(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    handler = JournalHandler(Journal(str(listener.path)), device="lap\ntop", workspaces={"notes"}, fallback=Fallback())
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("autosync.tests.journal")
    log.propagate = False
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    yield log
    log.removeHandler(handler)
    handler.close()


def test_a_record_has_its_fields(log: logging.Logger, listener: Listener) -> None:
    log.info("%s: applied %s", "notes", "a.txt", extra={"fields": {"AUTOSYNC_KIND": "applied", "AUTOSYNC_LANE": ""}})
    entry = listener.entry()
    assert Path(entry.pop("CODE_FILE").decode()) == Path(__file__)
    assert int(entry.pop("CODE_LINE")) > 0
    assert entry == {
        "MESSAGE": b"notes: applied a.txt",
        "PRIORITY": b"6",
        "SYSLOG_IDENTIFIER": b"autosync",
        "CODE_FUNC": b"test_a_record_has_its_fields",
        "LOGGER": b"autosync.tests.journal",
        "THREAD_NAME": b"MainThread",
        "AUTOSYNC_DEVICE": b"lap\ntop",
        "AUTOSYNC_WORKSPACE": b"notes",
        "AUTOSYNC_KIND": b"applied",
    }


def test_levels_are_those_of_syslog(log: logging.Logger, listener: Listener) -> None:
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    for level in levels:
        log.log(level, "as loud as %d", level)
    assert [listener.entry()["PRIORITY"] for _ in levels] == [b"7", b"6", b"4", b"3", b"2"]


@pytest.mark.parametrize("first", ["holiday", "xmpp", 7, None])
def test_only_the_name_of_a_workspace_counts_as_one(log: logging.Logger, listener: Listener, first: object) -> None:
    log.info("%s: the first word", first)
    log.info("this is not about %s", "notes")
    log.info("no arguments at all: %s")
    assert ["AUTOSYNC_WORKSPACE" in listener.entry() for _ in range(3)] == [False, False, False]


@pytest.mark.parametrize(
    "hostile",
    [
        "a\nPRIORITY=0\nMESSAGE=forged",
        "a\nMESSAGE\n\x08\0\0\0\0\0\0\0forged!!\n",
        "caf\udce9",
        "\ud800",
        "nul\0inside",
        "\x1b[2J",
        "=",
        "\n",
    ],
)
def test_no_value_can_make_up_a_field(log: logging.Logger, listener: Listener, hostile: str) -> None:
    log.warning("%s", hostile, extra={"fields": {"AUTOSYNC_FROM": hostile}})
    entry = listener.entry()
    raw = hostile.encode("utf-8", "backslashreplace" if hostile == "\ud800" else "surrogateescape")
    assert (entry["MESSAGE"], entry["AUTOSYNC_FROM"], entry["PRIORITY"]) == (raw, raw, b"4")
    figures.record("bad inputs refused", 1)


def test_any_bytes_arrive_as_they_are() -> None:
    every = bytes(range(256))
    assert decode(encode({"A": every, "B": b"", "C": 7})) == {"A": every, "C": b"7"}


def test_a_traceback_is_a_field_too(log: logging.Logger, listener: Listener) -> None:
    try:
        raise ZeroDivisionError("of nothing")
    except ZeroDivisionError:
        log.exception("it failed")
    entry = listener.entry()
    assert entry["EXCEPTION"].endswith(b"ZeroDivisionError: of nothing")
    assert entry["MESSAGE"] == b"it failed\n" + entry["EXCEPTION"]


def test_an_entry_larger_than_a_datagram_goes_as_a_sealed_file(log: logging.Logger, listener: Listener) -> None:
    large = "x" * 20_000_000
    log.info("%s", large)
    log.info("after it")
    assert [listener.entry()["MESSAGE"] for _ in range(2)] == [large.encode(), b"after it"]


def test_nobody_waits_for_a_journal_that_does_not_read(
    log: logging.Logger, listener: Listener, written: list[str]
) -> None:
    for number in range(5000):  # more than net.unix.max_dgram_qlen lets anybody queue
        log.info("record %d", number)
    read = 0
    listener.socket.setblocking(False)
    try:
        while True:
            listener.entry()
            read += 1
    except BlockingIOError:
        pass
    assert 0 < read < 5000
    log.info("room again")
    told, last = listener.entry(), listener.entry()
    assert told["MESSAGE"] == f"{5000 - read} records were lost: the journal did not keep up".encode()
    assert (told["PRIORITY"], told["AUTOSYNC_LOST"]) == (b"4", str(5000 - read).encode())
    assert (last["MESSAGE"], written) == (b"room again", [])


def test_a_journal_that_is_started_anew_is_found_again(
    log: logging.Logger, listener: Listener, written: list[str]
) -> None:
    log.info("before")
    assert listener.entry()["MESSAGE"] == b"before"
    listener.close()
    log.info("while it is away")
    assert written == ["while it is away"]
    again = Listener(listener.path)
    log.info("after")
    assert again.entry()["MESSAGE"] == b"after"
    again.socket.close()
    assert written == ["while it is away"]


def test_without_a_journal_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="No such file or directory"):
        Journal(str(tmp_path / "none"))


def test_standard_error_is_the_journal_only_if_it_is_that_very_stream() -> None:
    found = os.fstat(2)
    assert stderr_is_the_journal({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
    wrong = ["", "1:2", f"{found.st_dev}", f"{found.st_dev}:", f"{found.st_ino}:{found.st_dev}", "a:b", ":"]
    assert [stderr_is_the_journal({"JOURNAL_STREAM": stream}) for stream in wrong] == [False] * len(wrong)
    assert not stderr_is_the_journal({})
