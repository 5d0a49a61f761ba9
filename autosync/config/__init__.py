"""The configuration: what the user wrote, read once and frozen."""

from autosync.config.checks import check_nesting, inside
from autosync.config.editing import Addition, add_path, add_settings, has_setting
from autosync.config.ignoring import add_ignore
from autosync.config.inheriting import inheritable
from autosync.config.loading import absolute, candidates, default_state_dir, is_name, is_node, load, locate, parse
from autosync.config.model import (
    INLINE_CAP,
    Commits,
    Config,
    Mode,
    PathConfig,
    Popups,
    PullLock,
    Urgency,
    Vcs,
    XmppConfig,
)
from autosync.config.overrides import read_overrides, with_overrides
from autosync.config.password import fetch_password
from autosync.core.temporary import DEFAULT_IGNORES

__all__ = [
    "DEFAULT_IGNORES",
    "INLINE_CAP",
    "Addition",
    "Commits",
    "Config",
    "Mode",
    "PathConfig",
    "Popups",
    "PullLock",
    "Urgency",
    "Vcs",
    "XmppConfig",
    "absolute",
    "add_ignore",
    "add_path",
    "add_settings",
    "candidates",
    "check_nesting",
    "default_state_dir",
    "fetch_password",
    "has_setting",
    "inheritable",
    "inside",
    "is_name",
    "is_node",
    "load",
    "locate",
    "parse",
    "read_overrides",
    "with_overrides",
]
