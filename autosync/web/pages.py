"""Answers the requests that were let in: the page's own files, its news, and its questions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from autosync.errors import AutosyncError
from autosync.web.asking import Asking
from autosync.web.exchange import Request, Response, json_response, text_response
from autosync.web.gate import Gate
from autosync.web.threads import in_thread
from autosync.web.watching import Watch

_JS = "text/javascript; charset=utf-8"
_FILES: Mapping[str, tuple[str, str]] = {
    "": ("index.html", "text/html; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    **{
        f"{name}.js": (f"{name}.js", _JS)
        for name in ("main", "dom", "live", "ask", "words", "overview", "timeline", "conflicts", "held", "settings")
    },
}
"""All that is served, by its path below the root: no path of a request is ever looked up on the disk."""

_QUESTIONS = 16
"""Questions that the agent is asked at a time; the others wait."""


class Pages:
    """What lies behind the gate; ``link`` returns the address of a link that works once."""

    def __init__(self, gate: Gate, watch: Watch, asking: Asking, link: Callable[[], str]) -> None:
        self._gate = gate
        self._watch = watch
        self._asking = asking
        self._link = link
        self._turns = asyncio.Semaphore(_QUESTIONS)
        directory = files(__package__) / "static"
        self._files = {
            path: Response(status=200, headers={"Content-Type": kind}, body=(directory / name).read_bytes())
            for path, (name, kind) in _FILES.items()
        }

    async def answer(self, request: Request) -> Response:
        """Return the answer to a request, or why it is refused."""
        refused = self._gate.check(request)
        if refused is not None:
            return refused
        name = request.path.removeprefix(self._gate.root)
        if request.method == "GET":
            if name == "news":
                headers = {"Content-Type": "text/event-stream"}
                return Response(status=200, headers=headers, stream=self._watch.news())
            return self._files.get(name) or text_response(404, "There is no such page.")
        if name == "link":
            return json_response({"url": self._link()})
        if name == "ask":
            return await self._ask(request.body)
        return text_response(404, "Nothing can be done there.")

    async def _ask(self, body: bytes) -> Response:
        """Errors come as the control socket has them, so that the page shows them in the agent's words."""
        try:
            question: Any = json.loads(body)
        except (ValueError, RecursionError):
            return text_response(400, "What was sent is no JSON.")
        try:
            async with self._turns:
                return json_response(await in_thread(partial(self._asking.answer, question)))
        except AutosyncError as error:
            return json_response({"error": {"title": error.title, "hint": error.hint}})
