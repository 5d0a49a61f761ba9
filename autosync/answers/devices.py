"""Answers who the devices of a workspace are, and revokes one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from autosync.answers.report import iso
from autosync.broadcast import Broadcaster
from autosync.core.model import DeviceId
from autosync.errors import AutosyncError
from autosync.membership import Membership
from autosync.rekeying import BACK, Rekeying, how_it_ended
from autosync.trust.roster import chosen
from autosync.trust.signing import fingerprint_of


def with_trust(member: Membership, status: dict[str, Any]) -> dict[str, Any]:
    """Return the status of a workspace with what there is to know of its key."""
    trust = {
        "key-changes": member.key.epoch,
        "revoked": member.is_out(),
        "dispute": member.keyring.trust.dispute or None,
    }
    left = gone(member)
    peers = [] if member.is_out() else [p for p in status["peers"] if fingerprint_of(p["id"]) not in left]
    status = {**status, "trust": trust, "peers": peers}
    if member.is_out():
        status |= {"phase": "halted", "state": "halted", "halt": {"title": how_it_ended(member), "hint": BACK}}
    elif member.unwritten is not None:
        title = f"the others have a new key, which cannot be kept here: {member.unwritten.title}"
        halt = {"title": title, "hint": f"{member.unwritten.hint} It is tried again by itself."}
        status |= {"phase": "halted", "state": "halted", "halt": halt}
    return status


def gone(member: Membership) -> Mapping[str, str]:
    """Return the devices that were revoked and have not come back (fingerprint to name)."""
    here = {fingerprint_of(device) for device in member.state.roster}
    return {mark: name for mark, name in member.keyring.revoked().items() if mark not in here}


def refuse_revoked(members: Sequence[Membership]) -> None:
    """Raise :class:`AutosyncError` if this device was revoked in one of these workspaces."""
    for member in members:
        if member.is_out():
            raise AutosyncError(f"{member.runner.workspace}: {how_it_ended(member)}", hint=BACK)


def list_devices(
    members: Mapping[str, Membership], broadcaster: Broadcaster, linked: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Return the devices of each workspace, this one first.  ``members`` and ``linked`` are by path."""
    return {
        "workspaces": [
            {
                "name": member.runner.workspace,
                "path": path,
                "key-changes": member.key.epoch,
                "dispute": member.keyring.trust.dispute or None,
                "devices": [_own(member, broadcaster), *_others(member, linked[path])],
            }
            for path, member in members.items()
        ]
    }


def _own(member: Membership, broadcaster: Broadcaster) -> dict[str, Any]:
    state = "revoked" if member.is_out() else "member"
    return _row(broadcaster.name, broadcaster.device, own=True, seen=time.time(), via=None, address=None, state=state)


def _others(member: Membership, linked: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = [
        _row(
            known.name,
            device,
            own=False,
            seen=known.last,
            via=known.via,
            address=linked.get(device),
            state="linked" if device in linked else "member",
        )
        for device, known in sorted(member.state.roster.items(), key=lambda item: (item[1].name, item[0]))
    ]
    left = {} if member.is_out() else gone(member)
    return rows + [
        _row(name, mark, own=False, seen=None, via=None, address=None, state="revoked")
        for mark, name in sorted(left.items())
    ]


def _row(
    name: str, device: str, *, own: bool, seen: float | None, via: str | None, address: str | None, state: str
) -> dict[str, Any]:
    return {
        "device": name,
        "id": device,
        "this": own,
        "seen": iso(seen),
        "via": via,
        "address": address,
        "state": state,
    }


def revoke_device(
    members: Mapping[str, Membership], broadcaster: Broadcaster, rekeying: Rekeying, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Revoke ``device`` (a name, or the beginning of an id) in all workspaces that know it, or rehearse that.

    Raises :class:`AutosyncError` if that is none or more than one, or this very device.
    """
    wanted = arguments.get("device")
    if not isinstance(wanted, str) or not wanted:
        raise AutosyncError("No device was named", hint="`autosync devices` lists them.")
    if all(member.is_out() for member in members.values()):
        refuse_revoked(list(members.values()))
    members = {path: member for path, member in members.items() if not member.is_out()}
    device, name = _one(members, broadcaster, wanted)
    done = []
    for path, member in members.items():
        known = member.state.roster.get(device)
        if known is None:
            continue
        stay = [k.name for d, k in sorted(member.state.roster.items()) if d != device]
        if not arguments.get("rehearse"):
            rekeying.revoke(member, {fingerprint_of(device): known.name})
        done.append({"name": member.runner.workspace, "path": path, "stay": stay, "key-changes": member.key.epoch})
    return {"device": name, "id": device, "workspaces": done}


def _one(members: Mapping[str, Membership], broadcaster: Broadcaster, wanted: str) -> tuple[DeviceId, str]:
    """Return the one device that ``wanted`` means."""
    if wanted in (broadcaster.name, broadcaster.device, fingerprint_of(broadcaster.device)):
        raise AutosyncError(
            f"{wanted} is this device: it cannot revoke itself",
            hint="Run `autosync revoke` on another device; to stop here, take the path out of the configuration.",
        )
    found = {
        device: member.state.roster[device].name
        for member in members.values()
        for device in chosen(member.state.roster, wanted)
    }
    if not found:
        raise AutosyncError(f"No device {wanted[:80]!r} is known here", hint="`autosync devices` lists them.")
    if len(found) > 1:
        them = ", ".join(f"{name} ({device})" for device, name in sorted(found.items()))
        raise AutosyncError(f"{wanted[:80]!r} may be any of {them}", hint="Give the beginning of its id.")
    return next(iter(found.items()))
