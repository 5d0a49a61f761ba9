"""``autosync check``: tells whether everything that autosync needs is as it must be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import click

from autosync.cli.channelcheck import check_channels
from autosync.cli.checkup import check_configuration, check_device, check_path
from autosync.cli.failures import FAILED, OK
from autosync.cli.finding import Finding, Level
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.table import plain
from autosync.errors import AutosyncError

_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command(epilog="Example: autosync check", short_help="Tell whether all is well, and what to do if not.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@pass_invocation
def check(invocation: Invocation, *, as_json: bool) -> int:
    """Check the configuration, the working copies, their hubs, the channels and the system's limits.

    Nothing of yours is changed. Each line says ok, warn or fail; the exit code is 1 if anything failed.
    """
    findings = []
    for found in _findings(invocation):
        finding = replace(found, hint=invocation.reword(found.hint))
        findings.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        rows = [{"level": f.level.value, "what": f.what, "detail": f.detail, "hint": f.hint} for f in findings]
        click.echo(json.dumps({"ok": not _failed(findings), "findings": rows}, indent=2))
    return FAILED if _failed(findings) else OK


def _findings(invocation: Invocation) -> Iterator[Finding]:
    try:
        config = invocation.load(on_disk=True)
    except AutosyncError as error:
        yield Finding(Level.FAIL, "config", error.title, error.hint)
        return
    yield from check_configuration(config, invocation.config_option)
    yield from check_device(config)
    for path in config.paths:
        yield from check_path(config, path)
    yield from check_channels(config)


def _failed(findings: list[Finding]) -> bool:
    return any(finding.level is Level.FAIL for finding in findings)


def _print(finding: Finding) -> None:
    # click drops the colours when nobody looks at a terminal.
    level = click.style(f"{finding.level.value:<4}", fg=_COLOURS[finding.level])
    click.echo(f"{level}  {plain(finding.what)}: {plain(finding.detail)}")
    for line in finding.hint.split("\n") if finding.hint else ():
        click.echo(f"      {plain(line)}")
