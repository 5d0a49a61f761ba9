"""Makes the environment of the program that is run for `on-update`."""

from __future__ import annotations

import os
from collections.abc import Mapping

_OURS = (
    # What the shell that started the agent had of one repository would aim git and hg at that one.
    *("GIT_", "HG"),
    # What is the service manager's business with the agent, sd_notify(3) and sd_listen_fds(3).
    *("NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "JOURNAL_STREAM", "INVOCATION_ID", "MAINPID", "SYSTEMD_EXEC_PID"),
    *("AUTOSYNC_", "PYTHONHOME"),
)
_KEPT = frozenset(
    {
        *("GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_PROXY_COMMAND", "GIT_EXEC_PATH"),
        *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "HGRCPATH"),
    }
)
"""How a user reaches his servers, and where his settings are."""


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the agent's environment without what is meant for the agent alone, and with ``own``."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_OURS)}
    return {**kept, **own}
