"""Finds the git commands of others that are at work in a working copy at this moment."""

from __future__ import annotations

import os
from collections.abc import Sequence

_WRITERS = frozenset(
    b"add am apply bisect checkout cherry-pick clean commit merge mv pull read-tree rebase reset restore revert rm "
    b"stash switch update-index update-ref".split()
)
"""Commands that take the index or HEAD for what it was when they began, also between their locks and
while the user writes a message in his editor."""
_TAKE_A_VALUE = frozenset({b"-C", b"-c", b"--git-dir", b"--work-tree", b"--namespace"})


def running_command(root: bytes) -> str | None:
    """Return the command by which somebody else's git is changing the working copy at ``root``, if any.

    A look at proc(5): what starts a moment later, or runs as another user, is not seen.
    """
    try:
        processes = [name for name in os.listdir(b"/proc") if name.isdigit()]
    except OSError:
        return None
    for process in processes:
        command = _command(b"/proc/" + process, root)
        if command in _WRITERS and not _is_ours(process):
            return f"git {command.decode()}"
    return None


def _command(directory: bytes, root: bytes) -> bytes:
    """Return the git command of a process that works below ``root``, empty for any other process."""
    try:
        if _read(directory + b"/comm") != b"git\n":
            return b""
        place = os.readlink(directory + b"/cwd")
        if place != root and not place.startswith(root.rstrip(b"/") + b"/"):
            return b""
        return _subcommand(_read(directory + b"/cmdline").split(b"\0")[1:])
    except OSError:  # it has ended, or is none of ours to look at
        return b""


def _subcommand(arguments: Sequence[bytes]) -> bytes:
    words = iter(arguments)
    for word in words:
        if word in _TAKE_A_VALUE:
            next(words, None)
        elif not word.startswith(b"-"):
            return word
    return b""


def _is_ours(process: bytes) -> bool:
    """Return whether this process has started it, directly or not."""
    own = b"%d" % os.getpid()
    while process not in {own, b"0", b"1"}:
        try:
            # The name, in parentheses, may itself hold spaces and parentheses (proc(5), "stat").
            process = _read(b"/proc/" + process + b"/stat").rpartition(b")")[2].split()[1]
        except (OSError, IndexError):
            return False
    return process == own


def _read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read(65536)
