"""Builds the parts of the status about `on-update` and about who works on which file."""

from __future__ import annotations

from typing import Any

from autosync.accompaniment import Accompaniment
from autosync.answers.report import iso
from autosync.core.remarks import HookReport
from autosync.onupdate.hook import UpdateHook


def add_accompaniment(entry: dict[str, Any], accompaniment: Accompaniment) -> None:
    """Add to a workspace's part of the status what runs here, what others said of theirs, and who edits what."""
    entry["on-update"] = None if accompaniment.hook is None else _hook(accompaniment.hook)
    for peer in entry["peers"]:
        report = accompaniment.news.reports.get(peer["id"])
        caused_here = report is not None and accompaniment.news.is_ours(report)
        peer["on-update"] = None if report is None else {**_report(report), "caused-here": caused_here}
    sights = accompaniment.presence.sights() if accompaniment.presence else []
    entry["presence"] = [
        {
            "device": sight.device,
            "path": sight.path,
            "state": "open" if sight.open else "saved",
            "since": iso(since),
            "text": sight.text,
        }
        for sight, since in sights
    ]


def _hook(hook: UpdateHook) -> dict[str, Any]:
    last = None if hook.report is None else _report(hook.report)
    return {"command": hook.command, "state": hook.state, "last": last}


def _report(report: HookReport) -> dict[str, Any]:
    return {
        "ok": not report.problem,
        "at": iso(report.at_ms / 1000),
        "command": report.command,
        "problem": report.problem or None,
        "line": report.line or None,
        "snapshot": report.snapshot or None,
        "text": report.text,
    }
