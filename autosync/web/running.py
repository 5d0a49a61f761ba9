"""Runs the page's server until it is told to stop, one for each agent."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from autosync.control import call
from autosync.errors import AutosyncError
from autosync.pidlock import Held, PidLock
from autosync.web.asking import Asking
from autosync.web.gate import Gate
from autosync.web.pages import Pages
from autosync.web.serving import serving
from autosync.web.watching import Watch

LOCK, PLACE = "web.lock", "web.json"
"""Files in the state directory: who serves the page, and where; the second is a secret of this user."""
_PATIENCE = 10.0

log = logging.getLogger(__name__)


def run_page(state_dir: str, option: str | None, port: int, start: str, ready: Callable[[str], None]) -> None:
    """Serve the page of the agent in ``state_dir`` until told to stop.

    ``option`` names the configuration, ``start`` is the command that starts an agent.
    ``ready(link)`` is called with an address that lets its first visitor in.  Where the page is served
    already it is called with a link to that one, and that is all; a ``port`` that is not 0 must be its then.
    Raises :class:`AutosyncError`.
    """
    lock: PidLock | None = None
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        lock = PidLock(os.path.join(state_dir, LOCK))
    except Held as held:
        link = _link_of_running(state_dir, held.pid)
        if port and urlsplit(link).port != port:
            raise AutosyncError(
                f"The page is served on port {urlsplit(link).port} already, by process {held.pid}: not on {port}",
                hint=f"Leave out --port to have a link to it, or end it before (kill {held.pid}).",
            ) from None
        ready(link)
        return
    except OSError as error:  # a page that is served is the better for whoever has to mend that
        _unwritten(state_dir, error)
    try:
        asyncio.run(_serve(state_dir, option, port, start, ready))
    finally:
        if lock is not None:
            lock.release()


async def _serve(state_dir: str, option: str | None, port: int, start: str, ready: Callable[[str], None]) -> None:
    def ask(command: str, *, patience: float = _PATIENCE, **arguments: Any) -> dict[str, Any]:
        return call(state_dir, command, patience=patience, **arguments)

    gate, watch = Gate(), Watch(ask, start)
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with contextlib.AsyncExitStack() as stack:
        pages = Pages(gate, watch, Asking(ask, option), lambda: f"{site}{gate.link()}")
        server = await stack.enter_async_context(serving(pages.answer, port))
        site = f"http://127.0.0.1:{server.port}"
        gate.serve_at(server.port)
        watching = asyncio.ensure_future(watch.run())
        stack.callback(watching.cancel)
        stack.enter_context(_written(os.path.join(state_dir, PLACE), server.port, gate))
        ready(f"{site}{gate.link()}")
        await told.wait()


@contextlib.contextmanager
def _written(path: str, port: int, gate: Gate) -> Iterator[None]:
    """Let this user's programs know, within the block, where the page is and how they are let in."""
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(file, "w", encoding="ascii") as opened:
            json.dump({"port": port, "root": gate.root, "bearer": gate.bearer}, opened)
    except OSError as error:
        _unwritten(path, error)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _unwritten(path: str, error: OSError) -> None:
    log.warning("%s cannot be written (%s): `autosync web` cannot give another link", path, error.strerror)


def _link_of_running(state_dir: str, pid: str) -> str:
    """Return a link to the page that process ``pid`` serves."""
    try:
        with open(os.path.join(state_dir, PLACE), encoding="ascii") as file:
            place = json.load(file)
        connection = http.client.HTTPConnection("127.0.0.1", place["port"], timeout=_PATIENCE)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {place['bearer']}", "Content-Type": "application/json"}
            connection.request("POST", f"{place['root']}link", b"{}", headers)
            return str(json.loads(connection.getresponse().read())["url"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        raise AutosyncError(
            f"The page is served by process {pid} already, which gives no answer",
            hint=f"It may be starting or ending: try again in a moment. If that does not help: kill {pid}",
        ) from None
