"""Tells what light-weight copies save."""

from __future__ import annotations

from typing import Any

from mercurial import error
from mercurial.i18n import _

from . import versions
from .requirement import REQUIREMENT
from .surveying import full_copies, light_copies


def show(repo: Any, formatter: Any) -> None:
    """Print how many copies are light and what they take, in words or by ``formatter``."""
    light = size = stored = usual = unreadable = 0
    for copy in light_copies(repo):
        log = versions.open_log(repo.svfs, copy.path, False)
        try:
            text = bytes(log.rawdata(log.node(copy.rev)))
        except error.StorageError:
            unreadable += 1
            continue
        light, size, stored = light + 1, size + len(text), stored + copy.stored
        usual += len(versions.compressed(log, text))
    full = sum(1 for _copy in full_copies(repo))
    formatter.startitem()
    state = _(b"on") if REQUIREMENT in repo.requirements else _(b"off")
    formatter.write(b"state", _(b"light-weight copies: %s\n"), state)
    formatter.write(b"light full", _(b"%d copies are light, %d are stored in full\n"), light, full)
    formatter.write(b"size", _(b"texts of the light ones: %d bytes\n"), size)
    formatter.write(b"stored", _(b"stored for them:         %d bytes\n"), stored)
    formatter.write(b"saved", _(b"saved by that:           %d bytes\n"), usual - stored)
    if unreadable:
        formatter.write(b"unreadable", _(b"%d cannot be read (hg verify says more)\n"), unreadable)
    formatter.end()
