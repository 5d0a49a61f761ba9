"""Reads which version control keeps a working copy, and which program of it is run."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from autosync.config.reading import Value


def read_hg(value: Value, absolute: Callable[[str], str]) -> tuple[str, ...]:
    """Return the command that is Mercurial: a program, or a list of it and its arguments; no shell reads it.

    A program with a "/" in its name is a path, which ``absolute`` completes; any other is
    looked for on PATH.
    """
    words = value.texts() if isinstance(value.node, yaml.SequenceNode) else (value.text(),)
    if not words:
        raise value.error("must name a program", "Write it like this: hg: /usr/bin/hg")
    program, *arguments = words
    is_path = "/" in program or program == "~"
    return (absolute(program) if is_path else program, *arguments)
