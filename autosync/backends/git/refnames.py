"""The names of our refs on the hub: sealed, so that only a device of the workspace can say what is whose."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autosync.core.announcement import MAX_DEVICES, is_device_id
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import Refused
from autosync.trust.sealing import SealBroken, WorkspaceKey

_AT = struct.Struct(">Q")


@dataclass(slots=True)
class RefNames:
    """Seals and opens names with the keys that ``keys`` returns, of which the first one is in use.

    A name holds the device and when it was made (ms since 1970), sealed for the snapshot that the ref
    leads to; as base32 it may stand in a ref and on every file system.
    """

    keys: Callable[[], Sequence[WorkspaceKey]] = tuple

    def make(self, device: DeviceId, snapshot: SnapshotId) -> str:
        """Return a new name for the ref by which ``device`` shows ``snapshot``.  Raises :class:`Refused`: no key."""
        if not (keys := self.keys()):
            raise Refused("Without the key of the workspace nothing is put on the hub", hint="Start the agent.")
        said = _AT.pack(time.time_ns() // 1_000_000) + device.encode("utf-8")
        sealed = keys[0].seal(said, context=_context(snapshot))
        return base64.b32encode(sealed).decode("ascii").rstrip("=").lower()

    def read(self, name: str, snapshot: str) -> tuple[DeviceId, int, bool] | None:
        """Return whose ref it is, when its name was made, and if that was done with the key in use.

        ``None`` for what none of the keys has sealed for this snapshot.
        """
        try:
            sealed = base64.b32decode(name.upper() + "=" * (-len(name) % 8))
        except ValueError:
            return None
        for number, key in enumerate(self.keys()):
            if key.fits(sealed):
                try:
                    said = key.open(sealed, context=_context(snapshot))
                    device = said[_AT.size :].decode("utf-8")
                except (SealBroken, UnicodeDecodeError):
                    return None
                return (DeviceId(device), _AT.unpack_from(said)[0], number == 0) if is_device_id(device) else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a hub has of one workspace: the newest ref of each device, all refs of each, and how many are nobody's."""

    newest: Mapping[DeviceId, tuple[str, SnapshotId]]
    every: Mapping[DeviceId, Sequence[str]]
    strange: int


def sort_out(refs: Mapping[str, str], folder: str, names: RefNames) -> Listing:
    """Return what the refs below ``folder`` (name to id) are; more devices than a version can hold are passed over."""
    newest: dict[DeviceId, tuple[int, str, SnapshotId]] = {}
    every: dict[DeviceId, list[str]] = {}
    strange = 0
    for ref, oid in refs.items():
        found = names.read(ref.removeprefix(folder), oid) if ref.startswith(folder) else None
        if found is None:
            strange += 1
            continue
        device, at, in_use = found
        every.setdefault(device, []).append(ref)
        if in_use and (device in newest or len(newest) < MAX_DEVICES):
            candidate = (at, ref, SnapshotId(oid))
            newest[device] = max(newest.get(device, candidate), candidate)
    latest = {device: (ref, snapshot) for device, (_, ref, snapshot) in newest.items()}
    return Listing(newest=latest, every=every, strange=strange)


def _context(snapshot: str) -> bytes:
    return b"hub " + snapshot.encode("ascii", "replace")
