"""Decides who may see the page: who came by a link that works once, and who knows this process's secret."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from urllib.parse import parse_qs

from autosync.web.exchange import Request, Response, text_response

LINK_SECONDS = 600.0
"""For how long a link works, if it was not followed before."""
_LINKS = 16
_SESSIONS = 32
_COOKIE = "autosync"
_NO_LINK = (
    "This page opens by a link that works once. Run `autosync web --open` in a terminal: it opens it, or prints one."
)
_ELSEWHERE = "This address is not that of the page."


class Gate:
    """Lets requests in, or says why not.

    The page lies below :attr:`root`, a path that is a secret of its own.  Cookies are sent to
    every port of a host (RFC 6265, 8.5), so to servers of other users of this machine too: it is the
    path that keeps this one from them.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.root = f"/{secrets.token_urlsafe(16)}/"
        self.bearer = secrets.token_urlsafe(32)
        """What a program of the same user shows, as `Authorization: Bearer`."""
        self._links: dict[str, float] = {}
        self._sessions: list[str] = []
        self._hosts: frozenset[str] = frozenset()

    def serve_at(self, port: int) -> None:
        """Take note of the port: the page has no other names than these."""
        self._hosts = frozenset(f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))

    def link(self) -> str:
        """Return the path and query of a link that lets its first follower in."""
        self._links = {key: end for key, end in self._links.items() if end > self._now()}
        while len(self._links) >= _LINKS:
            self._links.pop(next(iter(self._links)))
        key = secrets.token_urlsafe(32)
        self._links[key] = self._now() + LINK_SECONDS
        return f"{self.root}?key={key}"

    def check(self, request: Request) -> Response | None:
        """Return what to answer instead of what was asked for, ``None`` if the request is let in."""
        host = request.headers.get("host", "").lower()
        if host not in self._hosts:  # another name that was made to lead here (DNS rebinding)
            return text_response(421, _ELSEWHERE)
        if not _begins(request.path, self.root):
            return text_response(404, _NO_LINK)
        if request.method not in ("GET", "POST"):
            return text_response(405, "The page is asked by GET and POST.", Allow="GET, POST")
        if request.method == "GET" and request.path == self.root and request.query:
            return self._enter(request)
        by_bearer = _is_one_of(request.headers.get("authorization", ""), [f"Bearer {self.bearer}"])
        if not by_bearer and not self._has_session(request):
            return text_response(403, _NO_LINK)
        return self._check_origin(request, host, by_bearer=by_bearer)

    def _check_origin(self, request: Request, host: str, *, by_bearer: bool) -> Response | None:
        """Refuse what another page has a browser ask (Fetch Metadata, W3C; RFC 6454)."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        own = f"http://{host}"
        if site not in (None, "same-origin", "none") or origin not in (None, own):
            return text_response(403, "Another page asked. Nothing was done.")
        if request.method == "POST":
            if origin is None and not by_bearer:
                return text_response(403, "Nothing tells which page asked. Nothing was done.")
            if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return text_response(415, "What is sent here is JSON.")
        return None

    def _enter(self, request: Request) -> Response:
        key = parse_qs(request.query).get("key", [""])[0] if len(request.query) < 200 else ""
        known = next((link for link in self._links if _is_one_of(key, [link])), None)
        if known is None or self._links.pop(known) <= self._now():
            # Who is in already and goes back to the link is in.
            return self._home() if self._has_session(request) else text_response(403, _NO_LINK)
        session = secrets.token_urlsafe(32)
        self._sessions = [*self._sessions[1 - _SESSIONS :], session]
        cookie = f"{_COOKIE}={session}; Path={self.root}; HttpOnly; SameSite=Strict"
        return self._home({"Set-Cookie": cookie})

    def _home(self, headers: dict[str, str] | None = None) -> Response:
        return Response(status=303, headers={"Location": self.root, **(headers or {})})

    def _has_session(self, request: Request) -> bool:
        # Split by hand: what servers of other ports have set may be no cookie by any standard, and is no
        # reason to overlook ours (http.cookies drops all of them).
        pairs = (pair.strip().partition("=") for pair in request.headers.get("cookie", "").split(";"))
        return any(_is_one_of(value, self._sessions) for name, _, value in pairs if name == _COOKIE)


def _begins(path: str, root: str) -> bool:
    return hmac.compare_digest(path[: len(root)].encode(), root.encode())


def _is_one_of(value: str, known: Iterable[str]) -> bool:
    """Return whether ``value`` is known, in a time that does not tell how much of it was right."""
    found = [hmac.compare_digest(value.encode(), one.encode()) for one in known]
    return any(found)
