"""What one HTTP request asks and what is answered to it, as values."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

HEADERS: Mapping[str, str] = {
    # Nothing but this server's own files runs, shows or is asked; nobody may frame the page (CSP level 3).
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    # The address of the page is half of what lets someone in.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
}
"""What every answer carries, an error too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request.  Names of ``headers`` are in lower case; ``query`` is what follows the first ``?``."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer.  With ``stream`` the body is what that yields, for as long as it yields."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None


def text_response(status: int, text: str, **headers: str) -> Response:
    """Return an answer in plain words; names in ``headers`` have ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        status=status, headers={"Content-Type": "text/plain; charset=utf-8", **named}, body=f"{text}\n".encode()
    )


def json_response(value: Mapping[str, Any], *, status: int = 200) -> Response:
    """Return an answer for programs; text that is not UTF-8 is sent as it was escaped (PEP 383)."""
    return Response(status=status, headers={"Content-Type": "application/json"}, body=json.dumps(value).encode())
