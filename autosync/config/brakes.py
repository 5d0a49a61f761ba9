"""Reads the group ``brakes:`` of a path: what is held back until the user says so."""

from __future__ import annotations

from autosync.config.reading import Value
from autosync.core.brakes import BrakeLimits

_MOST_BYTES = 1 << 50
_MOST_FILES = 999_999_999


def read_brakes(value: Value) -> BrakeLimits:
    """Return the limits written here; ``none`` for the whole group switches all of them off."""
    if _is_none(value):
        return BrakeLimits(huge_file=None, burst=None, mass_deletion=None, secrets=())
    section, default = value.section(), BrakeLimits()
    limits = BrakeLimits(
        huge_file=section.get("huge-file", _bytes, default.huge_file),
        burst=section.get("burst", _bytes, default.burst),
        mass_deletion=section.get("mass-deletion", _files, default.mass_deletion),
        secrets=section.get("secrets", _patterns, default.secrets),
    )
    section.finish()
    return limits


def _is_none(value: Value) -> bool:
    return bool(getattr(value.node, "value", None) == "none")


def _bytes(value: Value) -> int | None:
    return None if _is_none(value) else value.size(most=_MOST_BYTES) or None


def _files(value: Value) -> int | None:
    return None if _is_none(value) else value.integer(least=1, most=_MOST_FILES)


def _patterns(value: Value) -> tuple[str, ...]:
    return () if _is_none(value) else tuple(pattern.lower() for pattern in value.texts())
