"""Reads YAML into typed values, so that every error names file, line and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TypeVar

import yaml

from autosync.errors import ConfigError

E = TypeVar("E", bound=Enum)

_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_WORDS = {
    _TEXT: "text",
    _NULL: "nothing",
    _BOOL: "true or false",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:seq": "a list",
    "tag:yaml.org,2002:map": "a group of keys",
}
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "b": 1} | {
    spelling: 1024**power for power, unit in enumerate("kmg", start=1) for spelling in (unit, f"{unit}b", f"{unit}ib")
}
_LONGEST_KEY = 200
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")


def compose(text: str, source: str) -> yaml.Node | None:
    """Return the root node of the one YAML document, ``None`` if it is empty.

    Raises :class:`ConfigError` naming ``source`` and the line.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}, line {mark.line + 1}" if mark else source
        hint = "Check the indentation and the quotes there; tabs are not allowed for indenting."
        # The message quotes what stands there: `password: *secret` would show the secret.
        problem = re.sub(r"'[^'<][^']+'", "…", error.problem or error.context or "")
        raise ConfigError(f"{where}: this is not valid YAML: {problem}", hint=hint) from None
    except yaml.reader.ReaderError as error:
        # error.position counts characters; there is no mark in this error.
        line = text.count("\n", 0, error.position) + 1
        title = f"{source}, line {line}: a character that YAML does not allow (U+{_code(error):04X})"
        raise ConfigError(title, hint="Remove it, or write it as an escape inside double quotes.") from None
    except RecursionError:
        raise ConfigError(f"{source}: lists nested too deeply", hint="Compare it with the example file.") from None
    except (ValueError, OverflowError):  # of chr() and int(): "\UFFFFFFFF", a %YAML directive of 5000 digits
        raise ConfigError(
            f"{source}: an escape or a number that YAML does not allow",
            hint="Look for \\U inside double quotes, and for a line that begins with %.",
        ) from None
    return None if root is None or root.tag == _NULL else root


def _is_text(value: str) -> bool:
    """Return whether ``value`` can be written anywhere: ``"\\ud800"`` is no character.

    Surrogate escapes are: they stand for the bytes of a path that is not UTF-8 (PEP 383).
    """
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _shown(key: str) -> str:
    """Return a key as a terminal only shows it: the file may have come from another device."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in key)
    return plain if len(plain) <= _LONGEST_KEY else plain[:_LONGEST_KEY] + "…"


def _code(error: yaml.reader.ReaderError) -> int:
    character = error.character
    return ord(character) if isinstance(character, str) else int(character)


class Value:
    """A node of the document with its place: file, line and key path."""

    def __init__(self, node: yaml.Node, source: str, key: str, *, at: yaml.Node | None = None) -> None:
        self.node = node
        self.source = source
        self.key = key
        self.line = (at or node).start_mark.line + 1

    def error(self, problem: str, hint: str) -> ConfigError:
        """Return an error about this value."""
        place = f"{self.source}, line {self.line}"
        return ConfigError(f"{place}: {_shown(self.key)}: {problem}" if self.key else f"{place}: {problem}", hint=hint)

    def wrong(self, wanted: str, example: str) -> ConfigError:
        """Return the error "must be X, not Y"; the value itself is not shown, it may be secret."""
        found = _WORDS.get(self.node.tag, "something else")
        return self.error(f"must be {wanted}, not {found}", f"Write it like this: {example}")

    @property
    def empty(self) -> bool:
        """Whether nothing stands behind the key."""
        return bool(self.node.tag == _NULL)

    def text(self) -> str:
        """Return a text that is not empty."""
        if self.node.tag != _TEXT or not isinstance(self.node, yaml.ScalarNode):
            raise self.wrong("text", f'{self._name}: "…" (in quotes, if it looks like a number or a date)')
        value = str(self.node.value)
        if not value or "\0" in value:
            raise self.error("must not be empty", "Give it a value or remove the key.")
        if not _is_text(value):
            raise self.error("holds half a character (a surrogate)", "Write the character itself instead of \\u.")
        return value

    def flag(self) -> bool:
        """Return true or false."""
        if self.node.tag != _BOOL:
            raise self.wrong("true or false", f"{self._name}: true")
        return str(self.node.value).lower() in ("yes", "true", "on")

    def choice(self, kind: type[E]) -> E:
        """Return the member of ``kind`` whose value is written here."""
        values = [str(member.value) for member in kind]
        written = str(self.node.value) if isinstance(self.node, yaml.ScalarNode) else ""
        if written not in values:
            near = difflib.get_close_matches(written, values, n=1)
            hint = f'Did you mean "{near[0]}"?' if near else "Write one of these words."
            raise self.error(f"must be one of: {', '.join(values)}", hint)
        return kind(written)

    def duration(self, *, least: float, most: float) -> float:
        """Return a time in seconds: ``50ms``, ``2s``, ``1m``, ``1h``; a plain number is seconds."""
        seconds = self._quantity(_UNITS, "a time", f"{self._name}: 50ms (or 2s, 1m, 1h)")
        if not least <= seconds <= most:
            raise self.error(f"must be between {least:g} and {most:g} seconds", "Choose a value in this range.")
        return seconds

    def size(self, *, most: int) -> int:
        """Return a size in bytes: ``8k``, ``1m``; a plain number is bytes."""
        size = self._quantity(_SIZES, "a size", f"{self._name}: 8k")
        if size > most:
            raise self.error(f"must be at most {most} bytes", "Choose a smaller value; 0 turns it off.")
        return int(size)

    def integer(self, *, least: int, most: int) -> int:
        """Return a whole number in the given range."""
        if self.node.tag not in _NUMBERS or not re.fullmatch(r"\d{1,9}", self.node.value):
            raise self.wrong("a whole number", f"{self._name}: {least}")
        if not least <= int(self.node.value) <= most:
            raise self.error(f"must be between {least} and {most}", "Choose a value in this range.")
        return int(self.node.value)

    def list(self) -> tuple[Value, ...]:
        """Return the values of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.wrong("a list", f"{self._name}: [first, second]")
        return tuple(Value(node, self.source, f"{self.key}[{n}]") for n, node in enumerate(self.node.value))

    def texts(self) -> tuple[str, ...]:
        """Return the texts of a list."""
        return tuple(value.text() for value in self.list())

    def section(self) -> Section:
        """Return the keys of a group."""
        return Section(self)

    @property
    def _name(self) -> str:
        return self.key.rpartition(".")[2]

    def _quantity(self, units: dict[str, float] | dict[str, int], wanted: str, example: str) -> float:
        match = _QUANTITY.fullmatch(self.node.value) if isinstance(self.node, yaml.ScalarNode) else None
        if self.node.tag not in (_TEXT, *_NUMBERS) or match is None:
            raise self.wrong(wanted, example)
        unit = match[2].lower()
        if unit not in units:
            raise self.error(f'"{match[2]}" is no unit', f"Write it like this: {example}")
        return float(match[1]) * units[unit]


