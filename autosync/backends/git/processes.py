"""Finds the git commands of others that are at work in a working copy at this moment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from autosync.backends.git.repository import Repository

_WRITERS = frozenset(
    b"add am apply bisect checkout cherry-pick clean commit merge mv pull read-tree rebase reset restore revert rm "
    b"stash switch update-index update-ref".split()
)
"""Commands that take the index or HEAD for what it was when they began, also between their locks and
while the user writes a message in his editor."""
_READERS = frozenset(
    b"annotate archive blame cat-file check-attr check-ignore check-ref-format cherry count-objects "
    b"credential-cache--daemon diff-tree for-each-ref fsmonitor--daemon grep help log ls-files ls-remote ls-tree "
    b"merge-base name-rev rev-list rev-parse shortlog show show-ref upload-pack var verify-pack version".split()
)
"""Commands that take no lock of a repository; `status`, `diff` and `describe` take that of the index."""
_TAKE_A_VALUE = frozenset(
    {b"-C", b"-c", b"--git-dir", b"--work-tree", b"--namespace", b"--config-env", b"--super-prefix", b"--attr-source"}
)


def running_command(root: bytes) -> str | None:
    """Return the command by which somebody else's git is changing the working copy at ``root``, if any.

    A look at proc(5): what starts a moment later, or runs as another user, is not seen.
    """
    for process in _processes():
        command = _command(b"/proc/" + process, root)
        if command in _WRITERS and not _is_ours(process):
            return f"git {command.decode()}"
    return None


def possible_holder(repo: Repository) -> str | None:
    """Return the command of somebody else's git that may hold a lock of ``repo``, in words, if there may be one.

    Wider than :func:`running_command`: any git in the repository or one of its worktrees, of any
    user, but those that only read.  What cannot be looked at may be one.
    """
    processes = _processes()
    if b"1" not in processes:  # proc(5), "hidepid"
        return "a git that cannot be seen"
    try:
        places = _places(repo)
    except PermissionError:
        return "a git in a worktree that cannot be looked at"
    for process in processes:
        directory = b"/proc/" + process
        name = "a program that cannot be looked at"
        try:
            if not _read(directory + b"/comm").startswith(b"git"):
                continue
            words = _read(directory + b"/cmdline").split(b"\0")
            command = _subcommand(words[1:])
            if os.path.basename(words[0]).startswith(b"git-"):  # as a server starts it
                command = os.path.basename(words[0])[len(b"git-") :]
            if command in _READERS or command == b"" or _is_ours(process):
                continue
            name = f"git {os.fsdecode(command)}"
            if any(_is_within(at, place) for at in _whereabouts(directory, words) for place in places):
                return name
        except PermissionError:
            return name
        except OSError:  # it has ended
            continue
    return None


def _processes() -> Sequence[bytes]:
    try:
        return [name for name in os.listdir(b"/proc") if name.isdigit()]
    except OSError:
        return []


def _places(repo: Repository) -> Sequence[bytes]:
    """Return the directories of the repository and of all its worktrees."""
    places = [repo.root, repo.git_dir, repo.common_dir]
    if os.path.basename(repo.common_dir) == b".git":
        places.append(os.path.dirname(repo.common_dir))
    worktrees = os.path.join(repo.common_dir, b"worktrees")
    for name in os.listdir(worktrees) if os.path.isdir(worktrees) else ():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # half deleted
            link = _read(os.path.join(worktrees, name, b"gitdir")).rstrip(b"\n")
            places.append(os.path.realpath(os.path.dirname(os.path.join(worktrees, name, link))))
    return places


def _whereabouts(directory: bytes, words: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the directories that a git process may be at work in: its own, and those it was given."""
    own = os.readlink(directory + b"/cwd")
    yield own
    given = [word.partition(b"=")[2] for word in words if word.startswith(b"--git-dir=")]
    given += [words[at + 1] for at, word in enumerate(words[:-1]) if word == b"--git-dir"]
    environment = _read(directory + b"/environ").split(b"\0")
    given += [setting.partition(b"=")[2] for setting in environment if setting.startswith(b"GIT_DIR=")]
    for path in given:
        yield os.path.realpath(os.path.join(own, path))


def _is_within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


def _command(directory: bytes, root: bytes) -> bytes:
    """Return the git command of a process that works below ``root``, empty for any other process."""
    try:
        if _read(directory + b"/comm") != b"git\n":
            return b""
        if not _is_within(os.readlink(directory + b"/cwd"), root):
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
        return file.read(1 << 20)
