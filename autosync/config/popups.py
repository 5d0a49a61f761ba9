"""Reads the group ``popups:``: what is told on the desktop, how urgently, and when not."""

from __future__ import annotations

import re

import yaml

from autosync.config.model import Popups, Urgency
from autosync.config.reading import Value

_HOURS = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")


def read_popups(value: Value) -> Popups | None:
    """Return what is written here; ``none`` for the whole group switches all popups off."""
    if getattr(value.node, "value", None) == "none":
        return None
    if not isinstance(value.node, yaml.MappingNode):
        levels = ", ".join(level.value for level in Urgency)
        hint = f"For example {{arrived: low}}; a kind has one of the levels {levels}. No popups at all: `popups: none`"
        raise value.error("must be a group of kinds, or none", hint)
    section, default = value.section(), Popups()

    def urgency(kind: str) -> Urgency:
        usual: Urgency = getattr(default, kind)
        return section.get(kind, lambda v: v.choice(Urgency), usual)

    popups = Popups(
        arrived=urgency("arrived"),
        conflict=urgency("conflict"),
        held=urgency("held"),
        connection=urgency("connection"),
        halt=urgency("halt"),
        hook=urgency("hook"),
        commit=urgency("commit"),
        presence=urgency("presence"),
        quiet_hours=section.get("quiet-hours", _hours, None),
        lost_after=section.get("lost-after", lambda v: v.duration(least=1, most=86400), default.lost_after),
    )
    section.finish()
    return popups


def _hours(value: Value) -> tuple[int, int] | None:
    text = value.text()
    if text == "none":
        return None
    match = _HOURS.fullmatch(text)
    if match is None:
        raise value.error("is no span of hours", 'Write it like this: quiet-hours: "22:00-07:00"')
    first, last = 60 * int(match[1]) + int(match[2]), 60 * int(match[3]) + int(match[4])
    if first == last:
        raise value.error("begins when it ends", "Write two different times, or `popups: none` for no popups at all.")
    return first, last
