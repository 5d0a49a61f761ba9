"""Writes operations to a working copy, each only if its path still is what it expects."""

from autosync.apply.tree import WorkingTree

__all__ = ["WorkingTree"]
