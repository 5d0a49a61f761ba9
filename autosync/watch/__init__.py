"""Says where in a working copy to look, as the kernel reports it."""

from autosync.watch.arming import WatchStatus
from autosync.watch.watcher import TreeWatcher

__all__ = ["TreeWatcher", "WatchStatus"]
