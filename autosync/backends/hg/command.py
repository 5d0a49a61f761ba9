"""Says which hg is started, with which arguments and environment."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Mapping, Sequence

import autosync.backends.hgext
import autosync.hgext
from autosync.backends.hg.requirements import requirements_of

ENTRY = os.path.join(os.path.dirname(autosync.backends.hgext.__file__), "entry.py")

KEPT_EXTENSIONS = frozenset({b"autosync", b"eol", b"lfs", b"lwcopy"})
"""They say how files are stored; all others of the user's could change what our questions are answered."""

_NEEDED: Mapping[bytes, str] = {b"lwcopy-v1": "lwcopy"}
"""The extension of ours without which no hg opens a repository that requires this, whatever the user has enabled."""

NO_PROGRAM = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOEXEC, errno.ELOOP})
"""Why what is configured as hg cannot be started, while another one could (execve(2))."""

_KEPT = frozenset({"HGRCPATH", "HGMODULEPOLICY"})


def own_hg() -> tuple[str, ...]:
    """Return the command of the Mercurial in our own environment.

    ``-P``: python -m would else look for modules in the working directory first, which is where
    a peer's files are.
    """
    return (sys.executable, "-P", "-m", "mercurial")


def server_argv(hg: Sequence[str], root: bytes, disabled: Iterable[bytes]) -> list[str | bytes]:
    """Return the command line of a command server for the working copy at ``root``."""
    settings: list[str | bytes] = ["--config", f"extensions.autosync={ENTRY}", *needed_settings(root)]
    for name in sorted(disabled):
        settings += ["--config", b"extensions.%s=!" % name]
    return [*hg, "-R", root, *settings, "serve", "--cmdserver", "pipe"]


def needed_settings(root: bytes) -> list[str]:
    """Return the options with which any hg opens the repository at ``root``."""
    names = sorted(_NEEDED[requirement] for requirement in requirements_of(root) & _NEEDED.keys())
    return [word for name in names for word in ("--config", f"extensions.{name}={extension(name)}")]


def extension(name: str) -> str:
    """Return where an extension of ours for any user of hg is."""
    return os.path.join(os.path.dirname(autosync.hgext.__file__), name)


def environment() -> Mapping[str, str]:
    """Return the environment for an hg of ours.

    HGPLAIN takes away the user's aliases, defaults and formats (hg help environment); what his
    shell exports for one command (HG*) must not steer ours.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HG") or name in _KEPT}
    return {**kept, "HGPLAIN": "1", "HGENCODING": "utf-8"}
