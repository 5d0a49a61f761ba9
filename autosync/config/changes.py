"""Says what of a configuration that has changed can be taken up by an agent that runs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from autosync.config.checks import own_files
from autosync.config.model import Config, PathConfig, Vcs


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """``added`` are new paths; ``started`` names the keys of channels that are new.

    ``ignoring`` are those that ignore other paths, ``following`` those that follow other names of
    their hub, and are else as they were.
    ``restart`` says in words, one for each, what only a restart brings about.
    """

    added: tuple[PathConfig, ...] = ()
    started: tuple[str, ...] = ()
    ignoring: tuple[PathConfig, ...] = ()
    following: tuple[PathConfig, ...] = ()
    restart: tuple[str, ...] = ()


CHANNELS = ("xmpp", "reflector", "fanout")
"""Keys of the configuration that a channel begins with, if they are new."""


def compare(running: Config, wanted: Config) -> Changes:
    """Return what has to be done for an agent with ``running`` to be one with ``wanted``."""
    before = {path.path: _own_wishes(path, running) for path in running.paths}
    added = tuple(path for path in wanted.paths if path.path not in before)
    restart, ignoring, following = [], [], []
    for path in wanted.paths:
        old, new = before.get(path.path), _own_wishes(path, wanted)
        if old is None or old == new:
            continue
        if replace(old, ignore=new.ignore, subscribe=new.subscribe) == new and path.backend is not Vcs.COMMAND:
            ignoring += [path] if old.ignore != new.ignore else []
            following += [path] if old.subscribe != new.subscribe else []
        else:
            keys = [each.name for each in fields(PathConfig) if getattr(old, each.name) != getattr(new, each.name)]
            restart.append(f"{', '.join(map(_quoted, keys))} of {path.path} was changed")
    kept = {path.path for path in wanted.paths}
    restart += [f"{path} was removed" for path in before if path not in kept]
    started = []
    for key in (field.name for field in fields(Config)):
        had, has = getattr(running, key), getattr(wanted, key)
        if key == "paths" or had == has:
            continue
        if key == "popups" and had is not None and has is not None:  # their own process sees to it
            continue
        if key in CHANNELS and had is None:
            started.append(key)
        else:
            restart.append(f"{_quoted(key)} was changed")
    return Changes(
        added=added,
        started=tuple(started),
        ignoring=tuple(ignoring),
        following=tuple(following),
        restart=tuple(restart),
    )


def _quoted(field: str) -> str:
    """Return the key of the configuration that a field has the value of."""
    return f"`{field.replace('_', '-')}`"


def _own_wishes(path: PathConfig, config: Config) -> PathConfig:
    """Return a path without what it ignores because of other entries of the configuration."""
    others = own_files(config, path)
    return replace(path, ignore=tuple(pattern for pattern in path.ignore if pattern not in others))
