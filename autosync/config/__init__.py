"""The configuration: what the user wrote, read once and frozen."""

from autosync.config.editing import Addition, add_path
from autosync.config.keyfile import make_key, read_key
from autosync.config.loading import candidates, load, locate, parse
from autosync.config.model import (
    DEFAULT_IGNORE,
    INLINE_CAP,
    Commits,
    Config,
    Mode,
    PathConfig,
    PullLock,
    XmppConfig,
)
from autosync.config.overrides import read_overrides, with_overrides
from autosync.config.password import fetch_password

__all__ = [
    "DEFAULT_IGNORE",
    "INLINE_CAP",
    "Addition",
    "Commits",
    "Config",
    "Mode",
    "PathConfig",
    "PullLock",
    "XmppConfig",
    "add_path",
    "candidates",
    "fetch_password",
    "load",
    "locate",
    "make_key",
    "parse",
    "read_key",
    "read_overrides",
    "with_overrides",
]
