"""Says which repositories have light-weight copies."""

from __future__ import annotations

from typing import Any

REQUIREMENT = b"lwcopy-v1"
"""What such a repository needs, in ``.hg/store/requires`` (hg help internals.requirements).

The name says whose it is, and the version of the layout of chunks: who does not know both cannot read
the copies, and must not try.
"""

NARROW = frozenset({b"narrowhg-experimental", b"narrowhg"})
"""With these the sources of copies may be outside of what is cloned, or leave it any time."""


def is_light(requirements: Any) -> bool:
    """Return whether what is added to a repository with these requirements is stored light."""
    return REQUIREMENT in requirements and not NARROW.intersection(requirements)
