"""Puts together from the agent's answers what the page shows of the devices and working copies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from autosync.errors import AutosyncError

Ask = Callable[..., dict[str, Any]]

_OFF = 3.0
_FROM_PEERS = ("kind", "address", "rtt-ms", "why", "throughput", "transfers")


class Overview:
    """Looks at the agent again and again.

    The conflicts are asked for only if there may be others: to list many takes the working copy's own thread.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._seen: object = None
        self._conflicts: list[dict[str, Any]] = []

    def look(self) -> dict[str, Any]:
        """Return what :func:`look` does.  Raises :class:`AutosyncError`."""
        status = self._ask("status")
        seen = [(w["path"], w["tree"], w["conflicts"]) for w in status["workspaces"] if w["conflicts"]]
        if seen != self._seen:
            with contextlib.suppress(AutosyncError):  # of all else there is something to show; asked again soon
                self._conflicts = self._ask("conflicts")["conflicts"] if seen else []
                self._seen = seen
        return look(self._ask, status, self._conflicts)


def look(ask: Ask, status: Mapping[str, Any], conflicts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the agent's status with each working copy's ``devices``, and all ``conflicts``.

    A device's ``state`` says how its tree stands to ours: ``this``, ``equal``, ``ahead``, ``behind``, ``diverged``,
    ``paused``, ``halted``, ``away``, ``unknown``, ``revoked``; ``tree`` is the last that it said it has, and
    ``confirmed`` when it last said that of the tree that was here too.  What differs at each look is left
    out, so that two looks are equal if nothing has happened.
    """
    members = {w["path"]: w["devices"] for w in ask("devices")["workspaces"]}
    reached = {w["path"]: w["peers"] for w in ask("peers")["workspaces"]}
    return {
        "device": status["device"],
        "pid": status["agent"]["pid"],
        "channels": status["channels"],
        "workspaces": [
            {**_without_peers(workspace), "devices": _devices(workspace, members.get(workspace["path"], []), reached)}
            for workspace in status["workspaces"]
        ],
        "conflicts": conflicts,
    }


def _without_peers(workspace: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in workspace.items() if key not in ("peers", "watch", "dropped", "transfers")}


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
                "confirmed": (peer.get("confirmed") or {}).get("time"),
                "clock-ahead": _clearly(peer.get("clock-ahead")),
                "problem": peer.get("problem"),
                "hook": _failed(peer.get("on-update")),
                **{key: way.get(key) for key in _FROM_PEERS},
            }
        )
    return rows


def _clearly(ahead: float | None) -> int | None:
    """Return by how many seconds a clock is off, ``None`` if that may be the way of the message."""
    return None if ahead is None or abs(ahead) < _OFF else round(ahead)


def _failed(report: Mapping[str, Any] | None) -> str | None:
    """Return what became of a device's program that runs after changes, ``None`` if all is well."""
    return None if report is None or report["ok"] else str(report["text"])
