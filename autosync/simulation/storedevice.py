"""A simulated device without files: it keeps what the others send and passes it on."""

from __future__ import annotations

from collections.abc import Mapping

from autosync.backends.shelf import NoFiles, Shelf
from autosync.core.model import Base, Kind, RelPath, Snapshot
from autosync.ports import Backend, Tree
from autosync.simulation.device import Device
from autosync.simulation.ledger import Standing


class StoreDevice(Device):
    """A device with ``mode: store``; no user ever touches its working copy, which stays empty."""

    has_user = False

    def _parts(self) -> tuple[Backend, Tree]:
        return Shelf(self.copy), NoFiles()

    def _open(self) -> Snapshot | None:
        Shelf(self.copy).begin()
        return super()._open()

    @property
    def files(self) -> Mapping[RelPath, Standing]:
        """What its state would have at each path."""
        current = self.session.current
        listing = self.copy.store.listing(current.tree) if current is not None else {}
        store = self.copy.store
        return {
            path: (e.kind, e.oid.encode() if e.kind is Kind.NESTED else store.texts[e.oid])
            for path, e in listing.items()
        }

    def base(self) -> Base:
        """Return the base of its state."""
        return self.performer.backend.base()
