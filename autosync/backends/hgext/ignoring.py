"""Answers which paths the ignore rules name, and from which files these rules come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mercurial import match as matchmod


def rules_of(repo: Any) -> tuple[Any, list[bytes]]:
    """Return what tells whether a path is named, and the files its rules come from, those included by others too.

    All of hg's syntaxes are read by hg itself, and anew.
    """
    with _noted() as files:
        rules = repo.dirstate._ignore
    return rules, sorted({repo.wjoin(b".hgignore"), *repo.dirstate._ignorefiles(), *files})


def named(rules: Any, paths: Sequence[bytes]) -> list[bytes]:
    """Return those of ``paths`` that the rules name, or a directory above them (dirstate._dirignore)."""
    known: dict[bytes, bool] = {b"": False}

    def is_named(path: bytes) -> bool:
        if path not in known:
            known[path] = bool(rules(path)) or is_named(path.rpartition(b"/")[0])
        return known[path]

    return [path for path in paths if is_named(path)]


@contextmanager
def _noted() -> Iterator[list[bytes]]:
    """Give a list to which every file of patterns is added that is read meanwhile."""
    files: list[bytes] = []
    original = matchmod.readpatternfile

    def read(path: bytes, *args: Any, **named: Any) -> Any:
        files.append(path)
        return original(path, *args, **named)

    matchmod.readpatternfile = read
    try:
        yield files
    finally:
        matchmod.readpatternfile = original
