"""Tells whoever sits at the terminal of ``autosync run`` that working copies are looked through for the first time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from autosync.cli.table import plain
from autosync.config import Config
from autosync.control import call
from autosync.errors import AutosyncError

log = logging.getLogger(__name__)

_PAUSE = 5.0
"""Seconds between two lines; what takes less tells nothing."""
_PATIENCE = 1.0


async def tell_first_looks(config: Config) -> None:
    """Log now and then which working copies are still looked through; return when none is."""
    while True:
        await asyncio.sleep(_PAUSE)
        try:
            status = await asyncio.to_thread(call, config.state_dir, "status", patience=_PATIENCE)
        except AutosyncError:  # it has no time to answer, or ends
            continue
        names = under_way(status["workspaces"])
        if not names:
            return
        log.info("looking for the first time through %s", ", ".join(map(plain, names)))


def under_way(workspaces: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return those of a status that have no snapshot yet and are about to have one."""
    return [w["name"] for w in workspaces if w["vcs"] and not w["snapshot"] and not w["halt"]]
