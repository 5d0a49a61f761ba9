"""Turns what is on the disk into what hg would store: the encode filters, and those of the eol extension."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def encoder(repo: Any) -> Callable[[bytes, bytes], bytes]:
    """Return a function of path and content on the disk that gives the content to store.

    The eol extension reads ``.hgeol`` when a repository is opened; ours stays open while
    the file changes, so it is read here, each time.
    """
    eol = sys.modules.get("hgext.eol")
    if eol is not None and b"eol" in _enabled(repo.ui):
        for name, function in eol.filters.items():
            repo.adddatafilter(name, function)
        found = eol.parseeol(repo.ui, repo, [None])
        if found is not None:
            found.copytoui(repo.ui)
    repo._filterpats.clear()
    patterns = repo._encodefilterpats

    def encode(path: bytes, content: bytes) -> bytes:
        return bytes(repo._filter(patterns, path, content))

    return encode


def _enabled(ui: Any) -> set[bytes]:
    return {name.removeprefix(b"hgext.") for name, place in ui.configitems(b"extensions") if not place.startswith(b"!")}
