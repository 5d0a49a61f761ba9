"""Adds a working copy to the text of a configuration file and leaves every other byte alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import yaml

from autosync.config.loading import parse
from autosync.config.model import Config, Mode, Vcs
from autosync.config.reading import compose
from autosync.errors import ConfigError

_HEADER = """\
# The configuration of autosync on this device.
# `autosync check` tells whether all is well.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A working copy to be added: what stands in its entry."""

    path: str
    workspace: str
    key_file: str
    remote: str | None
    backend: Vcs | None = None
    mode: Mode = Mode.TWO_WAY
    settings: tuple[tuple[str, str], ...] = ()
    """Further keys, with their values as YAML in one line."""

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the keys and values to be written."""
        backend = () if self.backend is None else (("backend", self.backend.value),)
        mode = () if self.mode is Mode.TWO_WAY else (("mode", self.mode.value),)
        return (
            ("path", as_scalar(self.path)),
            ("workspace", as_scalar(self.workspace)),
            ("key-file", as_scalar(self.key_file)),
            ("remote", as_scalar(self.remote or "none")),
            *backend,
            *mode,
            *self.settings,
        )


def add_path(text: str, addition: Addition, source: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with the addition; comments and layout stay as they are.

    The result is parsed and compared: it says what ``text`` said, and the addition.
    Raises :class:`ConfigError` if it is a duplicate, or if the file is written in a way
    that cannot be added to; then the hint holds the lines to add by hand.
    """
    before = parse(text, source, environ)
    for n, path in enumerate(before.paths):
        if path.path == addition.path:
            hint = "Nothing is to be done; `autosync run` starts the agent."
            raise ConfigError(f"{source}: {path.path} is there already: paths[{n}].path", hint=hint)
        if path.workspace == addition.workspace:
            hint = f"{path.path} has that name; choose another one with --workspace."
            raise ConfigError(f'{source}: a workspace "{path.workspace}" is there already: paths[{n}]', hint=hint)
    edited = _insert(text, addition, compose(text, source))
    if edited is None or not _adds_one(edited, before, source, environ):
        lines = "\n".join(_block(addition, "    "))
        raise ConfigError(
            f"{source}: is written in a way that autosync does not add to by itself; nothing was changed",
            hint=f"Add these lines to it, below `paths:`, and run this command again:\n{lines}",
        )
    return edited


def _adds_one(edited: str, before: Config, source: str, environ: Mapping[str, str]) -> bool:
    try:
        after = parse(edited, source, environ)
    except ConfigError:
        return False
    return len(after.paths) == len(before.paths) + 1 and replace(after, paths=after.paths[:-1]) == before


def has_setting(text: str, key: str, source: str) -> bool:
    """Return whether the top-level ``key`` stands in a configuration, whatever its value."""
    root = compose(text, source)
    return isinstance(root, yaml.MappingNode) and any(name.value == key for name, _ in root.value)


def add_settings(
    text: str, settings: Mapping[str, str | tuple[str, ...]], source: str, environ: Mapping[str, str]
) -> str:
    """Return ``text`` with ``settings``, values by top-level key, in front of everything else that is no comment.

    None of the keys may be there yet.  Raises :class:`ConfigError` if the file is written in a way that
    cannot be added to; then the hint holds the lines to add by hand.
    """
    if not settings:
        return text
    lines = [f"{key}: {_as_value(value)}" for key, value in settings.items()]
    newline = "\r\n" if "\r\n" in text else "\n"
    root = compose(text, source)
    if root is None:
        return _append(text or _HEADER, lines, newline)
    at = root.start_mark.index
    edited = text[:at] + newline.join(lines) + newline + text[at:]
    try:
        names = [str(name.value) for name, _ in getattr(compose(edited, source), "value", ())]
        parse(edited, source, environ)
    except (ConfigError, ValueError, TypeError):
        names = []
    if not isinstance(root, yaml.MappingNode) or root.flow_style or names[: len(settings)] != list(settings):
        shown = "\n".join(lines)
        raise ConfigError(
            f"{source}: is written in a way that autosync does not add to by itself; nothing was changed",
            hint=f"Add these lines to it and run this command again:\n{shown}",
        )
    return edited


def _as_value(value: str | tuple[str, ...]) -> str:
    return as_scalar(value) if isinstance(value, str) else f"[{', '.join(map(as_scalar, value))}]"


def _insert(text: str, addition: Addition, root: yaml.Node | None) -> str | None:
    newline = "\r\n" if "\r\n" in text else "\n"
    if root is None:
        return _append(text or _HEADER, ["paths:", *_block(addition, "  ")], newline)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        return None
    paths = next((value for name, value in root.value if name.value == "paths"), None)
    if paths is None:
        return _append(text, ["paths:", *_block(addition, "  ")], newline)
    if paths.tag == "tag:yaml.org,2002:null" or (isinstance(paths, yaml.SequenceNode) and not paths.value):
        # What stands behind it in its line is a comment on the key.
        start, end = paths.start_mark.index, paths.end_mark.index
        rest, _, tail = text[end:].partition("\n")
        head = text[:start].rstrip(" ") + rest.rstrip()
        return _append(head + newline, _block(addition, "  "), newline) + tail
    if not isinstance(paths, yaml.SequenceNode):
        return None
    if paths.flow_style:
        close = paths.end_mark.index - 1
        entry = ", ".join(f"{key}: {value}" for key, value in addition.pairs())
        return f"{text[:close]}, {{{entry}}}{text[close:]}"
    # A block's own end mark lies behind the comments that follow it.
    end = text.find("\n", _end(paths))
    head, tail = (text, "") if end < 0 else (text[: end + 1], text[end + 1 :])
    return _append(head, _block(addition, " " * paths.start_mark.column), newline) + tail


def _end(node: yaml.Node) -> int:
    """Return the index behind the last character that belongs to ``node``."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _end(node.value[-1])
    end: int = node.end_mark.index
    # A literal text (`|`) ends at the beginning of the next line.
    return end - 1 if node.end_mark.column == 0 and end else end


def _append(text: str, lines: list[str], newline: str) -> str:
    if text and not text.endswith("\n"):
        text += newline
    return text + newline.join(lines) + newline


def _block(addition: Addition, indent: str) -> list[str]:
    first, *rest = [f"{key}: {value}" for key, value in addition.pairs()]
    return [f"{indent}- {first}", *(f"{indent}  {line}" for line in rest)]


def as_scalar(text: str) -> str:
    """Return ``text`` as YAML: plain where that reads back as the same text, else in quotes.

    What is not printable becomes an escape, and so do the bytes of a path that are no UTF-8
    (surrogate escapes): the file stays text.
    """
    if text.isprintable():
        try:
            # Inside braces, where an entry may be put, more characters have a meaning.
            node = yaml.compose(f"{{k: {text}}}", Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            node = None
        if node is not None and _is_plain(node, text):
            return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def _is_plain(node: yaml.Node, text: str) -> bool:
    if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
        return False
    value = node.value[0][1]
    return bool(value.tag == "tag:yaml.org,2002:str" and value.value == text)
