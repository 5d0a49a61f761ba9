"""Refuses a second folder of one workspace on one device: both would speak with the same voice."""

from __future__ import annotations

import os
from collections.abc import Iterable

from autosync.config import PathConfig
from autosync.errors import ConfigError
from autosync.trust.sealing import load_key


def refuse_twin(path: PathConfig, others: Iterable[PathConfig]) -> None:
    """Raise :class:`ConfigError` if one of ``others`` has the key of ``path``, or the key cannot be read.

    What the agent remembers of a workspace is kept once for each state directory, by the key's id.
    """
    mine = load_key(path.key_file).id
    twin = next((other for other in others if load_key(other.key_file).id == mine), None)
    if twin is None:
        return
    title = f"{path.path} has the key of {twin.path}: one device keeps a workspace in one folder"
    if not os.path.lexists(twin.path):
        raise ConfigError(title, hint="If the folder was moved or renamed, start the agent again.")
    raise ConfigError(title, hint="Remove one of the two entries, or give it a key of its own: another `key-file:`.")
