"""Copies objects from the private store to the user's repository."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from typing import BinaryIO, cast

from autosync.backends.git.cli import git_failure
from autosync.backends.git.repository import Repository
from autosync.errors import Missing

_LOOSE = 100
"""Objects below which they become files of their own, as with git's fetch.unpackLimit."""
_TIPS = 500
"""Refs of the user's that the store is told of, the youngest ones."""


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


def _feed(repo: Repository, command: Sequence[str], pack: BinaryIO) -> None:
    process = repo.git.start(*command, stdin=pack, stdout=cast(BinaryIO, subprocess.DEVNULL))
    _, errors = process.communicate()
    if process.returncode:
        raise git_failure([*command], process.returncode, errors, repo.common_dir)


def _missing(wanted: Sequence[str]) -> Missing:
    return Missing(
        f"not everything that belongs to {wanted[0][:10]} is here yet",
        hint="It is asked for again from the other devices.",
    )
