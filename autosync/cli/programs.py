"""Examines, for ``autosync check``, the version control programs that the configured working copies need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence

from autosync.backends.git.cli import Git
from autosync.backends.hg.command import environment, own_hg
from autosync.backends.opening import vcs_of
from autosync.cli.finding import Finding, Level
from autosync.config import Config, PathConfig, Vcs
from autosync.errors import AutosyncError

_PATIENCE = 60.0


def check_programs(config: Config) -> Iterator[Finding]:
    """Yield whether each program that is needed is there, and its version."""
    kinds = [(path, _vcs(path)) for path in config.paths]
    if not kinds or any(vcs is Vcs.GIT for _, vcs in kinds):
        yield _git()
    for command in dict.fromkeys(path.hg for path, vcs in kinds if vcs is Vcs.HG):
        yield _hg(command)


def _vcs(path: PathConfig) -> Vcs | None:
    """Return what a path needs, ``None`` if that cannot be told; the path's own examination says why."""
    try:
        return path.backend or vcs_of(path.path)
    except AutosyncError:
        return None


def _git() -> Finding:
    try:
        return Finding(Level.OK, "git", Git(b"/").run("version").decode().strip())
    except FileNotFoundError:
        return Finding(Level.FAIL, "git", "git is not installed, or not on PATH", "On Debian: apt-get install git")


def _hg(command: Sequence[str] | None) -> Finding:
    shown = " ".join(command) if command else "the one that comes with autosync"
    hint = "Correct `hg:` in the config, or leave it out to use autosync's own Mercurial."
    argv = [*(command or own_hg()), "version", "--quiet"]
    try:
        done = subprocess.run(
            argv,
            env=environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except OSError as error:
        return Finding(Level.FAIL, "hg", f"{shown} cannot be started: {error.strerror}", hint)
    except subprocess.TimeoutExpired:
        return Finding(Level.FAIL, "hg", f"{shown} gave no answer for {_PATIENCE:g} seconds", hint)
    said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
    if done.returncode or not said.startswith("Mercurial"):
        return Finding(Level.FAIL, "hg", f"{shown} does not answer as hg does: {said[:200]}", hint)
    return Finding(Level.OK, "hg", f"{said} ({shown})")
