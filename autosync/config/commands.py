"""Reads the group ``commands:`` of a path: another version control as commands."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from autosync.config.reading import Section, Value
from autosync.core.commanded.commands import PLACEHOLDERS, Action, Commands, Step

_NO_STEPS: tuple[Step, ...] = ()
_EVERY = tuple(dict.fromkeys(word for words in PLACEHOLDERS.values() for word in words))
_LONGEST = 86400.0


def read_commands(section: Section, *, backend_is_command: bool) -> Commands | None:
    """Return what stands in ``commands:`` of a path's ``section``, ``None`` if it is not there and need not be.

    Raises :class:`ConfigError` if it has no effect, or is missing.
    """
    value = section.take("commands")
    if value is None:
        if backend_is_command:
            raise section.value.error(
                'the key "commands" is missing, which `backend: command` needs',
                "Write at least: commands: {commit: [bzr, commit, -m, '{message}']}",
            )
        return None
    if not backend_is_command:
        raise value.error("has no effect without `backend: command`", "Add that line, or remove this group.")
    group = value.section()
    commands = Commands(
        steps={action: found for action in Action if (found := group.get(action.value, _reader(action), _NO_STEPS))},
        time_limit=group.get("time-limit", lambda v: v.duration(least=1, most=_LONGEST), 300.0),
    )
    group.finish()
    if not commands.has(Action.COMMIT):
        raise value.error('the key "commit" is missing', "Add a line like this: commit: [bzr, commit, -m, '{message}']")
    return commands


def _reader(action: Action) -> Callable[[Value], tuple[Step, ...]]:
    """Return what reads the steps of ``action``: a list of words, or a list of such lists."""

    def read(value: Value) -> tuple[Step, ...]:
        items = value.list()
        if any(isinstance(item.node, yaml.SequenceNode) for item in items):
            return tuple(_step(item, action) for item in items)
        return (_step(value, action),) if items else ()

    return read


def _step(value: Value, action: Action) -> Step:
    words = value.list()
    step = tuple(word.text() for word in words)
    if not step or not step[0].removeprefix("-") or step[0] in _EVERY:
        raise value.error("must begin with a program", "Write it like this: [fossil, push]")
    for word, text in zip(words, step, strict=True):
        _check_placeholder(word, text, PLACEHOLDERS[action])
    return step


def _check_placeholder(word: Value, text: str, allowed: tuple[str, ...]) -> None:
    for placeholder in _EVERY:
        if placeholder not in text:
            continue
        if placeholder not in allowed:
            hint = f"Only {' and '.join(allowed)} can stand here." if allowed else "Remove it: nothing can stand here."
            raise word.error(f"{placeholder} cannot stand here", hint)
        if text != placeholder:
            raise word.error(
                f"{placeholder} must be a whole argument",
                f"Make it an item of the list by itself: [program, '{placeholder}']",
            )
