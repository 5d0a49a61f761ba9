"""The control socket: answers, errors, and callers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from autosync.control import NAME, REQUEST_LIMIT, ControlServer, NotRunning, call
from autosync.errors import AutosyncError, Busy, TransientError


class Answers:
    """What the agent would answer, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((command, arguments))
        if command == "busy":
            raise Busy("A rebase is in progress", hint="Finish it.")
        if command == "bug":
            raise ZeroDivisionError("of no concern to the caller")
        if command == "crowded":
            raise OSError(errno.EMFILE, "Too many open files")
        if command == "wait":
            self.begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        return {"you said": arguments}


@pytest.fixture
async def answers() -> Answers:
    return Answers()


@pytest.fixture
async def server(tmp_path: Path, answers: Answers) -> AsyncIterator[ControlServer]:
    server = ControlServer(str(tmp_path / NAME), answers)
    await server.start()
    yield server
    await server.stop()


async def ask(server: ControlServer, command: str, **arguments: Any) -> dict[str, Any]:
    return await asyncio.to_thread(call, os.path.dirname(server.path), command, **arguments)


async def send(server: ControlServer, request: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    return json.loads(line)


async def test_a_call_is_answered(server: ControlServer, answers: Answers) -> None:
    assert await ask(server, "status", path="/caf\udce9", wait=True) == {
        "you said": {"path": "/caf\udce9", "wait": True}
    }
    assert answers.asked == [("status", {"path": "/caf\udce9", "wait": True})]
    assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o600


async def test_a_deliberate_error_reaches_the_caller_in_its_own_words(server: ControlServer) -> None:
    with pytest.raises(AutosyncError) as caught:
        await ask(server, "busy")
    assert (caught.value.title, caught.value.hint) == ("A rebase is in progress", "Finish it.")


async def test_a_bug_in_an_answer_is_logged_and_the_server_goes_on(
    server: ControlServer, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AutosyncError, match="The agent failed at `bug`\n  Its log has the details"):
        await ask(server, "bug")
    assert "ZeroDivisionError: of no concern" in caplog.text
    assert await ask(server, "status") == {"you said": {}}


async def test_what_the_machine_does_not_allow_is_no_bug(
    server: ControlServer, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AutosyncError, match="The agent needs more open files than its limit of"):
        await ask(server, "crowded")
    assert caplog.text == ""


@pytest.mark.parametrize(
    "request_line",
    [
        b"\n",
        b"status\n",
        b"[]\n",
        b'{"command": 1}\n',
        b'{"command": "x", "arguments": []}\n',
        b"\xff\n",
        b"[" * 60000 + b"\n",
    ],
)
async def test_what_is_no_request_is_refused(server: ControlServer, answers: Answers, request_line: bytes) -> None:
    response = await send(server, request_line)
    assert response["error"]["title"] == "The request is not understood"
    assert answers.asked == []


async def test_a_request_without_end_is_refused(server: ControlServer) -> None:
    response = await send(server, b"x" * (REQUEST_LIMIT + 1))
    assert response["error"]["title"] == f"The request is longer than {REQUEST_LIMIT} bytes"
    assert await ask(server, "status") == {"you said": {}}


async def test_half_a_request_is_refused(server: ControlServer) -> None:
    reader, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"command": "sta')
    writer.write_eof()
    assert json.loads(await reader.readline())["error"]["title"] == "The request is not complete"
    writer.close()


async def test_a_caller_that_goes_away_cancels_its_answer(server: ControlServer, answers: Answers) -> None:
    _, writer = await asyncio.open_unix_connection(server.path)
    writer.write(b'{"command": "wait"}\n')
    await answers.begun.wait()
    writer.close()
    await answers.cancelled.wait()


async def test_stopping_ends_who_waits_and_removes_the_socket(
    tmp_path: Path, server: ControlServer, answers: Answers
) -> None:
    waiting = asyncio.ensure_future(ask(server, "wait"))
    await answers.begun.wait()
    await server.stop()
    with pytest.raises(TransientError, match="The agent ended before it answered"):
        await waiting
    with pytest.raises(NotRunning):
        await ask(server, "status")
    assert NAME not in os.listdir(tmp_path)
    await server.stop()


async def test_a_caller_does_not_wait_for_ever(server: ControlServer) -> None:
    with pytest.raises(TransientError, match=r"The agent gave no answer within 0\.05 seconds"):
        await ask(server, "wait", patience=0.05)


async def test_a_long_path_is_no_obstacle(tmp_path: Path, answers: Answers) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    server = ControlServer(str(directory / NAME), answers)
    await server.start()
    assert await ask(server, "status") == {"you said": {}}
    await server.stop()


async def test_a_socket_left_behind_is_replaced(tmp_path: Path, answers: Answers) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / NAME))
    server = ControlServer(str(tmp_path / NAME), answers)
    with pytest.raises(NotRunning):
        await ask(server, "status")
    await server.start()
    assert await ask(server, "status") == {"you said": {}}
    await server.stop()


@pytest.mark.parametrize("directory", ["", "nowhere", "file"])
def test_no_agent_is_told_with_the_next_step(tmp_path: Path, directory: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotRunning) as caught:
        call(str(tmp_path / directory), "status")
    assert caught.value.title == "The agent is not running"
    assert caught.value.hint.startswith("Start it with `autosync run`.")


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / NAME))
    listener.listen(0)
    listener.settimeout(5)
    waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2)]
    for each in waiting:
        each.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            each.connect(str(tmp_path / NAME))

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                if connection.recv(100):
                    connection.sendall(b'{"pid": 7}\n')
                    return

    server = threading.Timer(0.2, serve)
    server.start()
    try:
        for each in waiting:
            threading.Timer(0.2, each.close).start()
        assert call(str(tmp_path), "status") == {"pid": 7}
    finally:
        server.join(10)
        listener.close()
