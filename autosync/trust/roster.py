"""Which devices of a workspace have proved themselves to this one: whoever may be given a new key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from autosync.core.model import DeviceId
from autosync.trust.rotation import MAX_RECIPIENTS
from autosync.trust.signing import fingerprint_of

MOST = MAX_RECIPIENTS - 1
"""Devices beside this one; further ones are not taken up, as none that is known may lose its place to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A device that has said something with its own key.

    ``public`` is that key (:func:`autosync.trust.rotation.point_of`); ``first`` and ``last`` are when it
    was heard, in seconds since 1970; ``via`` is the channel by which it was heard last.
    """

    name: str
    public: bytes
    first: int
    last: int
    via: str


Roster = Mapping[DeviceId, Known]


def met(roster: Roster, device: DeviceId, *, name: str, public: bytes, via: str, now: int) -> Roster | None:
    """Return ``roster`` with what was heard of ``device``, ``None`` if it has no room for one more."""
    known = roster.get(device)
    if known is None and len(roster) >= MOST:
        return None
    first = now if known is None else known.first
    return {**roster, device: Known(name=name, public=public, first=first, last=now, via=via)}


def kept(roster: Roster, marks: Collection[str]) -> Roster:
    """Return the devices whose key is one of ``marks``."""
    return {device: known for device, known in roster.items() if fingerprint_of(device) in marks}


def recipients(roster: Roster) -> Mapping[str, bytes]:
    """Return the keys of all devices by fingerprint."""
    return {fingerprint_of(device): known.public for device, known in roster.items()}


def chosen(roster: Roster, wanted: str) -> list[DeviceId]:
    """Return the devices that ``wanted`` may mean: a name, an id, the beginning of an id or of a fingerprint."""
    exact = [device for device, known in roster.items() if wanted in (device, known.name, fingerprint_of(device))]
    if exact or not wanted:
        return exact
    return [device for device in roster if device.startswith(wanted) or fingerprint_of(device).startswith(wanted)]
