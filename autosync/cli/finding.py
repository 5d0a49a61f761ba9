"""What ``autosync check`` and ``autosync doctor`` have found, as a value and as they show it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import click

from autosync.cli.failures import FAILED, OK
from autosync.cli.table import plain


class Level(Enum):
    """How a finding is to be taken."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result: ``hint`` is the next step, empty when there is none."""

    level: Level
    what: str
    detail: str
    hint: str = ""


_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def show(finding: Finding) -> None:
    """Print one finding."""
    # click drops the colours when nobody looks at a terminal.
    level = click.style(f"{finding.level.value:<4}", fg=_COLOURS[finding.level])
    click.echo(f"{level}  {plain(finding.what)}: {plain(finding.detail)}")
    for line in finding.hint.split("\n") if finding.hint else ():
        click.echo(f"      {plain(line)}")


def show_as_json(findings: Sequence[Finding]) -> None:
    """Print all of them as one document."""
    click.echo(json.dumps(as_rows(findings), indent=2))


def as_rows(findings: Sequence[Finding]) -> dict[str, object]:
    """Return all of them as they stand in JSON."""
    rows = [{"level": f.level.value, "what": f.what, "detail": f.detail, "hint": f.hint} for f in findings]
    return {"ok": exit_code(findings) == OK, "findings": rows}


def tell(found: Iterable[Finding], reword: Callable[[str], str], *, as_json: bool) -> int:
    """Print each finding when it is there, or all as JSON, its hint as ``reword`` has it; return the exit code."""
    findings = []
    for each in found:
        findings.append(replace(each, hint=reword(each.hint)))
        if not as_json:
            show(findings[-1])
    if as_json:
        show_as_json(findings)
    return exit_code(findings)


def exit_code(findings: Sequence[Finding]) -> int:
    """Return what a command ends with that has found this."""
    return FAILED if any(finding.level is Level.FAIL for finding in findings) else OK