class Section:
    """A group of keys.  Each is taken once; :meth:`finish` refuses those that nobody knows."""

    def __init__(self, value: Value) -> None:
        if not isinstance(value.node, yaml.MappingNode):
            raise value.wrong("a group of keys", "key: value")
        self.value = value
        self._known: list[str] = []
        self._values: dict[str, Value] = {}
        for name_node, node in value.node.value:
            name = str(name_node.value) if isinstance(name_node, yaml.ScalarNode) else "?"
            key = f"{value.key}.{name}" if value.key else name
            if name in self._values:
                first = self._values[name].line
                place = Value(name_node, value.source, key)
                raise place.error(f"stands here twice (first in line {first})", "Remove one of the two.")
            self._values[name] = Value(node, value.source, key, at=name_node)

    def take(self, name: str) -> Value | None:
        """Return the value of a key; ``None`` if it is absent or left empty."""
        self._known.append(name)
        found = self._values.get(name)
        return None if found is None or found.empty else found

    def require(self, name: str, example: str) -> Value:
        """Return the value of a key that must be there."""
        found = self.take(name)
        if found is None:
            raise self.value.error(f'the key "{name}" is missing', f"Add a line like this: {example}")
        return found

    def get(self, name: str, read: Callable[[Value], T], default: T) -> T:
        """Return what ``read`` makes of a key's value, ``default`` if it is absent."""
        found = self.take(name)
        return default if found is None else read(found)

    def unread(self) -> Iterator[tuple[str, Value]]:
        """Yield the keys that nobody has taken, in the order of the file."""
        for name, value in self._values.items():
            if name not in self._known:
                yield name, value

    def finish(self) -> None:
        """Refuse keys that nobody has taken."""
        for name, value in self.unread():
            raise value.error("unknown key", suggestion(name, self._known))


T = TypeVar("T")


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return the hint for an unknown key."""
    near = difflib.get_close_matches(name.lower().replace("_", "-"), known, n=1)
    return f'Did you mean "{near[0]}"?' if near else f"The keys known here are: {', '.join(sorted(known))}."
