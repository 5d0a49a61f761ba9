"""Puts together what is known of all peers of a workspace and of the ways to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from autosync.core.model import DeviceId
from autosync.link.connection import Link
from autosync.link.dialling import Target
from autosync.link.ways import Ways
from autosync.link.workspace import PeerStatus


def overview(links: Iterable[Link], targets: Sequence[Target], ways: Ways) -> list[PeerStatus]:
    """Return the peers at the end of ``links``, then the other ``targets``."""
    found: dict[DeviceId | str, PeerStatus] = {link.device: _linked(link, targets, ways) for link in links}
    for target in targets:
        if target.device != target.handle.device:
            status = _away(target, ways)
            found.setdefault(target.device or status.address, status)
    return list(found.values())


def _linked(link: Link, targets: Iterable[Target], ways: Ways) -> PeerStatus:
    # A target that learns addresses tells more than one that was configured.
    known = min((t for t in targets if t.device == link.device), key=lambda t: t.configured, default=None)
    candidates = known.candidates if known is not None else ()
    return PeerStatus(
        device=link.device,
        name=link.name,
        address=link.origin.address,
        connected=True,
        rtt_ms=link.rtt_ms,
        kind=link.origin.kind.value,
        dialled=link.origin.dialled,
        ways=ways.status(link.device, dict.fromkeys((link.origin.candidate, *candidates))),
    )


def _away(target: Target, ways: Ways) -> PeerStatus:
    first = ways.sorted(target.device, target.candidates)[0]
    return PeerStatus(
        device=target.device,
        name=target.name,
        address=first.address,
        connected=False,
        problem=target.problem,
        kind=first.kind.value,
        ways=ways.status(target.device, target.candidates),
    )
