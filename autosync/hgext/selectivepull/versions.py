"""Where Mercurial, in the versions from 6.3 to 7.2, keeps what the extension needs."""

from __future__ import annotations

import importlib
from typing import Any

from mercurial import extensions, hg
from mercurial.utils import urlutil


def _peers() -> Any:
    try:
        factory = importlib.import_module("mercurial.repo.factory")  # since 7.2
    except ImportError:
        return hg
    return factory if hasattr(factory, "peer") else hg


PEERS = _peers()
"""The module whose ``peer`` all commands call to reach another repository."""
_TAKES_PATHS = hasattr(PEERS, "peer_schemes")
"""Since 6.4 ``peer`` takes the object of a path, before it took its URL."""


def is_loaded(ui: Any) -> bool:
    """Return whether this extension is on in a configuration: a process may have loaded it for another repository."""
    return any(module.__name__ == __package__ for _name, module in extensions.extensions(ui))


def open_peer(repo: Any, source: bytes) -> tuple[Any, Any]:
    """Return the path that a name or a URL stands for, and a peer there.

    Raises:
        mercurial.error.RepoError: nothing answers there, or there is no such path.
    """
    path = next(iter(urlutil.get_pull_paths(repo, repo.ui, [source])))
    return path, PEERS.peer(repo, {}, path if _TAKES_PATHS else path.loc)
