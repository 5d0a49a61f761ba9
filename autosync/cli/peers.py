"""``autosync peers``: how the other devices are reached, and what is being moved."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation, path_argument, select
from autosync.cli.table import age, plain, table
from autosync.config import Config
from autosync.control import call

_HEADS = ("DEVICE", "STATE", "BY", "ADDRESS", "RTT", "RATE", "USED")
_WIDEST_ADDRESS = 28
_UNITS = ("B", "kB", "MB", "GB", "TB")


@click.command(epilog="Example: autosync peers --json", short_help="Show how other devices are reached, and why so.")
@path_argument
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@pass_invocation
def peers(invocation: Invocation, path: str | None, *, as_json: bool) -> int:
    """Show by which way each other device is reached, how far it is, and why this way.

    BY is lan, public (the address in its configuration), ssh, reflector, xmpp, or store: on the same machine, with
    the same store.  RATE is that of the last large transfer.  The nearest device is asked first for what
    is not here.
    """
    config = invocation.load(on_disk=False)
    chosen = select(config, path)
    answer = call(config.state_dir, "peers", path=None if chosen is None else chosen.path)
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return OK
    now = datetime.now(tz=UTC)
    for line in [line for workspace in answer["workspaces"] for line in _lines(workspace, config, now)]:
        click.echo(line)
    return OK


def transfer_line(transfer: dict[str, Any], device: object) -> str:
    """Return what is being moved, in one line."""
    way = "from" if transfer["direction"] == "in" else "to"
    line = f"{size(transfer['bytes'])} {way} {plain(device)}"
    if transfer["rate"] is not None:
        line += f", {size(transfer['rate'])}/s"
    if transfer["resumed-at"]:
        line += f", gone on with at {size(transfer['resumed-at'])}"
    return line


def size(count: float) -> str:
    """Return a number of bytes in three digits."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    digits = 0 if unit == 0 or count >= 10 else 1
    return f"{count:.{digits}f} {_UNITS[unit]}"


def _lines(workspace: dict[str, Any], config: Config, now: datetime) -> list[str]:
    found = workspace["peers"]
    if not found:
        off = "direct connections are off here (`listen: none`)"
        why = off if config.listen is None else "no other device has been heard of"
        return [f"{plain(workspace['name'])}: {why}", ""]
    lines = [plain(workspace["name"]), *(f"  {line}" for line in table(_HEADS, [_row(peer, now) for peer in found]))]
    for peer in found:
        failed = [way for way in peer["ways"] if way["problem"]]
        why = "it is not reached" if failed and peer["state"] == "away" else plain(peer["why"])
        lines += ["", f"  {plain(peer['device'] or peer['address'])}: {why}"]
        lines += [f"    {transfer_line(transfer, peer['device'])}" for transfer in peer["transfers"]]
        lines += [f"    {plain(way['kind'])} {plain(way['address'])}: {plain(way['problem'])}" for way in failed]
    return [*lines, ""]


def _row(peer: dict[str, Any], now: datetime) -> tuple[object, ...]:
    address = str(peer["address"])
    if len(address) > _WIDEST_ADDRESS:
        address = f"{address[: _WIDEST_ADDRESS - 1]}…"
    rtt, rate, used = peer["rtt-ms"], peer["throughput"], peer["last-used"]
    return (
        peer["device"] or "-",
        peer["state"],
        peer["kind"] or "-",
        address,
        "-" if rtt is None else f"{rtt:.{0 if rtt >= 10 else 1}f} ms",
        "-" if rate is None else f"{size(rate)}/s",
        "-" if used is None else age((now - datetime.fromisoformat(used)).total_seconds()),
    )
