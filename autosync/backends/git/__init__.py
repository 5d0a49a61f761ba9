"""git working copies: snapshots, base moves and exchange by way of the git command line."""

from autosync.backends.git.backend import GitBackend, open_git

__all__ = ["GitBackend", "open_git"]
