"""Finds the ignore rule that names a path: which one, in which line of which file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from autosync.backends.git.cli import Git
from autosync.backends.hg.once import run_hg
from autosync.config import DEFAULT_IGNORES, PathConfig
from autosync.core.model import RelPath, parent_directories
from autosync.core.patterns import Patterns
from autosync.errors import AutosyncError

_OVERRIDES = ".autosync"
_PATIENCE = 20.0
_HG_RULE = re.compile(rb"\(ignore rule in (.+), line (\d+): '(.*)'\)\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule that names ``path``, which may be a folder above the one that was asked for.

    ``file`` is absolute; it is empty for what autosync leaves out without being told, and then ``line`` is 0.
    """

    path: RelPath
    pattern: str
    file: str = ""
    line: int = 0

    def words(self) -> str:
        """Return the rule in words."""
        above = f" It names {os.fsdecode(self.path)}."
        if not self.file:
            return f"`{self.pattern}`, which autosync leaves out by itself.{above}"
        return f"`{self.pattern}` in {self.file}{f', line {self.line}' if self.line else ''}.{above}"

    def row(self) -> dict[str, object]:
        """Return the rule as JSON has it."""
        return {
            "path": os.fsdecode(self.path),
            "pattern": self.pattern,
            "file": self.file or None,
            "line": self.line or None,
        }


def find_rule(config: PathConfig, source: str, vcs: str, path: RelPath) -> Rule | None:
    """Return the rule that has ``path`` ignored, ``None`` if it cannot be found; ``source`` is the configuration.

    The topmost folder that a rule names counts: below it no other is asked.
    """
    root = os.fsencode(config.path)
    for name in (*reversed([p for p in parent_directories(path) if p]), path):
        try:
            rule = _git_rule(root, name) if vcs == "git" else _hg_rule(config, root, name) if vcs == "hg" else None
        except (AutosyncError, OSError):
            rule = None
        if rule is not None and not rule.pattern.startswith("!"):
            return rule
        if rule is None and (own := _own_rule(config, source, root, name)) is not None:
            return own
    return None


def _git_rule(root: bytes, path: RelPath) -> Rule | None:
    """Ask git, whose own rules are stronger than ours (gitignore(5)); a rule may also take back (``!``)."""
    arguments = ("check-ignore", "-z", "--stdin", "--no-index", "--verbose", "--non-matching")
    said = Git(root).run(*arguments, input=b"./" + path + b"\0", env={"GIT_LITERAL_PATHSPECS": "0"}, accept=(0, 1))
    file, line, pattern, *_ = said.split(b"\0")
    if not file:
        return None
    return Rule(
        path=path,
        pattern=os.fsdecode(pattern),
        file=os.path.join(os.fsdecode(root), os.fsdecode(file)),
        line=int(line),
    )


def _hg_rule(config: PathConfig, root: bytes, path: RelPath) -> Rule | None:
    """Ask hg, which reads its own syntaxes and the files that others include."""
    said = run_hg(config.hg, root, "debugignore", "--", b"path:" + path, patience=_PATIENCE)
    found = _HG_RULE.search(said)
    if found is None:
        return None
    return Rule(
        path=path,
        pattern=os.fsdecode(found[3]),
        file=os.path.join(os.fsdecode(root), os.fsdecode(found[1])),
        line=int(found[2]),
    )


def _own_rule(config: PathConfig, source: str, root: bytes, path: RelPath) -> Rule | None:
    """Return which of our patterns names ``path``; the last one counts."""
    full = os.path.join(root, path)
    is_directory = os.path.isdir(full) and not os.path.islink(full)
    for pattern in reversed(config.ignore):
        if Patterns([pattern]).name_alone(path, is_directory=is_directory):
            places = () if pattern in DEFAULT_IGNORES else (os.path.join(config.path, _OVERRIDES), source)
            file, line = _find_line(pattern, places)
            return Rule(path=path, pattern=pattern, file=file, line=line)
    return None


def _find_line(pattern: str, files: Iterable[str]) -> tuple[str, int]:
    """Return file and number of the first line with a pattern, ``("", 0)`` if none has it: it is one of our files."""
    as_written = re.compile(rf"(?<![\w*./]){re.escape(pattern)}(?![\w*./])")
    for file in files:
        try:
            with open(file, encoding="utf-8", errors="surrogateescape") as opened:
                lines = opened.read(1024 * 1024).splitlines()
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            if as_written.search(line.partition(" #")[0]):
                return file, number
    return "", 0
