"""Reads ``HOST:PORT``."""

from __future__ import annotations

import re

from autosync.errors import AutosyncError

_ADDRESS = re.compile(r"(?P<host>\*|[^\s:/@\[\]]*|\[[0-9A-Fa-f:.%\w]+\]):(?P<port>\d{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``*:PORT`` or ``[IPv6]:PORT``; the empty host is every interface.

    Raises :class:`AutosyncError`.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise AutosyncError(
            f"{text!r} is no address with a port", hint="Write it like *:1986, 192.0.2.7:1986 or [2001:db8::7]:1986."
        )
    host = found["host"].strip("[]")
    return ("" if host == "*" else host), int(found["port"])
