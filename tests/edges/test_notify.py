"""What the service manager is told, at its sockets."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from autosync.systemd.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[socket.socket, str]:
    """A socket as a manager has it, and what NOTIFY_SOCKET says of it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    request.addfinalizer(sock.close)
    sock.settimeout(10)
    name = str(tmp_path / "notify") if request.param == "path" else f"@autosync-{os.getpid()}-{id(sock)}"
    sock.bind("\0" + name[1:] if name.startswith("@") else name)
    return sock, name


def test_each_word_arrives(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000"})
    notifier.wait_for(1.5)
    notifier.ready()
    notifier.alive()
    notifier.status("In sync\nREADY=1\twith\udce9 all")
    notifier.status("In sync READY=1 with\udce9 all")
    notifier.reloading()
    notifier.stopping()
    said = [sock.recv(4096).decode() for _ in range(6)]
    reloading, _, at = said[4].partition("\nMONOTONIC_USEC=")
    assert (reloading, int(at) > 0) == ("RELOADING=1", True)
    assert [*said[:4], said[5]] == [
        "EXTEND_TIMEOUT_USEC=1500000",
        "READY=1",
        "WATCHDOG=1",
        "STATUS=In sync READY=1 with\\udce9 all",
        "STOPPING=1",
    ]
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_a_manager_that_does_not_ask_hears_no_heartbeat(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    for usec, pid in (("", ""), ("0", ""), ("soon", ""), ("3000000", "1")):
        notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid})
        assert notifier.watchdog is None
        notifier.alive()
    notifier.ready()
    assert sock.recv(4096) == b"READY=1"


def test_what_is_started_does_not_inherit_the_socket() -> None:
    environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": str(os.getpid()), "HOME": "/h"}
    assert Notifier(environ).watchdog == 1e-6
    assert environ == {"HOME": "/h"}


def test_without_a_manager_nothing_is_said() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "3000000"})
    assert (bool(notifier), notifier.watchdog) == (False, None)
    notifier.ready()


def test_a_manager_that_is_gone_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready()
    notifier.stopping()
    assert [r.getMessage() for r in caplog.records] == [
        "the service manager is not told 'READY=1': [Errno 2] No such file or directory"
    ]


def test_an_address_of_another_kind_is_refused_in_words(caplog: pytest.LogCaptureFixture) -> None:
    assert not Notifier({"NOTIFY_SOCKET": "vsock:2:1234"})
    assert [r.getMessage() for r in caplog.records] == [
        "NOTIFY_SOCKET=vsock:2:1234 is no unix socket: the service manager is told nothing"
    ]
