"""Direct authenticated connections between the devices of a workspace."""

from autosync.link.links import Links
from autosync.link.networks import NetworkWatch
from autosync.link.workspace import PeerStatus, Timing, WorkspaceHandle

__all__ = ["Links", "NetworkWatch", "PeerStatus", "Timing", "WorkspaceHandle"]
