"""``autosync devices`` and ``revoke``: who may read a workspace, and who may not any more."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from autosync.cli import completing
from autosync.cli.failures import FAILED, OK
from autosync.cli.invocation import Invocation, pass_invocation, select
from autosync.cli.table import age, plain, table, terminal_width
from autosync.config import Config
from autosync.control import call
from autosync.errors import AutosyncError

_HEADS = ("WORKSPACE", "DEVICE", "STATE", "SEEN", "VIA", "ID")


@click.command(epilog="Example: autosync devices notes", short_help="List the devices of a workspace.")
@click.argument("workspace", required=False, shell_complete=completing.paths)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@pass_invocation
def devices(invocation: Invocation, workspace: str | None, *, as_json: bool) -> int:
    """List the devices that this one has heard of in WORKSPACE (a name or a path), or in all.

    Each has proved by its own key that it is the one its ID names. Who is listed here is given the
    new key when another one is revoked: see that you know them all. A terminal shows as much of the IDs
    as fits.
    """
    config = invocation.load(on_disk=False)
    chosen = select(config, workspace)
    answer = call(config.state_dir, "devices", path=chosen.path if chosen else None)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return OK
    now = datetime.now(UTC)
    rows = [
        (w["name"], d["device"], _state(d), _seen(d, now), d["via"] or "-", d["id"])
        for w in answer["workspaces"]
        for d in w["devices"]
    ]
    click.echo("\n".join(table(_HEADS, rows, width=terminal_width())))
    for told in answer["workspaces"]:
        if told["dispute"]:
            click.echo(f"\n{plain(told['name'])}: {plain(told['dispute'])}.")
            click.echo(f"  If that is the wrong one, join again by an invitation: {invocation.command('join LINE')}")
    return OK


@click.command(epilog="Example: autosync revoke old-laptop", short_help="Take a workspace's key from a device.")
@click.argument("device", shell_complete=completing.devices)
@click.option(
    "--workspace",
    metavar="NAME",
    shell_complete=completing.workspaces,
    help="Only in this workspace; otherwise in all that know the device.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON; takes --yes.")
@pass_invocation
def revoke(invocation: Invocation, device: str, workspace: str | None, *, yes: bool, as_json: bool) -> int:
    """Shut DEVICE (a name, or the beginning of its ID) out: all others get a new key by themselves.

    What DEVICE has it keeps; it can read nothing that is synced from now on, and nobody takes anything
    from it. A device that is switched off gets the new key when it is back. Take away its access to the
    hub as well, where all that is pushed can be read: that is not autosync's to do.
    """
    config = invocation.load(on_disk=False)
    chosen = select(config, workspace)
    path = chosen.path if chosen else None
    if as_json and not yes:
        raise AutosyncError("Nobody can be asked with --json: nothing was changed", hint="Give --yes as well.")
    if not yes:
        _show(call(config.state_dir, "revoke", device=device, path=path, rehearse=True))
        if not _confirmed():
            click.echo("Nothing was changed.")
            return FAILED
    answer = call(config.state_dir, "revoke", device=device, path=path)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return OK
    for told in answer["workspaces"]:
        click.echo(f"{plain(told['name'])}: {plain(answer['device'])} is revoked; the key is a new one.")
    for line in _left_open(config, {told["path"] for told in answer["workspaces"]}):
        click.echo(line)
    return OK


def _left_open(config: Config, paths: Collection[str]) -> Iterator[str]:
    """Yield what to do about that which is not autosync's to take away, one line each."""
    yield "It keeps the files that it has. What it may still get at, until you change that as well:"
    hubs = [(p.workspace, re.sub(r"://[^/@]*@", "://", p.remote)) for p in config.paths if p.path in paths and p.remote]
    for workspace, hub in hubs:
        yield (
            f"  the hub {plain(hub)} of {plain(workspace)}, where it can read whatever is pushed: "
            "take away its key or password there"
        )
    if config.xmpp is not None:
        yield (
            f"  the XMPP account {plain(config.xmpp.jid)}, where it can see who is there, and delete what is said: "
            "change the password, then on each device that stays"
        )
    if config.ssh_address is not None or config.ssh_peers:
        yield "  your machines by ssh: take its key out of their authorized_keys"
    if not hubs and config.xmpp is None and config.ssh_address is None and not config.ssh_peers:
        yield "  nothing that is configured here (a hub, an XMPP account)"


def _confirmed() -> bool:
    try:
        return click.confirm("Revoke it?", default=False)
    except click.Abort:
        if sys.stdin.isatty():
            raise
    click.echo()
    raise AutosyncError("Nobody was there to say yes: nothing was changed", hint="Give --yes not to be asked.")


def _show(answer: dict[str, Any]) -> None:
    click.echo(f"{plain(answer['device'])} ({plain(answer['id'])}) will be shut out of:")
    for told in answer["workspaces"]:
        stay = ", ".join(plain(name) for name in told["stay"]) or "no other device"
        click.echo(f"  {plain(told['name'])}: the new key goes to this device and to {stay}")


def _state(device: dict[str, Any]) -> str:
    if device["this"]:
        return "this one, revoked" if device["state"] == "revoked" else "this one"
    return str(device["state"])


def _seen(device: dict[str, Any], now: datetime) -> str:
    if device["this"]:
        return "now"
    return "-" if device["seen"] is None else age((now - datetime.fromisoformat(device["seen"])).total_seconds())
