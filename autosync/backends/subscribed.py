"""Keeps the names that a working copy follows, one on each line of a file, beside those of the configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence

from autosync.core.subscriptions import MOST_PATTERNS, problem_of
from autosync.durable import make_directory, replacing
from autosync.errors import ConfigError


class Subscribed:
    """The names in the file at ``path``, and the ``patterns`` of the configuration.

    Others may write the file too; what is in it that can be no name is passed over.
    """

    def __init__(self, path: bytes, patterns: Sequence[str] = ()) -> None:
        self._path = path
        self.patterns = tuple(patterns)

    def every(self) -> Sequence[str]:
        """Return what is followed, each once."""
        return tuple(dict.fromkeys((*self.patterns, *self.added())))

    def added(self) -> Sequence[str]:
        """Return what the file names."""
        try:
            with open(self._path, "rb") as file:
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ()
        return tuple(dict.fromkeys(line for line in text.split("\n") if problem_of(line) is None))

    def add(self, names: Sequence[str]) -> None:
        """Write further names into the file.  Raises :class:`ConfigError`."""
        for name in names:
            if (problem := problem_of(name)) is not None:
                raise ConfigError(
                    f"{name[:200]!r} names no branch or bookmark: {problem}",
                    hint='Give a name as the hub has it, or how names begin and a *, in quotes: "feature/*"',
                )
        wanted = tuple(dict.fromkeys((*self.added(), *names)))
        if len(wanted) > MOST_PATTERNS:
            raise ConfigError(
                f"More than {MOST_PATTERNS} names would be followed here",
                hint='Follow many that begin alike by one pattern, like this: "feature/*"',
            )
        self._write(wanted)

    def remove(self, names: Sequence[str]) -> None:
        """Take names out of the file."""
        self._write(tuple(name for name in self.added() if name not in names))

    def _write(self, names: Sequence[str]) -> None:
        if names == self.added():
            return
        make_directory(os.path.dirname(self._path))
        with replacing(self._path, mode=0o644) as file:
            file.write("".join(f"{name}\n" for name in names).encode())
