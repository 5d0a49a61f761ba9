"""Talks to the user's systemd, if one runs."""

from __future__ import annotations

import subprocess

from autosync.errors import AutosyncError

PATIENCE = 60.0
"""Seconds that a service may take to say that it is ready before nobody waits for it any more."""
_QUICK = 15.0


class UserManager:
    """The systemd of this user (``systemctl --user``).

    With ``rehearse`` nothing is changed; ``ran`` are the commands that were run, or would have been.
    """

    def __init__(self, *, rehearse: bool = False) -> None:
        self._rehearse = rehearse
        self.ran: list[str] = []

    def is_there(self) -> bool:
        """Return whether it runs and answers."""
        try:
            return _run("show", "--property=Version", within=_QUICK).returncode == 0
        except (OSError, AutosyncError):
            return False

    def is_active(self, unit: str) -> bool:
        """Return whether a unit runs, or starts.  Raises as :meth:`state`."""
        return self.state(unit)["ActiveState"] in ("active", "activating", "reloading")

    def state(self, unit: str) -> dict[str, str]:
        """Return what it knows of a unit: ``ActiveState``, ``MainPID``, ``DropInPaths``, and more.

        Raises :class:`AutosyncError` if it does not answer.
        """
        done = _run("show", unit, "--property=ActiveState,MainPID,UnitFileState,DropInPaths,StatusText", within=_QUICK)
        lines = (line.partition("=") for line in done.stdout.splitlines())
        return {"ActiveState": "", "MainPID": "0"} | {key: value for key, _, value in lines}

    def change(self, *arguments: str, within: float = _QUICK) -> None:
        """Run ``systemctl --user`` with ``arguments``.  Raises :class:`AutosyncError` with what it said."""
        self.ran.append(" ".join(("systemctl", "--user", *arguments)))
        if self._rehearse:
            return
        done = _run(*arguments, within=within)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            unit = arguments[-1].removesuffix(".service")
            raise AutosyncError(
                f"`{self.ran[-1]}` failed: {said[0]}", hint=f"Its log says why: journalctl --user -u {unit} -n 20"
            )


def _run(*arguments: str, within: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["systemctl", "--user", "--no-pager", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AutosyncError(
            f"`{' '.join(('systemctl', '--user', *arguments))}` has not ended within {within:g} seconds",
            hint="A first look at large working copies may take longer: `systemctl --user status` shows how it is.",
        ) from None
