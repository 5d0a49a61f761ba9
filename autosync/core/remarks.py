"""What a device says beside where it is: how its `on-update` ended, and which files are open on it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from autosync.core.model import DeviceId, RelPath, SnapshotId
from autosync.core.moments import LAST_MS

MAX_TEXT = 300
"""Characters of each text in a report."""
MAX_CAUSES = 16
"""Devices that a report names."""
MAX_EDITING = 16
"""Files that are said to be open."""
MAX_REMARKS = 8 * 1024
"""Bytes of all remarks as JSON."""
_MAX_TEXT_BYTES, _MAX_CAUSES_BYTES, _MAX_EDITING_BYTES = 1200, 1500, 2048
"""Of what is said by this device, as JSON: together less than :data:`MAX_REMARKS`."""
MAX_ECHOES = 1000
_NO_SNAPSHOT = SnapshotId("")
_STEERING = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
"""Escape sequences of ECMA-35 and ECMA-48: CSI, OSC, and all others."""
_SNAPSHOT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DEVICE = re.compile(r"\w[\w .+-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HookReport:
    """How the last run of a device's `on-update` ended.

    ``at_ms`` is when, by that device's wall clock; it tells one run from another.  ``command`` is what
    was run, ``problem`` what went wrong (empty: nothing), ``line`` the last line of the output of a run that failed.
    ``snapshot`` is the state at which it was run, ``causes`` the devices whose changes were the reason.
    """

    at_ms: int
    command: str
    problem: str = ""
    line: str = ""
    snapshot: SnapshotId = _NO_SNAPSHOT
    causes: tuple[DeviceId, ...] = ()

    @property
    def title(self) -> str:
        """Return what a person is told."""
        return f"{self.command} {self.problem or 'succeeded'}"

    @property
    def text(self) -> str:
        """Return the same in a line with what the program printed last."""
        return f"{self.title}: {self.line}" if self.line else self.title

    def news(self, device: str) -> str:
        """Return what a person is told of the program of ``device`` (its name): a title, and a line if there is one."""
        return f"{device}: {self.title}\n{self.line}" if self.line else f"{device}: {self.title}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remarks:
    """What an announcement says besides the state.

    ``echoes`` counts the runs of `on-update`, on whatever device, each of which was caused by what the one before
    had written; the last of them made the state.  ``editing`` are files that an editor of the device has open.
    """

    hook: HookReport | None = None
    echoes: int = 0
    editing: tuple[RelPath, ...] = ()


NOTHING = Remarks()
"""What there is to say most of the time."""


def to_object(remarks: Remarks) -> dict[str, object]:
    """Return the remarks as JSON has them, empty if there are none."""
    found: dict[str, object] = {}
    if remarks.hook is not None:
        report = remarks.hook
        found["hook"] = {
            "at": report.at_ms,
            "command": report.command,
            "problem": report.problem,
            "line": report.line,
            "snapshot": report.snapshot,
            "causes": list(report.causes),
        }
    if remarks.echoes:
        found["echoes"] = remarks.echoes
    if remarks.editing:
        found["editing"] = [path.decode("utf-8", "surrogateescape") for path in remarks.editing]
    return found


def from_object(value: object) -> Remarks:
    """Return the remarks that :func:`to_object` made ``value`` of; unknown keys are ignored.

    Raises :class:`ValueError` for what :func:`check` would not let pass.
    """
    if value is None:
        return Remarks()
    if not isinstance(value, dict):
        raise ValueError("remarks are not an object")
    editing = value.get("editing", [])
    if not isinstance(editing, list) or not all(isinstance(path, str) for path in editing):
        raise ValueError("editing is not a list of texts")
    remarks = Remarks(
        hook=None if value.get("hook") is None else _report(value["hook"]),
        echoes=_count(value.get("echoes", 0), "echoes", MAX_ECHOES),
        editing=tuple(RelPath(path.encode("utf-8", "surrogateescape")) for path in editing),
    )
    check(remarks)
    return remarks


def check(remarks: Remarks) -> None:
    """Raise :class:`ValueError` unless everything is of the size and alphabet it must be."""
    _count(remarks.echoes, "echoes", MAX_ECHOES)
    if len(remarks.editing) > MAX_EDITING:
        raise ValueError(f"more than {MAX_EDITING} files are said to be open")
    for path in remarks.editing:
        if not path or path.startswith(b"/") or 0 in path or b".." in path.split(b"/"):
            raise ValueError("what is said to be open is no path")
    if remarks.hook is not None:
        _check_report(remarks.hook)
    if len(json.dumps(to_object(remarks), separators=(",", ":"))) > MAX_REMARKS:
        raise ValueError("remarks are too long")


def fitting(paths: tuple[RelPath, ...]) -> tuple[RelPath, ...]:
    """Return as many of ``paths``, from the first on, as leave room for everything else."""
    chosen = paths[:MAX_EDITING]
    while len(json.dumps(to_object(Remarks(editing=chosen)))) > _MAX_EDITING_BYTES:
        chosen = chosen[:-1]
    return chosen


def printable(text: str) -> str:
    """Return ``text`` without what steers a terminal, in one line that a report has room for."""
    shown = "".join(c if c.isprintable() else " " for c in _STEERING.sub("", text))
    line = " ".join(shown.split())
    cut = line[:MAX_TEXT]
    while len(json.dumps(cut)) > _MAX_TEXT_BYTES:
        cut = cut[:-1]
    return cut if cut == line else cut[:-1] + "…"


def nameable(devices: tuple[DeviceId, ...]) -> tuple[DeviceId, ...]:
    """Return as many of ``devices``, from the first on, as a report has room for."""
    chosen = devices[:MAX_CAUSES]
    while len(json.dumps(chosen)) > _MAX_CAUSES_BYTES:
        chosen = chosen[:-1]
    return chosen


def _report(value: object) -> HookReport:
    if not isinstance(value, dict):
        raise ValueError("hook is not an object")
    causes = value.get("causes")
    if not isinstance(causes, list):
        raise ValueError("causes are not a list")
    return HookReport(
        at_ms=_count(value.get("at"), "at", LAST_MS),
        command=_text(value, "command"),
        problem=_text(value, "problem"),
        line=_text(value, "line"),
        snapshot=SnapshotId(_text(value, "snapshot")),
        causes=tuple(DeviceId(str(cause)) for cause in causes),
    )


def _check_report(report: HookReport) -> None:
    for what, text in (("command", report.command), ("problem", report.problem), ("line", report.line)):
        if len(text) > MAX_TEXT or not text.isprintable():
            raise ValueError(f"{what} is too long or not printable")
    if not report.command:
        raise ValueError("command is empty")
    if report.snapshot and not _SNAPSHOT.fullmatch(report.snapshot):
        raise ValueError("snapshot is not an id of 40 or 64 hex digits")
    if len(report.causes) > MAX_CAUSES or not all(_DEVICE.fullmatch(cause) for cause in report.causes):
        raise ValueError("causes are too many or no device ids")
    _count(report.at_ms, "at", LAST_MS)


def _text(fields: Mapping[object, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a text")
    return value


def _count(value: object, what: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{what} is not a number from 0 to {most}")
    return value
