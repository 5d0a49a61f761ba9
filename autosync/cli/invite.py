"""``autosync invite``: lets another device into a workspace by one line."""

from __future__ import annotations

import json
import re
import shlex
import sys
from typing import Any

import click

from autosync.cli import completing
from autosync.cli.failures import OK, USAGE
from autosync.cli.invocation import Invocation, pass_invocation, select
from autosync.cli.table import age, plain, table
from autosync.config import Config
from autosync.control import call
from autosync.core.candidates import CandidateKind

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PATIENCE = 30.0
_OVER_OTHERS = (CandidateKind.SSH.value, CandidateKind.REFLECTOR.value, CandidateKind.XMPP.value)


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    """Return what ``90``, ``30s``, ``10m``, ``1h`` or ``7d`` is in seconds."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*([smhd]?)", value)
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else 0.0
    if not 1 <= seconds <= 7 * _UNITS["d"]:
        raise click.BadParameter("must be a time from 1s to 7d, for example 10m")
    return seconds


@click.command(
    epilog="Example: autosync invite notes --once. On the other device: autosync join, then paste the line.",
    short_help="Let another device in, by one line.",
)
@click.argument("workspace", required=False, shell_complete=completing.paths)
@click.option(
    "--expires",
    metavar="TIME",
    default="10m",
    show_default=True,
    callback=_seconds,
    help="How long the line is good for: 30s, 10m, 1h, 7d.",
)
@click.option("--once", is_flag=True, help="For one device: whoever comes second is refused, and you are told.")
@click.option("--no-qr", is_flag=True, help="Print no QR code.")
@click.option("--list", "listing", is_flag=True, help="List the open invitations and who has come by them.")
@click.option(
    "--cancel",
    metavar="ID",
    shell_complete=completing.invitations,
    help="Close an invitation, by its id in the list, or all of them: all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer for programs.")
@pass_invocation
def invite(
    invocation: Invocation,
    workspace: str | None,
    *,
    expires: float,
    once: bool,
    no_qr: bool,
    listing: bool,
    cancel: str | None,
    as_json: bool,
) -> int:
    """Print a line by which another device joins WORKSPACE (its name or a path in it).

    Whoever has the line within its time becomes a member and gets all files, so send it by a way that nobody else
    reads.
    It is of no use once it has expired, was used (--once), was cancelled, or the agent was restarted.
    The agent has to run, and the other device has to reach this one: on the same network, or by what the configuration
    has of `public-address`, `ssh-address`, `reflector` and `xmpp`.
    Who has joined is told by `autosync status`, the list and the log.
    """
    if listing and cancel is not None:
        click.echo("Error: --list and --cancel exclude each other.", err=True)
        return USAGE
    config = invocation.load(on_disk=False)
    if listing:
        _list(call(config.state_dir, "status")["invitations"], as_json=as_json)
    elif cancel is not None:
        closed = call(config.state_dir, "uninvite", id=cancel)
        closed_ids = ", ".join(i["id"] for i in closed["invitations"]) or "none was open"
        click.echo(json.dumps(closed, indent=2) if as_json else f"closed: {closed_ids}")
    else:
        chosen = select(config, workspace)
        path = chosen.path if chosen else None
        answer = call(config.state_dir, "invite", patience=_PATIENCE, path=path, seconds=expires, once=once)
        if as_json:
            click.echo(json.dumps(answer, indent=2))
        else:
            _show(invocation, config, answer, qr=not no_qr and sys.stdout.isatty())
    return OK


def _show(invocation: Invocation, config: Config, answer: dict[str, Any], *, qr: bool) -> None:
    """Print the line alone on standard output; what is said about it does not get in the way of a pipe."""
    click.echo(answer["line"])
    whom = "one device" if answer["once"] else "any number of devices"
    click.echo("\nOn the other device: autosync join   (it asks for the line)", err=True)
    take_back = invocation.command(f"invite --cancel {shlex.quote(answer['id'])}")
    places = ", ".join(map(_named, answer["ways"])) or "no address (is there a network?)"
    for text in (
        f"It invites {whom} to {plain(answer['workspace'])} for {age(answer['seconds'])}, reaching this one at",
        f"  {places}",
        "Keep it to yourself: who has it gets your files.",
        f"To take it back: {take_back}",
    ):
        click.echo(text, err=True)
    if config.reflector is not None and all(way["kind"] != CandidateKind.REFLECTOR.value for way in answer["ways"]):
        own = f"`reflector: {config.reflector}` leads other machines to themselves, so it is not in the line."
        click.echo(f"{own} Write there how they reach this one.", err=True)
    if qr:
        import segno  # noqa: PLC0415  (needed here alone)

        # Last, so that nothing moves it out of the window.  In capitals a QR code needs a third less room
        # (ISO/IEC 18004, alphanumeric mode); `join` takes both.
        segno.make(answer["line"].upper(), error="l", boost_error=False).terminal(compact=True, border=2)


def _named(way: dict[str, str]) -> str:
    """Return how a way is called: what leads over another machine by its kind too."""
    address = plain(way["address"])
    return f"{way['kind']} {address}" if way["kind"] in _OVER_OTHERS else address


def _list(invitations: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(invitations, indent=2))
        return
    if not invitations:
        click.echo("No invitation is open.")
        return
    rows = []
    for invitation in invitations:
        came = [f"{v['name']} ({v['address']})" for v in invitation["joined"]]
        came += [f"refused: {v['name']} ({v['address']})" for v in invitation["refused"]]
        kind = "one device" if invitation["once"] else "any"
        left = "used" if invitation["once"] and invitation["joined"] else age(invitation["seconds"])
        rows.append((invitation["id"], invitation["workspace"], left, kind, ", ".join(came) or "-"))
    for line in table(("ID", "WORKSPACE", "LEFT", "FOR", "CAME"), rows):
        click.echo(line)
