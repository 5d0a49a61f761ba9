"""``autosync desktop``: popups of what the agent does."""

from __future__ import annotations

import sys

import click

from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.logs import log_to


@click.command(epilog="Example: autosync desktop", short_help="Show popups of what the agent does.")
@click.option("--beside", is_flag=True, hidden=True, help="End when standard input does: an agent has started this.")
@pass_invocation
def desktop(invocation: Invocation, *, beside: bool) -> int:
    """Show popups of what the agent does, until interrupted.

    The agent runs this by itself where there is a desktop session, unless the configuration says
    `popups: none`. Without a session bus, or without Debian's packages for it, the news are printed.
    """
    config = invocation.load(on_disk=False)
    from autosync.desktop.running import run_desktop  # noqa: PLC0415  (imports much, for which --help does not wait)

    log_to(config, {path.workspace for path in config.paths}, verbose=invocation.verbose, journal=False)
    return run_desktop(config, beside=sys.stdin.fileno() if beside else None)
