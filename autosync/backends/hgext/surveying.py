"""Answers what one look at a working copy needs to know, in one question."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from mercurial import error
from mercurial import match as matchmod

from .contents import given
from .files import Files, Torn
from .filters import converts
from .frames import Value
from .ignoring import named, rules_of


def survey(repo: Any, directories: Sequence[bytes], names: Sequence[bytes], *, tracking: bool) -> dict[bytes, Value]:
    """Return what differs from p1 below ``directories`` (``""``: everywhere), and what is ignored of ``names``.

    ``tracking`` asks for what the user told hg of paths as well; it takes the whole dirstate.
    ``rules`` are the files that the ignore rules come from; ``links`` and ``executable`` say what
    the file system has, ``converts`` whether hg stores contents other than they are on the disk.
    """
    rules, sources = rules_of(repo)
    found: dict[bytes, Value] = {
        b"p1": repo.dirstate.p1(),
        b"ignored": named(rules, names),
        b"rules": sources,
        b"links": int(repo.dirstate._checklink),
        b"executable": int(repo.dirstate._checkexec),
        b"converts": int(converts(repo)),
    }
    if directories:
        status = repo.status(match=_below(repo, directories), unknown=True)
        found[b"dirty"] = [*status.modified, *status.added, *status.removed, *status.deleted]
        found[b"unknown"] = status.unknown
    if tracking:
        found.update(_tracking(repo))
    return found


def _tracking(repo: Any) -> dict[bytes, Value]:
    added, removed = [], []
    for path, item in repo.dirstate.items():
        if item.state == b"a":
            added.append(path)
        elif item.state == b"r":
            removed.append(path)
    return {b"added": added, b"removed": removed, b"copies": dict(repo.dirstate.copies())}


def _below(repo: Any, directories: Sequence[bytes]) -> Any:
    if b"" in directories:
        return matchmod.always()
    return matchmod.match(repo.root, b"", [b"path:" + path for path in directories])


def stored(repo: Any, paths: Sequence[bytes], into: bytes | None) -> dict[bytes, Value]:
    """Return ``[content]`` as hg would store it for each of ``paths``.

    Nothing stands for what is not there, the number 0 for what is torn, an errno for what cannot be read.
    """
    files = Files(repo)
    found: dict[bytes, Value] = {}
    for path in paths:
        try:
            read = files.read(path, b"")
        except Torn:
            found[path] = 0
        except OSError as problem:
            found[path] = problem.errno or 0
        except error.Abort:  # what the filter says: mixed line ends, where it was told to refuse them
            found[path] = errno.EILSEQ
        else:
            found[path] = None if read is None else [given(read[1], into)]
    return {b"files": found}
