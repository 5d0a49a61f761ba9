"""Says what can be a branch of Mercurial: a named branch, and the active bookmark if there is one."""

from __future__ import annotations

import re

from autosync.core.announcement import MAX_BRANCH

_LABEL = re.compile(r"[^:\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_TAKEN = frozenset({"tip", ".", "null"})


def split(branch: str) -> tuple[str, str]:
    """Return the named branch and the bookmark, which is empty if none is active; no name can hold a colon."""
    named, _, bookmark = branch.partition(":")
    return named, bookmark


def is_branch(branch: str) -> bool:
    """Return whether hg could have made both names (scmutil.checknewlabel, and what a terminal can show)."""
    named, colon, bookmark = branch.partition(":")
    if len(branch.encode("utf-8", "surrogateescape")) > MAX_BRANCH:
        return False
    return _is_label(named) and (_is_label(bookmark) if colon else True)


def _is_label(name: str) -> bool:
    if not _LABEL.fullmatch(name) or name != name.strip() or name in _TAKEN or name.startswith("-"):
        return False
    return not re.fullmatch(r"[+-]?[0-9_]+", name)  # a revision's number
