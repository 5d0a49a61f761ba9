"""Puts together from the agent's answers what the page shows of the devices and working copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Ask = Callable[..., dict[str, Any]]

_FROM_PEERS = ("kind", "address", "rtt-ms", "why", "throughput", "transfers")


def look(ask: Ask) -> dict[str, Any]:
    """Return the agent's status with each working copy's ``devices``, and all ``conflicts``.

    A device's ``state`` says how its tree stands to ours: ``this``, ``equal``, ``ahead``, ``behind``, ``diverged``,
    ``paused``, ``halted``, ``away``, ``unknown``, ``revoked``; ``tree`` is the last that it confirmed.
    What differs at each look (how long the agent runs, what it takes) is left out.
    """
    status = ask("status")
    members = {w["path"]: w["devices"] for w in ask("devices")["workspaces"]}
    reached = {w["path"]: w["peers"] for w in ask("peers")["workspaces"]}
    conflicts = ask("conflicts")["conflicts"] if any(w["conflicts"] for w in status["workspaces"]) else []
    return {
        "device": status["device"],
        "pid": status["agent"]["pid"],
        "channels": status["channels"],
        "workspaces": [
            {**workspace, "devices": _devices(workspace, members.get(workspace["path"], []), reached)}
            for workspace in status["workspaces"]
        ],
        "conflicts": conflicts,
    }


def _devices(
    workspace: Mapping[str, Any], members: list[dict[str, Any]], reached: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return a row for each device: this one first, then who was heard of, then who is only known."""
    standing = {peer["id"]: peer for peer in workspace["peers"]}
    ways = {peer["id"]: peer for peer in reached.get(workspace["path"], []) if peer["id"]}
    known = {member["id"]: member for member in members}
    rows = []
    for device in dict.fromkeys([*known, *standing]):
        member, peer, way = known.get(device, {}), standing.get(device, {}), ways.get(device, {})
        own = bool(member.get("this"))
        revoked = member.get("state") == "revoked"
        rows.append(
            {
                "id": device,
                "device": member.get("device") or peer.get("device") or way.get("device"),
                "this": own,
                "state": "revoked" if revoked else "this" if own else peer.get("state", "away"),
                "tree": workspace["tree"] if own else peer.get("tree"),
                "snapshot": workspace["snapshot"] if own else peer.get("snapshot"),
                "seen": None if own else peer.get("seen") or member.get("seen"),
                "problem": peer.get("problem"),
                **{key: way.get(key) for key in _FROM_PEERS},
            }
        )
    return rows
