"""Remembers where a device that has invited this one was, until the two have spoken."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from autosync.core.announcement import is_device_id
from autosync.core.candidates import Candidate, from_pairs, to_pairs
from autosync.core.model import DeviceId, WorkspaceId
from autosync.durable import replacing

log = logging.getLogger(__name__)

GOOD_FOR = 7 * 86400
"""Seconds after which an address is too old to be worth an attempt."""
_NAME = "introductions.json"
_MOST = 100
_MAX_WAYS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """A device of a workspace and the ways on which it could be reached."""

    workspace: WorkspaceId
    device: DeviceId
    candidates: tuple[Candidate, ...]


class _Entry(msgspec.Struct):
    workspace: str
    device: str
    candidates: list[list[str]]
    at: float


def introduce(state_dir: str, introduction: Introduction) -> None:
    """Remember it for the agent of ``state_dir``.  Raises :class:`OSError`."""
    entry = _Entry(
        workspace=introduction.workspace,
        device=introduction.device,
        candidates=to_pairs(introduction.candidates[:_MAX_WAYS]),
        at=time.time(),
    )
    others = [e for e in _read(state_dir) if (e.workspace, e.device) != (entry.workspace, entry.device)]
    with replacing(os.path.join(state_dir, _NAME), durable=False) as file:
        file.write(msgspec.json.encode([*others[-_MOST + 1 :], entry]))


def introductions(state_dir: str) -> Sequence[Introduction]:
    """Return those that are not too old; a damaged file is none: what it held is only a hint."""
    found = []
    for entry in _read(state_dir):
        try:
            candidates = from_pairs(entry.candidates, most=_MAX_WAYS)
        except ValueError:
            continue
        sound = re.fullmatch(r"[0-9a-f]{32}", entry.workspace) and is_device_id(DeviceId(entry.device))
        if sound and abs(time.time() - entry.at) < GOOD_FOR and not any(c.problem() for c in candidates):
            found.append(
                Introduction(
                    workspace=WorkspaceId(entry.workspace), device=DeviceId(entry.device), candidates=candidates
                )
            )
    return found


def _read(state_dir: str) -> list[_Entry]:
    try:
        with open(os.path.join(state_dir, _NAME), "rb") as file:
            return msgspec.json.decode(file.read(1 << 20), type=list[_Entry])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        log.warning("%s in %s is not used: %s", _NAME, state_dir, error)
        return []
