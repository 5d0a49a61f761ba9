"""Starts programs of the user's so that they do not belong to the service that this process may be part of."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

_PASSED_ON = (
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_CURRENT_DESKTOP",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "BROWSER",
    "LANG",
    "PATH",
)
"""Variables that the user's systemd need not have, and programs with windows want."""
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")
_PATIENCE = 5.0
"""Seconds that systemd may take to answer."""


def outside(command: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Return what has to be run so that ``command`` runs, with its exit code, outside of any service of ours.

    Inside, a browser would end with autosync, and one that comes as a snap could not even start: it has to gain rights.
    """
    if not environ.get("INVOCATION_ID") or shutil.which("systemd-run", path=environ.get("PATH")) is None:
        return list(command)
    passed = [f"--setenv={name}" for name in _PASSED_ON if environ.get(name)]
    # A file manager may stay when what opened it has ended.
    return ["systemd-run", "--user", "--quiet", "--collect", "--wait", "--property=KillMode=process", *passed, *command]


def with_display(environ: Mapping[str, str]) -> dict[str, str]:
    """Return ``environ`` with the display of the user's session, if there is one.

    A service may have been started before there was a display: the session tells systemd of it later.
    """
    if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"):
        return dict(environ)
    try:
        done = subprocess.run(
            ["systemctl", "--user", "show-environment"],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return dict(environ)
    told = (line.partition("=") for line in done.stdout.decode("utf-8", "surrogateescape").splitlines())
    return {**environ, **{name: _unquoted(value) for name, _, value in told if name in _DISPLAYS}}


def _unquoted(value: str) -> str:
    """Return a value as it was before systemd wrote it for a shell (``$'…'``, where it has to be quoted)."""
    if not (value.startswith("$'") and value.endswith("'")):
        return value
    return re.sub(r"\\(.)", r"\1", value[2:-1])
