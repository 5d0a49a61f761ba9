"""The reflector as a process: where nothing but Python is, signals, and how much memory anybody can make it take."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.channels.reflectors import GREETING, Client
from tests.ports import free_ports
from tests.waiting import PATIENCE, until

PACKAGE = Path(__file__).parents[2] / "autosync"
MEGABYTE = 1024 * 1024


class Process:
    """A reflector that runs as its users run it."""

    def __init__(self, argv: list[str]) -> None:
        (self.port,) = free_ports(1)
        self.process = subprocess.Popen(
            [*argv, "--listen", f"127.0.0.1:{self.port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        until(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[0]
        try:
            with Client(self.port) as client:
                return client.line() == GREETING
        except OSError:
            return False

    def end(self, number: int) -> tuple[int, str]:
        """Return exit code and output."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output

    def resident(self) -> int:
        """Return the bytes of its resident memory (proc(5))."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) * 1024


@contextlib.contextmanager
def serving(argv: list[str]) -> Iterator[Process]:
    process = Process(argv)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.communicate()


PLAIN = [sys.executable, "-m", "autosync.reflector"]


def test_it_runs_where_only_python_is_installed(tmp_path: Path) -> None:
    """Only what is in the package is copied; -I and -S keep everything else out of reach."""
    shutil.copytree(PACKAGE, tmp_path / "autosync", ignore=shutil.ignore_patterns("__pycache__"))
    start = (
        f"import runpy, sys; sys.path.append({str(tmp_path)!r}); sys.argv[0] = 'reflector'; "
        "runpy.run_module('autosync.reflector', run_name='__main__')"
    )
    python = os.path.realpath(sys.executable)
    with serving([python, "-I", "-S", "-c", start]) as server:
        modules = subprocess.run(
            [python, "-I", "-S", "-c", f"import sys; sys.path.append({str(tmp_path)!r}); import click"],
            capture_output=True,
            check=False,
        )
        assert b"No module named 'click'" in modules.stderr
        with Client(server.port) as client:
            assert client.line() == GREETING
            client.say("subscribe a", "announce a b")
            assert client.line() == "a!b"
        assert server.end(signal.SIGTERM)[0] == 0


@pytest.mark.parametrize("argv", [PLAIN, [sys.executable, "-m", "autosync", "reflector"]], ids=["plain", "autosync"])
def test_signals(argv: list[str]) -> None:
    with serving(argv) as server:
        with Client(server.port) as client:
            client.line()
            client.say("keep t s QQ==", "follow t")
            assert client.lines(2) == ["t!s QQ==", "t!end"]
            server.process.send_signal(signal.SIGHUP)
            client.settle()
            code, output = server.end(signal.SIGTERM)
        assert code == 0
        report = "clients 1, subscriptions 1, kept 1 (509 bytes), unsent 0 bytes, pipes 0; so far: "
        assert report in output
        assert "Traceback" not in output
    with serving(argv) as server:
        assert server.end(signal.SIGINT)[0] == 130


def test_an_address_that_is_taken_is_told_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for argv in (PLAIN, [sys.executable, "-m", "autosync", "reflector"]):
            done = subprocess.run(
                [*argv, "--listen", f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 1
            assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
            assert "ss -tlnp" in done.stderr
            assert "Traceback" not in done.stderr


def test_no_attack_makes_it_take_more_memory_than_its_limits() -> None:
    with serving([*PLAIN, "--clients", "200"]) as server:
        before = server.resident()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(server.port)) for _ in range(150)]
            for client in clients:
                assert client.line() == GREETING
            for number, client in enumerate(clients):
                # Each tries to fill what is kept, and leaves a long line unfinished.
                lines = "".join(f"keep t{number % 7} s{number}.{n} {'Q' * 80_000}\n" for n in range(20))
                with contextlib.suppress(OSError):
                    client.raw(lines.encode())
                    client.raw(b"keep t s " + b"Q" * 80_000)
            with Client(server.port) as good:
                good.line()
                good.say("subscribe a", "announce a b")
                assert good.line() == "a!b"
            # 32 MB are kept and 16 MB of lines begun, and Python's allocator rounds up.
            assert server.resident() - before < 120 * MEGABYTE
        assert server.end(signal.SIGTERM)[0] == 0


def test_a_thousand_clients_are_cheap() -> None:
    with serving(PLAIN) as server:
        before = server.resident()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(server.port)) for _ in range(400)]
            for number, client in enumerate(clients):
                assert client.line() == GREETING
                client.say(f"follow t{number}")
                assert client.line() == f"t{number}!end"
            assert (server.resident() - before) / len(clients) < 16 * 1024
        assert server.end(signal.SIGTERM)[0] == 0


def test_it_takes_no_more_clients_than_the_system_allows_files() -> None:
    with serving(["prlimit", "--nofile=48:48", *PLAIN]) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.port)) for _ in range(16)]
        for client in clients:
            assert client.line() == GREETING
        assert stack.enter_context(Client(server.port)).rest() == ["debug!busy"]
        code, output = server.end(signal.SIGTERM)
        assert code == 0
        assert "at most 16 clients: the system allows 48 open files (ulimit -n)" in output
