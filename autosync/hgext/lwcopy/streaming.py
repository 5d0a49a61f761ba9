"""Sees that a stream clone, which copies the files of a store as they are, reaches only those who can read them."""

from __future__ import annotations

from typing import Any

from mercurial import extensions, requirements, streamclone
from mercurial.i18n import _

from .requirement import REQUIREMENT, is_light


def wrap() -> None:
    """Let light copies be among what a stream clone asks for, and a new repository keep them."""
    # Up to 6.3 only what is in this list is told to who asks for a stream; later versions tell all but a few.
    listed = getattr(requirements, "STREAM_FIXED_REQUIREMENTS", None)
    if listed is not None:
        listed.add(REQUIREMENT)
    extensions.wrapfunction(streamclone, "new_stream_clone_requirements", _chosen)
    extensions.wrapfunction(streamclone, "canperformstreamclone", _performing)


def _chosen(orig: Any, usual: Any, streamed: Any) -> Any:
    """Return what a repository made of a stream requires: light copies too, if new repositories are to have them."""
    found = orig(usual, streamed)
    return found | {REQUIREMENT} if is_light(usual) and is_light(found | {REQUIREMENT}) else found


def _performing(orig: Any, pulling: Any, *more: Any, **named: Any) -> Any:
    """Return whether a clone streams, and the requirements; a narrow one gets no copies whose sources stay outside."""
    can, streamed = orig(pulling, *more, **named)
    if not can or REQUIREMENT not in streamed or not (pulling.includepats or pulling.excludepats):
        return can, streamed
    if pulling.streamclonerequested:
        pulling.repo.ui.warn(_(b"warning: light-weight copies cannot be streamed to a narrow clone\n"))
    return False, None
