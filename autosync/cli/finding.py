"""What ``autosync check`` has found, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How a finding is to be taken."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result: ``hint`` is the next step, empty when there is none."""

    level: Level
    what: str
    detail: str
    hint: str = ""
