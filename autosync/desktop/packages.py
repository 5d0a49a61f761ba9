"""Finds the modules that popups need: in this Python, else among the packages that the system's Python has."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from autosync.cli.finding import Finding, Level

DEBIAN = ("python3-notify2", "python3-dbus", "python3-gi")
"""Debian's packages with what popups need."""
WINDOW = "gir1.2-gtk-3.0"
"""Debian's package without which a commit cannot be described in a window of ours."""
SYSTEM = "/usr/lib/python3/dist-packages"
"""Where Debian's Python finds what its packages bring (Debian Python Policy)."""
_NEEDED = ("notify2", "dbus", "gi")
_LENT = frozenset({*_NEEDED, "_dbus_bindings", "_dbus_glib_bindings", "pygtkcompat", "cairo"})
"""What is taken from there; nothing else, so that no other package of a virtual environment is another one."""


class _Lender(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module that is lent is; those inside a package are found by the package."""
        if path is not None or fullname not in _LENT:
            return None
        return PathFinder.find_spec(fullname, [SYSTEM], target)


def borrow() -> None:
    """Let this process import what the system's Python has of what popups need, if it has none of its own.

    A virtual environment does not see the system's packages, and dbus and gi are compiled for one version
    of Python: that of the system, which the environment of a Debian machine usually has too.
    """
    if any(isinstance(finder, _Lender) for finder in sys.meta_path):
        return
    sys.meta_path.append(_Lender())


def missing() -> list[str]:
    """Return which of the modules cannot be imported."""
    borrow()
    found = []
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:  # also of what was compiled for another Python
            found.append(name)
    return found


def has_bus() -> bool:
    """Return whether there is a session bus to ask for popups (dbus-daemon(1), systemd's user bus)."""
    if os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return True
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return bool(runtime) and os.path.exists(os.path.join(str(runtime), "bus"))


def popup_finding() -> Finding:
    """Return what keeps popups from being shown, and the line that mends it."""
    return cannot_show() or _of_server()


def cannot_show() -> Finding | None:
    """Return what is missing for any popup, ``None`` if there may only be nobody who shows it now."""
    lacking = missing()
    if lacking:
        names = ", ".join(lacking)
        if all(importlib.util.find_spec(name) is not None for name in lacking):
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            return Finding(
                Level.WARN,
                "popups",
                f"the system's {names} is not for Python {version}, which autosync runs with",
                "pip install 'autosync[desktop]' builds it, or make the environment with /usr/bin/python3 -m venv.",
            )
        return Finding(
            Level.WARN, "popups", f"Python has no {names}: news goes to the log", f"apt install {' '.join(DEBIAN)}"
        )
    if not has_bus():
        return Finding(
            Level.WARN,
            "popups",
            "there is no session bus: news goes to the log",
            "On a desktop, start the agent in your session: DBUS_SESSION_BUS_ADDRESS must be set. A server needs none.",
        )
    return _of_bus()


def _of_bus() -> Finding | None:
    import dbus  # noqa: PLC0415  (found by `borrow`)

    try:
        with _bus():
            return None
    except dbus.DBusException as error:
        return Finding(
            Level.WARN,
            "popups",
            f"the session bus cannot be reached: {error.get_dbus_message()}",
            "Start the agent in your desktop session, or unset DBUS_SESSION_BUS_ADDRESS.",
        )


@contextlib.contextmanager
def _bus() -> Iterator[Any]:
    """Connect to the session bus for a moment: the connection that a process keeps is to belong to its main loop."""
    import dbus  # noqa: PLC0415  (found by `borrow`)

    bus = dbus.SessionBus(private=True)
    bus.set_exit_on_disconnect(False)
    try:
        yield bus
    finally:
        bus.close()


def _of_server() -> Finding:
    import dbus  # noqa: PLC0415  (found by `borrow`)

    place, interface = "/org/freedesktop/Notifications", "org.freedesktop.Notifications"
    try:
        with _bus() as bus:
            server = bus.get_object(interface, place, introspect=False)
            name = str(server.GetServerInformation(dbus_interface=interface, timeout=5)[0])
    except dbus.DBusException as error:
        return Finding(
            Level.WARN,
            "popups",
            f"nothing shows popups on this desktop: {error.get_dbus_message()}",
            "Start a notification daemon, for example: apt install dunst",
        )
    return Finding(Level.OK, "popups", f"shown by {name}")
