"""Adds ignore patterns to a working copy's entry in the text of a configuration file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import yaml

from autosync.config.editing import as_scalar
from autosync.config.loading import parse
from autosync.config.model import Config
from autosync.config.reading import compose
from autosync.errors import ConfigError


def add_ignore(text: str, path: str, patterns: Sequence[str], source: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with ``patterns`` added to what the working copy at ``path`` ignores; the rest stays as it is.

    Those that are there already are not added again.  The result is parsed and compared.  Raises
    :class:`ConfigError` if there is no such entry, or if the file is written in a way that cannot be added to;
    then the hint holds the lines to add by hand.
    """
    before = parse(text, source, environ)
    index = next((n for n, entry in enumerate(before.paths) if entry.path == path), None)
    if index is None:
        raise ConfigError(f"{source}: there is no entry of {path}", hint="Was it removed while the agent ran?")
    wanted = [pattern for pattern in dict.fromkeys(patterns) if pattern not in before.paths[index].ignore]
    if not wanted:
        return text
    edited = _insert(text, compose(text, source), index, wanted)
    if edited is None or not _says(edited, before, index, wanted, source=source, environ=environ):
        shown = ", ".join(map(as_scalar, wanted))
        raise ConfigError(
            f"{source}: is written in a way that autosync does not add to by itself; nothing was changed",
            hint=f"Add this to the entry of {path}: ignore: [{shown}]",
        )
    return edited


def _insert(text: str, root: yaml.Node | None, index: int, patterns: Sequence[str]) -> str | None:
    """Return the edited text, ``None`` if it is written in an unusual way."""
    newline = "\r\n" if "\r\n" in text else "\n"
    entry = _entry(root, index)
    if entry is None:
        return None
    written = [as_scalar(pattern) for pattern in patterns]
    ignore = next((value for name, value in entry.value if name.value == "ignore"), None)
    if isinstance(ignore, yaml.SequenceNode) and ignore.flow_style:
        close = ignore.end_mark.index - 1
        return f"{text[:close]}{', ' if ignore.value else ''}{', '.join(written)}{text[close:]}"
    if isinstance(ignore, yaml.SequenceNode):
        return _above(text, ignore.value[0], [f"- {pattern}" for pattern in written], newline, len("- "))
    first = entry.value[0][0]
    if ignore is not None or entry.flow_style:
        return None
    # In front of the entry's first key, which stands behind the dash.
    at, column = first.start_mark.index, first.start_mark.column
    return f"{text[:at]}ignore: [{', '.join(written)}]{newline}{' ' * column}{text[at:]}"


def _above(text: str, node: yaml.Node, lines: Sequence[str], newline: str, inside: int) -> str:
    """Return ``text`` with ``lines`` in front of a list's first item, whose content begins ``inside`` it."""
    column = node.start_mark.column - inside
    start = node.start_mark.index - inside
    return text[:start] + "".join(f"{line}{newline}{' ' * column}" for line in lines) + text[start:]


def _entry(root: yaml.Node | None, index: int) -> yaml.MappingNode | None:
    if not isinstance(root, yaml.MappingNode):
        return None
    paths = next((value for name, value in root.value if name.value == "paths"), None)
    entry = paths.value[index] if isinstance(paths, yaml.SequenceNode) else None
    return entry if isinstance(entry, yaml.MappingNode) else None


def _says(
    edited: str, before: Config, index: int, patterns: Sequence[str], *, source: str, environ: Mapping[str, str]
) -> bool:
    """Return whether ``edited`` says what was there, and ignores ``patterns`` as well."""
    try:
        after = parse(edited, source, environ)
    except ConfigError:
        return False
    if len(after.paths) != len(before.paths):
        return False
    now, old = after.paths[index], before.paths[index]
    same = replace(now, ignore=old.ignore)
    rest = [*after.paths[:index], same, *after.paths[index + 1 :]]
    kept = [pattern for pattern in now.ignore if pattern not in patterns]
    return set(patterns) <= set(now.ignore) and kept == list(old.ignore) and replace(after, paths=tuple(rest)) == before
