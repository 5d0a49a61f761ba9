"""What a device tells its peers on the local networks: a sealed beacon in the form of a TXT record."""

from __future__ import annotations

import json
from dataclasses import dataclass

from autosync.core.announcement import is_device_id
from autosync.core.model import DeviceId
from autosync.trust.sealing import WorkspaceKey

MAX_ADDRESSES = 8
"""Addresses that one beacon tells, so that it fits in one packet of any network."""
MAX_TEXT = 1300
"""Bytes of a TXT record that is looked at."""
_CONTEXT = b"beacon"
_PIECE = 250
"""Bytes in each string of a TXT record; it counts them with one byte (RFC 6763, 6.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon:
    """Where a device can be reached now.

    ``instance`` is drawn when its agent starts.  ``addresses`` are ``host:port``; ``local``
    are link-local IPv6 addresses, that mean something on a link only, to be used with ``port``.
    """

    device: DeviceId
    instance: bytes
    addresses: tuple[str, ...]
    local: tuple[str, ...] = ()
    port: int = 0


def label_of(key: WorkspaceKey, instance: bytes) -> str:
    """Return the name of an instance's service: 32 hex digits that tell nobody anything.

    Nobody else has the same, so that it need not be probed for (RFC 6762, 8.1).
    """
    return key.slot(DeviceId(f"mdns {instance.hex()}"))


def write(key: WorkspaceKey, label: str, beacon: Beacon) -> bytes:
    """Return the TXT record (RFC 6763, 6) of the service ``label``."""
    body = {
        "device": beacon.device,
        "instance": beacon.instance.hex(),
        "addresses": beacon.addresses[:MAX_ADDRESSES],
        "local": beacon.local[:MAX_ADDRESSES],
        "port": beacon.port,
    }
    return as_text(key, label, json.dumps(body, separators=(",", ":")).encode("ascii"))


def as_text(key: WorkspaceKey, label: str, content: bytes) -> bytes:
    """Return the TXT record in which holders of ``key`` find ``content``."""
    hidden = key.hide(key.seal(content, context=_CONTEXT), label.encode("ascii"))
    pieces = [b"%d=" % n + hidden[at : at + _PIECE] for n, at in enumerate(range(0, len(hidden), _PIECE))]
    return b"".join(bytes([len(piece)]) + piece for piece in pieces)


def read(key: WorkspaceKey, label: str, text: bytes) -> Beacon | None:
    """Return what :func:`write` wrote, ``None`` if it is not for holders of ``key``.

    Raises :class:`ValueError` for what is; :class:`autosync.trust.sealing.SealBroken` is one.
    """
    sealed = key.unhide(_joined(text[:MAX_TEXT]), label.encode("ascii", "replace"))
    if sealed is None:
        return None
    opened = key.open(sealed, context=_CONTEXT)
    try:
        body = json.loads(opened)
        beacon = Beacon(
            device=DeviceId(body["device"]),
            instance=bytes.fromhex(body["instance"]),
            addresses=tuple(str(address) for address in body["addresses"]),
            local=tuple(str(address) for address in body["local"]),
            port=body["port"],
        )
        sound = is_device_id(beacon.device) and type(beacon.port) is int and 0 <= beacon.port < 65536
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound or max(len(beacon.addresses), len(beacon.local)) > MAX_ADDRESSES:
        raise ValueError("a malformed beacon")
    return beacon


def _joined(text: bytes) -> bytes:
    """Return what the strings of a TXT record hold behind their keys."""
    found, at = [], 0
    while at < len(text):
        piece = text[at + 1 : at + 1 + text[at]]
        found.append(piece.partition(b"=")[2])
        at += 1 + text[at]
    return b"".join(found)
