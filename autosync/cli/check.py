"""``autosync check``: tells whether everything that autosync needs is as it must be."""

from __future__ import annotations

from collections.abc import Iterator

import click

from autosync.cli.channelcheck import check_channels
from autosync.cli.checkup import check_configuration, check_device, check_path
from autosync.cli.finding import Finding, Level, tell
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.programs import check_programs
from autosync.cli.watches import check_watches
from autosync.errors import AutosyncError


@click.command(epilog="Example: autosync check", short_help="Tell whether all is well, and what to do if not.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@pass_invocation
def check(invocation: Invocation, *, as_json: bool) -> int:
    """Check what the configuration names: the working copies, their hubs, the channels, and the system's limits.

    Nothing of yours is changed. Each line says ok, warn or fail; the exit code is 1 if anything failed.
    `autosync doctor` does this too and examines the machine as well.
    """
    return tell(_findings(invocation), invocation.reword, as_json=as_json)


def _findings(invocation: Invocation) -> Iterator[Finding]:
    try:
        config = invocation.load(on_disk=True)
    except AutosyncError as error:
        yield Finding(Level.FAIL, "config", error.title, error.hint)
        return
    yield from check_configuration(config, invocation.config_option)
    yield from check_programs(config)
    yield from check_device(config)
    yield check_watches(config)
    for path in config.paths:
        yield from check_path(config, path)
    yield from check_channels(config)
