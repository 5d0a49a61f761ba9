"""Examines, for ``autosync check``, the version control programs that the configured working copies need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autosync.backends.git.cli import Git
from autosync.backends.hg.once import version_of
from autosync.backends.opening import vcs_of
from autosync.backends.stores import repository_of
from autosync.cli.finding import Finding, Level
from autosync.config import Config, Mode, PathConfig, Vcs
from autosync.errors import AutosyncError


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
        return path.backend or vcs_of(repository_of(path.path) if path.mode is Mode.STORE else path.path)
    except AutosyncError:
        return None


def _git() -> Finding:
    try:
        return Finding(Level.OK, "git", Git(b"/").run("version").decode().strip())
    except FileNotFoundError:
        return Finding(Level.FAIL, "git", "git is not installed, or not on PATH", "On Debian: apt-get install git")


def _hg(command: Sequence[str] | None) -> Finding:
    try:
        said = version_of(command)
    except AutosyncError as error:
        return Finding(Level.FAIL, "hg", error.title, error.hint)
    return Finding(Level.OK, "hg", f"{said}: {' '.join(command) if command else 'the one that comes with autosync'}")
