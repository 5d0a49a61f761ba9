"""Finds out whether popups can be shown, and what is lacking for them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from autosync.cli.finding import Finding, Level

_WITHIN = 5.0
_INSTALL = "sudo apt-get install python3-notify2 python3-dbus"
_IMPORTS = "import dbus, notify2"


def check_popups(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Tell whether there is a session bus, somebody on it who shows popups, and the library for it."""
    if bus_address(environ) is None:
        detail = "no session bus, as on a server: what a popup would say stands in the log"
        hint = f"To have popups, log in to a desktop and start the agent there; it takes: {_INSTALL}"
        yield Finding(Level.OK, "popups", detail, hint)
    elif not _is_there(_IMPORTS):
        yield Finding(
            Level.WARN, "popups", "notify2 is not installed: what a popup would say stands in the log", _INSTALL
        )
    elif (problem := _ask_for_daemon(environ)) is not None:
        hint = "A desktop brings one; else: sudo apt-get install dunst"
        yield Finding(Level.WARN, "popups", f"nothing on the session bus shows popups: {problem}", hint)
    else:
        yield Finding(Level.OK, "popups", "can be shown")


def bus_address(environ: Mapping[str, str]) -> str | None:
    """Return where the session bus is, ``None`` if there is none (dbus-launch(1), sd_bus_default_user(3))."""
    address = environ.get("DBUS_SESSION_BUS_ADDRESS")
    socket = os.path.join(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "bus")
    return address or (f"unix:path={socket}" if os.path.exists(socket) else None)


def _is_there(imports: str) -> bool:
    """Return whether Debian's own Python, for which it packages the libraries, can import these."""
    python = shutil.which("python3", path="/usr/bin:/bin")
    if python is None:
        return False
    try:
        return (
            subprocess.run([python, "-c", imports], capture_output=True, timeout=_WITHIN, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


def _ask_for_daemon(environ: Mapping[str, str]) -> str | None:
    """Return why nobody answers for org.freedesktop.Notifications, ``None`` if somebody does."""
    gdbus = shutil.which("gdbus") or shutil.which("busctl")
    if gdbus is None:
        return None
    name, place = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
    call = (
        ["call", "--session", "--dest", name, "--object-path", place, "--method", f"{name}.GetServerInformation"]
        if gdbus.endswith("gdbus")
        else ["--user", "call", name, place, name, "GetServerInformation"]
    )
    try:
        done = subprocess.run(
            [gdbus, *call], capture_output=True, text=True, timeout=_WITHIN, check=False, env=dict(environ)
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_WITHIN:g} seconds"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no answer"])[-1]
