"""Copies objects from the private store to the user's repository."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from autosync.backends.git.cli import git_failure
from autosync.backends.git.repository import Repository
from autosync.errors import Missing

_LOOSE = 100
"""Objects below which they become files of their own, as with git's fetch.unpackLimit."""
_TIPS = 500
"""Refs of the user's that the store is told of, the youngest ones."""


@contextlib.contextmanager
def brought(repo: Repository, wanted: Sequence[str]) -> Iterator[None]:
    """Make ``wanted`` part of the user's repository, and keep it there until the end of the block.

    By then a ref of his has to hold it: what none reaches is garbage to his `git gc --prune=now`,
    unless its pack is kept (git-index-pack(1), ``--keep``).  Raises :class:`Missing` as
    :func:`bring` does.
    """
    keep = None if not wanted or _is_held(repo, wanted) else _bring_kept(repo, wanted)
    try:
        if wanted and not _is_whole(repo, wanted):
            raise _missing(wanted)
        yield
    finally:
        if keep is not None:
            _let_go(keep, repo)


def let_go_of_all(repo: Repository) -> None:
    """Keep nothing any more that an agent which was killed here kept."""
    directory = _packs(repo)
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        if name.endswith(b".keep"):
            _let_go(os.path.join(directory, name), repo)


def bring(repo: Repository, wanted: Sequence[str]) -> None:
    """Make commits or trees, with all that belongs to them, part of the user's repository.

    Does nothing for what his refs hold already.  Raises :class:`Missing` if the store does
    not have all of it.
    """
    if not wanted or _is_whole(repo, wanted):
        return
    with tempfile.TemporaryFile(dir=repo.metadata) as pack:
        _pack(repo, wanted, pack)
        count = int.from_bytes(os.pread(pack.fileno(), 4, 8), "big")  # gitformat-pack(5)
        os.lseek(pack.fileno(), 0, os.SEEK_SET)  # the children share the descriptor's position
        if count < _LOOSE:
            _feed(repo, ("unpack-objects", "-q"), pack)
        else:
            _feed(repo, ("index-pack", "--stdin", "--fix-thin"), pack)
    if not _is_whole(repo, wanted):
        raise _missing(wanted)


def _bring_kept(repo: Repository, wanted: Sequence[str]) -> bytes:
    """Bring ``wanted`` as one pack that gc leaves alone; return the file that has it do so."""
    with tempfile.TemporaryFile(dir=repo.metadata) as pack:
        _pack(repo, wanted, pack)
        os.lseek(pack.fileno(), 0, os.SEEK_SET)
        said = _feed(repo, ("index-pack", "--stdin", "--fix-thin", f"--keep={_keeper(repo)}"), pack)
    return os.path.join(_packs(repo), b"pack-" + said.split()[-1] + b".keep")


def _let_go(keep: bytes, repo: Repository) -> None:
    with contextlib.suppress(FileNotFoundError):
        with open(keep, "rb") as file:
            ours = file.read(1024).decode("utf-8", "replace").strip() == _keeper(repo)
        if ours:
            os.unlink(keep)


def _keeper(repo: Repository) -> str:
    """Return what the file says: whose it is, for the repository's worktrees share their packs."""
    return f"autosync {repo.pin_prefix}"


def _packs(repo: Repository) -> bytes:
    return os.path.join(repo.common_dir, b"objects", b"pack")


def _is_held(repo: Repository, wanted: Sequence[str]) -> bool:
    """Return whether the user's refs reach everything that belongs to ``wanted``."""
    asked = "".join(f"{oid}\n" for oid in wanted).encode()
    code, left = repo.git.call("rev-list", "--objects", "--stdin", "--not", "--all", input=asked, accept=range(256))
    return code == 0 and not left


def _is_whole(repo: Repository, wanted: Sequence[str]) -> bool:
    """Return whether everything that belongs to ``wanted`` is there (as git's connected.c asks)."""
    asked = "".join(f"{oid}\n" for oid in wanted).encode()
    command = ("rev-list", "--objects", "--stdin", "--not", "--all", "--quiet")
    code, _ = repo.git.call(*command, input=asked, accept=range(256))
    return code == 0


def _pack(repo: Repository, wanted: Sequence[str], out: BinaryIO) -> None:
    places = ("refs/heads", "refs/remotes", "refs/tags")
    listed = repo.git.run("for-each-ref", f"--count={_TIPS}", "--sort=-creatordate", "--format=%(objectname)", *places)
    request = "".join([*(f"{oid}\n" for oid in wanted), *(f"^{tip}\n" for tip in listed.decode().split())]).encode()
    process = repo.store.start("pack-objects", "--revs", "--stdout", "--thin", "--delta-base-offset", "-q", stdout=out)
    _, errors = process.communicate(request)
    if process.returncode:
        failure = git_failure(["pack-objects"], process.returncode, errors, repo.store_dir)
        if isinstance(failure, OSError):
            raise failure
        raise _missing(wanted) from failure


def _feed(repo: Repository, command: Sequence[str], pack: BinaryIO) -> bytes:
    """Run a command on a pack and return what it printed."""
    process = repo.git.start(*command, stdin=pack, stderr=subprocess.PIPE)
    said, errors = process.communicate()
    if process.returncode:
        raise git_failure([*command], process.returncode, errors, repo.common_dir)
    return said


def _missing(wanted: Sequence[str]) -> Missing:
    return Missing(
        f"not everything that belongs to {wanted[0][:10]} is here yet",
        hint="It is asked for again from the other devices.",
    )
