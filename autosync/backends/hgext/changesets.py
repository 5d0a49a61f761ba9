"""Finds a changeset by its node, hidden ones included."""

from __future__ import annotations

from typing import Any

from mercurial import error

from .refusal import MISSING, Declined


def find(repo: Any, node: bytes) -> Any:
    """Return the context of ``node`` (20 bytes; zeros: before the first one); raises :class:`Declined`."""
    if len(node) != 20:
        raise Declined(MISSING, f"{node.hex()} is not a whole node")
    try:
        return repo.unfiltered()[node]
    except (error.LookupError, error.RepoLookupError):
        raise Declined(MISSING, f"changeset {node.hex()} is not here") from None
