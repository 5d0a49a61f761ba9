"""Reads the key ``on-update`` of a path: what is run after changes of others were brought in."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from autosync.config.model import Mode, PathConfig, Vcs
from autosync.config.reading import Section, Value
from autosync.core.updates import OnUpdate

_EXAMPLE = "on-update: [make, restart]"
_LONGEST_WAIT = 3600.0
_LONGEST_RUN = 86400.0


def read_on_update(value: Value, absolute: Callable[[str], str]) -> OnUpdate:
    """Return what is written here: a program and its arguments, or a group with them as ``run``.

    ``absolute`` expands ``~`` in the program.  Raises :class:`ConfigError`.
    """
    if isinstance(value.node, yaml.SequenceNode):
        return OnUpdate(run=_read_command(value, absolute))
    if not isinstance(value.node, yaml.MappingNode):
        raise value.error("must be a program and its arguments; no shell reads it", f"Write it like this: {_EXAMPLE}")
    section = value.section()
    default = OnUpdate(run=())
    read = OnUpdate(
        run=_read_command(section.require("run", "run: [make, restart]"), absolute),
        debounce=section.get("debounce", lambda v: v.duration(least=0, most=_LONGEST_WAIT), default.debounce),
        time_limit=section.get("time-limit", lambda v: v.duration(least=1, most=_LONGEST_RUN), default.time_limit),
    )
    section.finish()
    return read


def refuse_vain(section: Section, config: PathConfig) -> None:
    """Raise :class:`ConfigError` if the path's ``on-update`` would never be run."""
    value = section.take("on-update")
    if value is None:
        return
    if config.backend is Vcs.COMMAND:
        hint = "Remove it; a step of `pull` in the group `commands` is run after what others pushed was fetched."
        raise value.error("is not run with `backend: command`, which brings files in by its own commands", hint)
    if config.mode in (Mode.SEND, Mode.STORE):
        hint = "Remove it, or write it on a device where the files of others arrive."
        raise value.error(f"is never run with `mode: {config.mode.value}`: no file of others is written here", hint)


def _read_command(value: Value, absolute: Callable[[str], str]) -> tuple[str, ...]:
    words = value.texts()
    if not words:
        raise value.error("must begin with a program", f"Write it like this: {_EXAMPLE}")
    program = absolute(words[0]) if words[0].startswith("~") else words[0]
    return program, *words[1:]
