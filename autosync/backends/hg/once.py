"""Runs one command of hg as a process of its own, where no command server is worth its start."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from autosync.backends.hg.command import NO_PROGRAM, environment, needed_settings, own_hg
from autosync.backends.hg.server import HgFailed
from autosync.errors import Unsupported

_HINT = "Correct `hg:` in the config, or leave it out to use autosync's own Mercurial."


def run_hg(hg: Sequence[str] | None, directory: bytes, *args: str | bytes, patience: float | None = None) -> bytes:
    """Return what hg printed; ``hg`` is the command to run, by default that of our own environment.

    Raises :class:`Unsupported` if that is no Mercurial or gives no answer for ``patience``
    seconds, :class:`HgFailed` if the command fails.
    """
    argv = [*(hg or own_hg()), *needed_settings(directory), *args]
    shown = hg[0] if hg else "Mercurial"
    try:
        done = subprocess.run(
            argv,
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience,
            check=False,
        )
    except OSError as error:
        if error.errno not in NO_PROGRAM:
            raise
        raise Unsupported(f"{shown} cannot be started: {error.strerror}", hint=_HINT) from None
    except subprocess.TimeoutExpired:
        raise Unsupported(f"{shown} gave no answer for {patience:g} seconds", hint=_HINT) from None
    if done.returncode:
        named = args[0].decode() if isinstance(args[0], bytes) else args[0]
        raise HgFailed(f"`hg {named}`", done.stderr)
    return done.stdout


def version_of(hg: Sequence[str] | None) -> str:
    """Return what hg says it is.  Raises :class:`Unsupported` if it is no Mercurial."""
    try:
        said = run_hg(hg, b"/", "version", "--quiet", patience=60.0).decode("utf-8", "replace").strip()
    except HgFailed as failed:
        said = failed.said
    if not said.startswith("Mercurial"):
        shown = hg[0] if hg else "Mercurial"
        raise Unsupported(f"{shown} does not answer as hg does: {said[:200] or 'no message'}", hint=_HINT)
    return said
