"""Reads the group ``history``: how long snapshots are kept."""

from __future__ import annotations

from autosync.config.reading import Value
from autosync.core.retention import DAY, Retention

_LONGEST = 3650 * DAY
_MOST_BYTES = 1 << 50


def read_history(value: Value) -> Retention:
    """Return what is written here; a step that is not written makes room for those that are.

    Raises :class:`ConfigError` if a coarser step ends before a finer one.
    """
    section, default = value.section(), Retention()
    usual = {"all": default.all_for, "minutely": default.minutely_for, "hourly": default.hourly_for}
    written: dict[str, float] = {}
    for name in usual:
        step = section.take(name)
        if step is None:
            continue
        written[name] = step.duration(least=0, most=_LONGEST)
        for finer, span in written.items():
            if span > written[name]:
                raise step.error(f"must not be shorter than `{finer}`", f"Make it longer, or `{finer}` shorter.")
    quota = section.get("quota", _quota, default.quota)
    section.finish()
    spans = []
    names = list(usual)
    for place, name in enumerate(names):
        finer_ones = [written[n] for n in names[:place] if n in written]
        coarser_ones = [written[n] for n in names[place:] if n in written]
        spans.append(max([*finer_ones, written.get(name, min([usual[name], *coarser_ones]))]))
    return Retention(all_for=spans[0], minutely_for=spans[1], hourly_for=spans[2], quota=quota)


def _quota(value: Value) -> int | None:
    return None if getattr(value.node, "value", None) == "none" else value.size(most=_MOST_BYTES)
