"""Turns what is on the disk into what hg would store, and back: the user's filters, and those of the eol extension."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from mercurial import error


def encoder(repo: Any) -> Callable[[bytes, bytes], bytes]:
    """Return a function of path and content on the disk that gives the content to store."""
    _refresh(repo, None)
    patterns = repo._encodefilterpats

    def encode(path: bytes, content: bytes) -> bytes:
        return bytes(repo._filter(patterns, path, content))

    return encode


def converts(repo: Any) -> bool:
    """Return whether there are filters for storing: without them hg stores what is on the disk."""
    _refresh(repo, None)
    return bool(repo._encodefilterpats)


class Decoder:
    """Gives what a checkout would write for a stored content.

    ``rules`` are the content of the ``.hgeol`` that comes with the files, if one does: as with `hg update`
    they are written by the rules that are checked out with them.
    """

    def __init__(self, repo: Any, rules: bytes | None) -> None:
        _refresh(repo, rules)
        self._repo = repo
        self._patterns = repo._decodefilterpats

    def concerned(self, paths: Sequence[bytes]) -> list[bytes]:
        """Return those of ``paths`` whose content may be changed."""
        return [path for path in paths if any(matches(path) for matches, _, _ in self._patterns)]

    def decode(self, path: bytes, content: bytes) -> bytes:
        """Return what to write for the stored ``content``."""
        return bytes(self._repo._filter(self._patterns, path, content))


def _refresh(repo: Any, rules: bytes | None) -> None:
    """Read the rules again, ``.hgeol`` from the working copy if it is not given.

    The eol extension reads it when a repository is opened; ours stays open while the file changes.
    """
    eol = sys.modules.get("hgext.eol")
    if eol is not None and b"eol" in _enabled(repo.ui):
        for name, function in eol.filters.items():
            repo.adddatafilter(name, function)
        found = eol.parseeol(repo.ui, repo, [None]) if rules is None else _parsed(eol, repo, rules)
        # Without a file, or with one that is malformed, the rules of an earlier one hold no more.
        (found or eol.eolfile(repo.ui, repo.root, b"")).copytoui(repo.ui)
    repo._filterpats.clear()
    for name in ("_encodefilterpats", "_decodefilterpats"):
        vars(repo.unfiltered()).pop(name, None)


def _parsed(eol: Any, repo: Any, rules: bytes) -> Any:
    try:
        return eol.eolfile(repo.ui, repo.root, rules)
    except error.ConfigError:
        return None


def _enabled(ui: Any) -> set[bytes]:
    return {name.removeprefix(b"hgext.") for name, place in ui.configitems(b"extensions") if not place.startswith(b"!")}
