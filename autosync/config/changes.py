"""Says what of a configuration that has changed can be taken up by an agent that runs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from autosync.config.checks import own_files
from autosync.config.model import Config, PathConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """``added`` are new paths; ``started`` names the keys of channels that are new.

    ``restart`` says in words, one for each, what only a restart brings about.
    """

    added: tuple[PathConfig, ...] = ()
    started: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


CHANNELS = ("xmpp", "reflector", "fanout")
"""Keys of the configuration that a channel begins with, if they are new."""


def compare(running: Config, wanted: Config) -> Changes:
    """Return what has to be done for an agent with ``running`` to be one with ``wanted``."""
    before = {path.path: _own_wishes(path, running) for path in running.paths}
    added = tuple(path for path in wanted.paths if path.path not in before)
    restart = [
        f"{path.path} was changed"
        for path in wanted.paths
        if path.path in before and before[path.path] != _own_wishes(path, wanted)
    ]
    kept = {path.path for path in wanted.paths}
    restart += [f"{path} was removed" for path in before if path not in kept]
    started = []
    for key in (field.name for field in fields(Config)):
        old, new = getattr(running, key), getattr(wanted, key)
        if key == "paths" or old == new:
            continue
        if key == "popups" and old is not None and new is not None:  # their own process sees to it
            continue
        if key in CHANNELS and old is None:
            started.append(key)
        else:
            restart.append(f"`{key.replace('_', '-')}` was changed")
    return Changes(added=added, started=tuple(started), restart=tuple(restart))


def _own_wishes(path: PathConfig, config: Config) -> PathConfig:
    """Return a path without what it ignores because of other entries of the configuration."""
    others = own_files(config, path)
    return replace(path, ignore=tuple(pattern for pattern in path.ignore if pattern not in others))
