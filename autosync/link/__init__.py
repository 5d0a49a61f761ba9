"""Direct authenticated connections between the devices of a workspace."""

from autosync.link.identity import Identity, load_or_create_identity
from autosync.link.links import Links
from autosync.link.networks import NetworkWatch
from autosync.link.workspace import PeerStatus, Timing, WorkspaceHandle

__all__ = ["Identity", "Links", "NetworkWatch", "PeerStatus", "Timing", "WorkspaceHandle", "load_or_create_identity"]
