"""An agent of which only the control socket is there: it says what a test wants to be heard."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from autosync.activities import Activity
from autosync.answers.news import News
from autosync.control import NAME, ControlServer


def status(root: Path, **changes: Any) -> dict[str, Any]:
    """Return the status of an agent with one working copy at ``root``, as far as the desktop looks at it."""
    workspace = {
        "name": "notes",
        "path": str(root),
        "phase": "watching",
        "state": "watching",
        "tree": "1" * 40,
        "waiting-for": None,
        "pending": 0,
        "mode": "two-way",
        "conflicts": [],
        "peers": [],
        "halt": None,
        "held": {"count": 0, "reasons": {}, "paths": []},
        **changes,
    }
    return {"device": "laptop", "channels": [], "workspaces": [workspace]}


@dataclass(slots=True)
class ScriptedAgent:
    """Its ``state`` directory has the socket; ``status`` is what it answers to that; a context manager."""

    state: Path
    status: dict[str, Any]
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answer: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda _command, _arguments: {}
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, init=False)
    _thread: threading.Thread = field(init=False)
    _news: News = field(init=False)
    _server: ControlServer = field(init=False)

    def __enter__(self) -> ScriptedAgent:
        self.state.mkdir(exist_ok=True)
        self._news = News()
        self._server = ControlServer(str(self.state / NAME), self._answer)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if command == "activity":
            return await self._news.answer(arguments)
        if command == "status":
            return self.status
        self.asked.append((command, arguments))
        return self.answer(command, arguments)

    def happens(self, kind: str, *paths: str, **more: Any) -> None:
        """Have something happen."""
        fields = {"workspace": "notes", "device": "laptop", "text": "desktop", "count": len(paths), **more}
        activity = Activity(kind=kind, at_ms=time.time() * 1000, paths=paths, **fields)
        self._loop.call_soon_threadsafe(self._news.happened, activity)
