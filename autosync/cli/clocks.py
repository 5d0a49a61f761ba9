"""Compares this machine's clock with those of the servers that the configuration names, and of the other devices."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from autosync.backends.git.cli import Git
from autosync.cli.finding import Finding, Level
from autosync.cli.table import age
from autosync.config import Config, PathConfig
from autosync.control import call
from autosync.errors import AutosyncError
from autosync.reflector.address import parse_address

WITHIN = 8.0
_MUCH = 60.0
"""Seconds of difference that are told: certificates and names of conflict copies go by the clock."""
_KEEP_RIGHT = "Set the wrong one right, for good: sudo timedatectl set-ntp true"


def check_peers(config: Config) -> Iterator[Finding]:
    """Tell which devices have a clock that is not ours, as far as the agent has heard them."""
    try:
        workspaces = call(config.state_dir, "status")["workspaces"]
    except AutosyncError:  # told where the agent is examined
        return
    ahead: dict[str, float] = {}
    for workspace in workspaces:
        for peer in workspace["peers"]:
            if peer.get("clock-ahead") is not None:
                ahead[peer["device"]] = peer["clock-ahead"]
    for device, seconds in sorted(ahead.items()):
        yield judge(f"device {device}", seconds)


def check_hub(path: PathConfig) -> Iterator[Finding]:
    """Tell what the clock of a hub says that is reached over HTTP (RFC 9110, section 6.6.1)."""
    parts = urlsplit(_url_of(path))
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=WITHIN)
    try:
        began = time.time()
        connection.request("HEAD", "/")
        said = connection.getresponse().headers.get("Date")
        now = (began + time.time()) / 2
    except (OSError, http.client.HTTPException):  # told where the hub is examined
        return
    finally:
        connection.close()
    if said is not None:
        yield judge(f"the hub of {path.workspace}", _moment(said) - now)


def _url_of(path: PathConfig) -> str:
    """Return the URL of a path's hub, empty if its version control does not know one."""
    remote = path.remote or ""
    if "://" in remote:
        return remote
    if os.path.isdir(os.path.join(path.path, ".hg")):
        with contextlib.suppress(OSError), open(os.path.join(path.path, ".hg/hgrc"), encoding="utf-8") as file:
            match = re.search(rf"^{re.escape(remote)}\s*=\s*(\S+)", file.read(), re.MULTILINE)
            return match[1] if match else ""
        return ""
    try:
        return Git(os.fsencode(path.path)).run("ls-remote", "--get-url", remote).decode("utf-8", "replace").strip()
    except (AutosyncError, OSError):
        return ""


def check_reflector(address: str) -> Iterator[Finding]:
    """Tell what the clock of a reflector says: it answers a ping with the time."""
    try:
        with socket.create_connection(parse_address(address), timeout=WITHIN) as connection:
            connection.settimeout(WITHIN)
            connection.sendall(b"ping\n")
            began, said = time.time(), b""
            while (match := re.search(rb"^(\d+)\r?\n", said, re.MULTILINE)) is None and len(said) < 4096:
                received = connection.recv(4096)
                if not received:
                    return
                said += received
    except OSError:  # told where the channel is examined
        return
    if match is not None:
        yield judge(f"reflector {address}", int(match[1]) - (began + time.time()) / 2)


def judge(whose: str, ahead: float) -> Finding:
    """Return what there is to say of a clock that shows ``ahead`` seconds more than ours."""
    if abs(ahead) < _MUCH:
        return Finding(Level.OK, "clock", f"that of {whose} agrees ({ahead:+.0f} s)")
    words = "ahead of" if ahead > 0 else "behind"
    here = datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    detail = f"that of {whose} is {age(abs(ahead))} ({abs(ahead):.0f} s) {words} this one, which says {here}"
    return Finding(Level.WARN, "clock", detail, _KEEP_RIGHT)


def _moment(said: str) -> float:
    try:
        return parsedate_to_datetime(said).timestamp()
    except ValueError:
        return time.time()
