"""Reads the key ``subscribe`` of a path: which names of the hub are followed besides what is checked out."""

from __future__ import annotations

from autosync.config.model import Mode, PathConfig, Vcs
from autosync.config.reading import Section, Value
from autosync.core.subscriptions import MOST_PATTERNS, problem_of

_EXAMPLE = 'Write it like this: subscribe: [main, "feature/*"]'


def read_subscribe(value: Value) -> tuple[str, ...]:
    """Return names, and beginnings of names with a ``*``, in the order written.  Raises :class:`ConfigError`."""
    names: list[str] = []
    for each in value.list():
        name = each.text()
        if (problem := problem_of(name)) is not None:
            raise each.error(f"names no branch or bookmark: {problem}", _EXAMPLE)
        if name in names:
            raise each.error("stands here twice", "Remove one of the two.")
        names.append(name)
    if len(names) > MOST_PATTERNS:
        hint = 'Name many that begin alike with one pattern, like this: "feature/*"'
        raise value.error(f"names more than {MOST_PATTERNS}", hint)
    return tuple(names)


def refuse_unfollowed(section: Section, config: PathConfig) -> None:
    """Raise :class:`ConfigError` if nothing could follow what the path's ``subscribe`` names."""
    value = section.take("subscribe")
    if value is None:
        return
    if config.backend is Vcs.COMMAND:
        raise value.error("has no effect with `backend: command`", "Fetch them with a step of `pull`, and remove it.")
    if config.mode is Mode.STORE:
        raise value.error("has no effect with `mode: store`", "Write it where the files are, and remove it here.")
    if config.remote is None:
        raise value.error("names branches of a hub, and this path has none", "Add `remote:`, or remove it.")
