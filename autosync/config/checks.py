"""Checks what only shows when keys are held against each other and the file system."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import combinations

from autosync.config.model import Config, PathConfig
from autosync.errors import ConfigError


def check_names(config: Config) -> None:
    """Refuse two working copies of one workspace and one path that is written twice."""
    for (m, first), (n, second) in combinations(enumerate(config.paths), 2):
        if first.workspace == second.workspace:
            raise ConfigError(
                f'{config.source}: paths[{m}].workspace and paths[{n}].workspace are both "{first.workspace}"',
                hint="A device holds each workspace once: give one of them another name, or remove it.",
            )
        if first.path == second.path:
            raise ConfigError(
                f"{config.source}: paths[{m}].path and paths[{n}].path are both {first.path}",
                hint="Remove one of the two.",
            )


def check_paths(config: Config, awaited: Callable[[Config, PathConfig], bool]) -> None:
    """Refuse paths that cannot be kept as they are.

    Those that are missing, unless they are ``awaited``, or hold two repositories, or lie in one another, and
    those without their key file.
    """
    for n, path in enumerate(config.paths):
        if not os.path.exists(path.path):
            if awaited(config, path):
                continue
            raise ConfigError(
                f"{config.source}: paths[{n}].path: {path.path} does not exist",
                hint="Create or mount it, or remove the entry.",
            )
        if not os.path.isdir(path.path):
            raise ConfigError(
                f"{config.source}: paths[{n}].path: {path.path} is not a directory",
                hint="Name the directory of a working copy.",
            )
        if path.backend is None and all(os.path.lexists(os.path.join(path.path, mark)) for mark in (".git", ".hg")):
            raise ConfigError(
                f"{config.source}: paths[{n}].backend is missing: {path.path} holds a .git and a .hg",
                hint="Say which of them is meant: add `backend: git` or `backend: hg` to that entry.",
            )
        if not os.path.isfile(path.key_file):
            raise ConfigError(
                f"{config.source}: paths[{n}].key-file: {path.key_file} does not exist",
                hint="Copy the workspace's key file from another of your devices to that place; "
                "for a new workspace remove the entry and run `autosync init`.",
            )
    check_nesting(config)


def check_nesting(config: Config) -> None:
    """Refuse paths that are the same directory or lie in one another."""
    for (m, first), (n, second) in combinations(enumerate(config.paths), 2):
        one, other = os.path.realpath(first.path), os.path.realpath(second.path)
        if one == other:
            raise ConfigError(
                f"{config.source}: paths[{m}].path and paths[{n}].path are the same directory, {one}",
                hint="Remove one of the two.",
            )
        if inside(one, other) or inside(other, one):
            inner, outer = (m, n) if inside(one, other) else (n, m)
            raise ConfigError(
                f"{config.source}: paths[{inner}].path: {config.paths[inner].path} lies inside "
                f"paths[{outer}].path, {config.paths[outer].path}",
                hint="Working copies in one another cannot be kept separately: move one out, or remove its entry.",
            )


def inside(path: str, directory: str) -> bool:
    """Return whether ``path`` lies below ``directory``; both are real absolute paths."""
    return path != directory and os.path.commonpath((path, directory)) == directory


def own_files(config: Config, path: PathConfig) -> tuple[str, ...]:
    """Return patterns for what is secret or changes with every snapshot and lies inside ``path``.

    They matter to who keeps his whole home directory in git.
    """
    root = os.path.realpath(path.path)
    own = (config.state_dir, *(p.key_file for p in config.paths))
    relative = (os.path.relpath(os.path.realpath(p), root) for p in own if inside(os.path.realpath(p), root))
    return tuple("/" + re.sub(r"([][*?\\!# ])", r"\\\1", p) for p in sorted(set(relative)))
