"""Mounts small file systems for tests, as root or, without root, in a namespace of their own."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec

from tests import figures
from tests.waiting import until

ROOT = Path(__file__).parents[2]
_INSIDE = "AUTOSYNC_TESTS_MOUNT"
_UNSHARE = ("unshare", "--user", "--map-root-user")

P = ParamSpec("P")


def needs_mounts(test: Callable[P, None]) -> Callable[P, None]:
    """Let ``test`` mount file systems: it is run again inside a user namespace if we may not ourselves.

    It fails, and says why, where neither is possible: a test that is skipped proves nothing.
    """

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        if _may_mount():
            test(*args, **kwargs)
        else:
            run_inside(os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0], "--mount")

    return run


@functools.cache
def _may_mount() -> bool:
    """Return whether we are root with all of his rights, which he does not have in every container."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


def run_inside(test: str, kind: str) -> None:
    """Run one test where we are root over our own files and over a namespace of this kind, user_namespaces(7)."""
    if _INSIDE in os.environ or subprocess.run([*_UNSHARE, kind, "true"], check=False).returncode:
        raise AssertionError(
            f"This test needs rights of root (unshare {kind}): run it as root, or allow user namespaces "
            "(sudo sysctl kernel.unprivileged_userns_clone=1; with AppArmor also "
            "kernel.apparmor_restrict_unprivileged_userns=0)"
        )
    with tempfile.TemporaryDirectory() as place:
        counted = Path(place, "figures")
        command = [*_UNSHARE, kind, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
        environment = {**os.environ, _INSIDE: "1", "AUTOSYNC_FIGURES": str(counted)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        figures.add_all(counted)


@contextlib.contextmanager
def tmpfs(directory: Path, options: str = "") -> Iterator[Path]:
    """Mount a file system in memory at ``directory``; ``options`` as in tmpfs(5): ``size=2m,nr_inodes=100``."""
    directory.mkdir(parents=True, exist_ok=True)
    mount(directory, options)
    try:
        yield directory
    finally:
        unmount(directory)


def mount(directory: Path, options: str = "") -> None:
    """Mount an empty file system in memory over ``directory``."""
    subprocess.run(["mount", "-t", "tmpfs", *(["-o", options] if options else []), "tmpfs", directory], check=True)


def move(mounted: Path, to: Path) -> None:
    """Let what is mounted at one directory be mounted at another: away, as if unmounted, or back."""
    # A mount below a shared one cannot be moved (mount(8)); a second one can be bound and the first let go.
    subprocess.run(["mount", "--bind", mounted, to], check=True)
    unmount(mounted)


def remount(directory: Path, options: str) -> None:
    """Change what is mounted there: ``ro``, ``rw``, ``size=30m``.

    ``ro`` is refused as long as somebody has a file open there for writing.
    """
    command = ["mount", "-o", f"remount,{options}", directory]
    until(lambda: subprocess.run(command, check=False, capture_output=True).returncode == 0, why=lambda: command)


def unmount(directory: Path) -> None:
    """Take a file system away, whoever uses it."""
    subprocess.run(["umount", "-l", directory], check=True)
