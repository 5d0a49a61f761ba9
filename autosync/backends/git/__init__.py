"""git working copies: snapshots, base moves and exchange by way of the git command line."""

from autosync.backends.git.backend import GitBackend, open_git
from autosync.backends.git.refnames import RefNames

__all__ = ["GitBackend", "RefNames", "open_git"]
