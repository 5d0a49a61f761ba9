"""``autosync join``: makes this device a member of a workspace by the line that ``autosync invite`` printed."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any

import click

from autosync import eventloop
from autosync.channels.deaf import Deaf
from autosync.channels.opening import open_channel
from autosync.cli.adding import read_configuration
from autosync.cli.failures import FAILED, OK
from autosync.cli.firstsync import first_sync
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.joining import Plan, Settle, find_outdated, next_steps, perform, prepare, renew
from autosync.cli.progress import Progress
from autosync.cli.reload import reload_if_running, told
from autosync.cli.run import run_here
from autosync.cli.table import plain
from autosync.config import Config, PathConfig, parse
from autosync.core.candidates import CandidateKind
from autosync.errors import AutosyncError
from autosync.invitation import InvitationLine, reached, read_line
from autosync.ports import Piping

_LONGEST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for beside the line: see :func:`autosync.cli.joining.prepare`."""

    path: str | None
    workspace: str | None
    key_file: str | None
    settle: Settle | None = None


@click.command(
    epilog="Example: autosync join autosync1-ab3d… ~/notes. Without the line, as in autosync join ~/notes, it is asked "
    "for; - reads it from standard input: wl-paste | autosync join - ~/notes",
    short_help="Take part in a workspace, by a line from `invite`.",
)
@click.argument("line", required=False)
@click.argument("path", required=False, type=click.Path())
@click.option("--workspace", metavar="NAME", help="What the workspace is called here. Default: as there.")
@click.option("--key-file", metavar="FILE", type=click.Path(), help="Where its key is written. No file is replaced.")
@click.option("--no-run", is_flag=True, help="Do not start the agent if none is running.")
@click.option("--json", "as_json", is_flag=True, help="Print the result for programs.")
@pass_invocation
def join(
    invocation: Invocation,
    line: str | None,
    path: str | None,
    *,
    workspace: str | None,
    key_file: str | None,
    no_run: bool,
    as_json: bool,
) -> int:
    """Join the workspace of the invitation LINE, and keep the folder PATH in sync with it.

    PATH is made if it is not there (default: the workspace's name, in the current folder). A folder with files, or
    a checkout, is adopted: what is in it is merged with what the others have, nothing is deleted, and where both
    differ both are kept. An agent that runs takes it up at once; else it is started here.

    Other users of this machine can see the arguments of a command. The line is soon worthless, but with `--once`
    somebody could be quicker than you: leave it out and paste it when asked, or give - and pipe it in.
    """
    if line is not None and path is None and (os.sep in line or os.path.isdir(line)):
        line, path = None, line  # no line has a slash: it is the folder, and the line is asked for
    wanted = Wanted(path=path, workspace=workspace, key_file=key_file)
    return take_part(invocation, ask_for_line(line), wanted, no_run=no_run, as_json=as_json)


def take_part(invocation: Invocation, said: InvitationLine, wanted: Wanted, *, no_run: bool, as_json: bool) -> int:
    """Join by an invitation, bring the agent to keep what was joined, and tell of it; return the exit code."""
    tell = Progress(quiet=as_json)
    try:
        plan = eventloop.run(_join(invocation, said, tell, wanted))
    finally:
        tell.clear()
    if isinstance(plan, PathConfig):
        return _renewed(invocation, plan, tell, as_json=as_json)
    for text in next_steps(invocation, plan):
        tell.say(plain(text))
    answer = reload_if_running(plan.state_dir)
    if answer is not None:
        return _with_running_agent(invocation, plan, answer, tell, as_json=as_json)
    if no_run:
        _finish(invocation, plan, {"state": "not started"}, as_json=as_json)
        tell.say(f"\nNext: {invocation.command('run')}   starts the agent, which brings the files")
        return OK

    async def beside(config: Config) -> None:
        stop = threading.Event()
        try:
            result = await asyncio.to_thread(first_sync, config.state_dir, plan.addition.path, tell, stop)
        except AutosyncError as error:  # the agent goes on
            tell.say(f"{plain(error.title)}. {plain(invocation.reword(error.hint))}")
            return
        finally:
            stop.set()  # Ctrl-C ends the thread too
        _finish(invocation, plan, result, as_json=as_json)
        tell.say(f"{_outcome(result)} The agent runs here until Ctrl-C. {_later(invocation)}")

    tell.say("Starting the agent; Ctrl-C ends it.")
    tell.beside_a_log()
    return run_here(invocation, beside)


