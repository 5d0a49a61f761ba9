"""The control socket: how the command line asks the running agent, one JSON line each way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from autosync.causes import shortage_of
from autosync.errors import AutosyncError, TransientError

log = logging.getLogger(__name__)

NAME = "agent.sock"
REQUEST_LIMIT = 64 * 1024
"""Longest request in bytes."""
RESPONSE_LIMIT = 64 * 1024 * 1024
"""Longest response in bytes; a status may list many conflicts."""
_ASK_WITHIN = 10.0
_QUEUE_PAUSE = 0.02

Answer = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Answers requests on the unix socket ``path``, which only this user may open.

    ``answer(command, arguments)`` returns the response.  An :class:`AutosyncError` it raises
    is sent as ``{"error": {"title", "hint"}}``.  One request per connection; a client that
    goes away cancels its answer.
    """

    def __init__(self, path: str, answer: Answer) -> None:
        self.path = path
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen.  A socket left behind by a killed agent is replaced: the caller holds the agent lock."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            with _short(self.path) as address:
                listener.bind(address)
            # Nobody can connect before the server listens, so there is no moment of wider rights.
            os.chmod(self.path, 0o600)
            self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=REQUEST_LIMIT)
        except BaseException:
            listener.close()
            raise

    async def stop(self) -> None:
        """Stop answering, drop those who wait, remove the socket."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (we run in one)
        self._connections.add(task)
        try:
            response = await self._respond(reader, writer)
            if response is not None:
                writer.write(json.dumps(response).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            # The client has gone, or the agent stops: either way nobody reads an answer.
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any] | None:
        """Return the response, ``None`` if the client has gone."""
        if not _is_allowed(writer):
            return _error("Another user's process asked", "Run the command as the user who runs the agent.")
        try:
            async with asyncio.timeout(_ASK_WITHIN):
                line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            return _error(f"The request is longer than {REQUEST_LIMIT} bytes", "Ask for less at a time.")
        except (asyncio.IncompleteReadError, TimeoutError):
            return _error("The request is not complete", "A request is one line of JSON that ends with a newline.")
        request = _parse(line)
        if request is None:
            return _error("The request is not understood", 'Send {"command": "status", "arguments": {}} and a newline.')
        answering = asyncio.ensure_future(self._safely(*request))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
            return answering.result() if answering.done() else None
        finally:
            answering.cancel()
            gone.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)

    async def _safely(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._answer(command, arguments)
        except AutosyncError as error:
            return _error(error.title, error.hint)
        except Exception as error:
            shortage = shortage_of(error, os.fsencode(self.path)) if isinstance(error, OSError) else None
            if shortage is not None:
                return _error(shortage.title, shortage.hint)
            # One bad answer must not end the agent: it is logged whole, the user is told.
            log.exception("control: %s failed", command)
            return _error(f"The agent failed at `{command}`", "Its log has the details. Please report this.")


def call(state_dir: str, command: str, *, patience: float = 10.0, **arguments: Any) -> dict[str, Any]:
    """Return the agent's answer, waiting for it up to ``patience`` seconds.

    Raises :class:`AutosyncError` if no agent runs there, and with the agent's own words if it
    answers with an error.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience)
            _connect(connection, os.path.join(state_dir, NAME), patience)
            connection.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            with connection.makefile("rb") as file:
                line = file.readline(RESPONSE_LIMIT)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise NotRunning(state_dir) from None
    except TimeoutError:
        raise TransientError(
            f"The agent gave no answer within {patience:g} seconds",
            hint="It may be busy with something large. Try again; its log tells what it does.",
        ) from None
    except OSError as error:
        raise AutosyncError(
            f"The agent's socket in {state_dir} cannot be used: {error.strerror}",
            hint="Run the command as the user who runs the agent.",
        ) from None
    return _unpack(line)


def _connect(connection: socket.socket, path: str, patience: float) -> None:
    """Connect, waiting while others queue: a full queue is EAGAIN at once (unix(7))."""
    deadline = time.monotonic() + patience
    with _short(path) as address:
        while True:
            try:
                return connection.connect(address)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError from None
                time.sleep(_QUEUE_PAUSE)


class NotRunning(AutosyncError):
    """No agent runs on a state directory."""

    def __init__(self, state_dir: str) -> None:
        super().__init__(
            "The agent is not running",
            hint=f"Start it with `autosync run`. (Looked for it in {state_dir}; with another configuration "
            "give --config FILE.)",
        )


def _unpack(line: bytes) -> dict[str, Any]:
    try:
        response = json.loads(line)
    except ValueError:
        response = None
    if not isinstance(response, dict):
        raise TransientError(
            "The agent ended before it answered", hint="Start it again with `autosync run`, then repeat the command."
        )
    error = response.get("error")
    if isinstance(error, dict):
        raise AutosyncError(str(error.get("title", "The agent refused")), hint=str(error.get("hint", "")))
    return response


def _parse(line: bytes) -> tuple[str, dict[str, Any]] | None:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict):
        return None
    command, arguments = request.get("command"), request.get("arguments", {})
    return (command, arguments) if isinstance(command, str) and isinstance(arguments, dict) else None


def _error(title: str, hint: str) -> dict[str, Any]:
    return {"error": {"title": title, "hint": hint}}


def _is_allowed(writer: asyncio.StreamWriter) -> bool:
    """Return whether the other end runs as this user or as root (unix(7), SO_PEERCRED)."""
    connection = writer.get_extra_info("socket")
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in (0, os.geteuid())


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """Yield a name for ``path`` that fits into the 108 bytes of a socket address (unix(7))."""
    directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(path)}"
    finally:
        os.close(directory)
