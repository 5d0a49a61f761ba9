"""Starts programs of the user's so that they do not belong to the service that this process may be part of."""

from __future__ import annotations

import shutil
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


def outside(command: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Return what has to be run so that ``command`` runs, with its exit code, outside of any service of ours.

    Inside, a browser would end with autosync, and one that comes as a snap could not even start: it has to gain rights.
    """
    if not environ.get("INVOCATION_ID") or shutil.which("systemd-run", path=environ.get("PATH")) is None:
        return list(command)
    passed = [f"--setenv={name}" for name in _PASSED_ON if environ.get(name)]
    # A file manager may stay when what opened it has ended.
    return ["systemd-run", "--user", "--quiet", "--collect", "--wait", "--property=KillMode=process", *passed, *command]