async def _join(
    invocation: Invocation,
    line: InvitationLine,
    tell: Progress,
    wanted: Wanted,
) -> Plan | PathConfig:
    """Fetch what is granted and join; return what was done, or the entry that has a new key now."""
    from autosync.store import StateDirectory  # noqa: PLC0415
    from autosync.trust.identity import load_or_create_identity  # noqa: PLC0415  (imports the cryptography)

    source, text = read_configuration(invocation)
    config = parse(text, source, os.environ)
    invocation.state_dir = config.state_dir
    if config.listen is None:
        raise AutosyncError(
            "An invitation is fetched over a direct connection, and those are off here (`listen: none`)",
            hint="Remove that key, or copy the key file by hand (docs/joining.md).",
        )
    device = StateDirectory(config.state_dir).device(config.device)
    if line.names(device):
        raise AutosyncError(
            "This invitation was made on this very device", hint="Run `autosync join` on the one that is to join."
        )
    identity = load_or_create_identity(config.state_dir)
    tell.step("Looking for the inviting device")
    async with reached(
        line,
        identity,
        device=device,
        name=config.device,
        host=config.listen[0],
        discovery=config.discovery,
        ssh=config.ssh,
        xmpp=_account(config, line),
    ) as inviter:
        offer = await inviter.offer()
        tell.say(f"{plain(inviter.name)} ({plain(inviter.address)}) invites to {plain(offer.workspace)}.")
        outdated = find_outdated(invocation, offer)
        if outdated is not None:
            renew(outdated, offer, await inviter.key_text())
            return outdated
        plan = prepare(
            invocation,
            offer,
            path=wanted.path,
            workspace=wanted.workspace,
            key_file=wanted.key_file,
            way=inviter.way,
            settle=wanted.settle,
        )
        key_text = await inviter.key_text()
        # In this thread and without a break: Ctrl-C comes before or after it, or undoes it.
        perform(plan, key_text)
    return plan


def _account(config: Config, line: InvitationLine) -> Piping | None:
    """Return the channel of this device's XMPP account, if it may lead to the inviter.  Raises :class:`ConfigError`."""
    if config.xmpp is None or all(way.kind is not CandidateKind.XMPP for way in line.candidates):
        return None
    # As another client of the account than the agent, which may run.
    account = replace(config, device=f"{config.device}-joins-{secrets.token_hex(3)}")
    channel = open_channel("xmpp", account, Deaf(), tags=tuple)
    return channel if isinstance(channel, Piping) else None


def _renewed(invocation: Invocation, path: PathConfig, tell: Progress, *, as_json: bool) -> int:
    """Say that a device that had been left out takes part again."""
    if as_json:
        click.echo(json.dumps({"workspace": path.workspace, "path": path.path, "state": "key renewed"}, indent=2))
    tell.say(f"{plain(path.path)} takes part again: {plain(path.key_file)} holds the workspace's new key.")
    tell.say(f"Next: {invocation.command('run')}   (an agent that runs still has the old key: end it first)")
    return OK


def ask_for_line(given: str | None) -> InvitationLine:
    """Return the invitation that was given, or is given when it is asked for.  Raises :class:`AutosyncError`."""
    return read_line(_line(given))


def _line(given: str | None) -> str:
    if given == "-" or (given is None and not sys.stdin.isatty()):
        return sys.stdin.read(_LONGEST)
    if given is None:
        return str(click.prompt("Paste the line of the invitation", hide_input=True, prompt_suffix=" (not shown): "))
    return given


def _with_running_agent(
    invocation: Invocation, plan: Plan, answer: dict[str, Any], tell: Progress, *, as_json: bool
) -> int:
    for text in told(invocation, answer):
        tell.say(plain(text))
    root = plan.addition.path
    if root not in answer["kept"]:
        failed = next((f for f in answer["failed"] if f["path"] == root), None)
        raise AutosyncError(
            f"The agent that runs has not taken up {root}" + (f": {failed['title']}" if failed else ""),
            hint=failed["hint"] if failed else "It has another configuration: start it again with this one.",
        )
    result = first_sync(plan.state_dir, root, tell, threading.Event())
    _finish(invocation, plan, result, as_json=as_json)
    tell.say(f"{_outcome(result)} {_later(invocation)}")
    return FAILED if result["state"] == "halted" else OK


def _outcome(result: dict[str, Any]) -> str:
    match result["state"]:
        case "in sync":
            conflicts = int(result["conflicts"])
            them = "1 file is" if conflicts == 1 else f"{conflicts} files are"
            return f"In sync. {them} there in two versions: `autosync conflicts`." if conflicts else "In sync."
        case "halted":
            return f"Halted: {plain(result['title'])}. {plain(result['hint'])} Nothing was lost."
        case _:
            return "No device was reached yet; the agent goes on trying."


def _later(invocation: Invocation) -> str:
    return f"{invocation.command('status')} shows how it goes on."


def _finish(invocation: Invocation, plan: Plan, result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result for programs."""
    if not as_json:
        return
    added = plan.addition
    shown = {
        "workspace": added.workspace,
        "path": added.path,
        "vcs": plan.folder.vcs.value,
        "key-file": added.key_file,
        "remote": added.remote,
        "config": plan.source,
        "inviter": plan.offer.device_name,
        "new-repository": plan.is_new_repository,
        "notes": [invocation.reword(note) for note in plan.notes],
        **result,
    }
    click.echo(json.dumps(shown, indent=2))
    sys.stdout.flush()
