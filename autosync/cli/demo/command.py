"""The command ``autosync demo``."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import click

from autosync.cli.demo.fleet import Fleet
from autosync.cli.demo.hosting import HOSTINGS
from autosync.cli.demo.livelog import LiveLog
from autosync.cli.demo.script import is_equal, play
from autosync.cli.failures import FAILED, OK
from autosync.errors import AutosyncError

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(epilog="Example: autosync demo --once --json")
@click.option("--once", is_flag=True, help="Do the edits, compare the folders and end.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print the result as JSON.")
@click.option(
    "--channel",
    type=click.Choice(["lan", "xmpp"]),
    default="lan",
    show_default=True,
    help="Direct links, or a Prosody that is started for the demo (with the hub for what is large).",
)
@click.option(
    "--vcs", type=click.Choice(list(HOSTINGS)), default="git", show_default=True, help="What the folders are kept in."
)
@click.option(
    "--directory", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where to make it."
)
@click.option("--keep", is_flag=True, help="Leave the folder behind.")
def demo(*, once: bool, as_json: bool, channel: str, vcs: str, directory: Path, keep: bool) -> int:
    """Run three devices on this machine and watch them stay equal.

    A hub and the devices laptop, desktop and server get a folder each below ./demo, and an
    agent each. The demo edits some files by itself and tells when which device had them;
    then it is your turn, until Ctrl-C, which ends the agents and removes ./demo again.
    """
    as_json = as_json and once
    fleet = Fleet(directory.absolute(), xmpp=channel == "xmpp", hosting=HOSTINGS[vcs]())

    def show(line: str) -> None:
        if not as_json:
            click.echo(line)

    for ending in _ENDINGS:  # they end it as Ctrl-C does
        signal.signal(ending, signal.default_int_handler)
    remove = not keep
    try:
        show("Starting a hub and three devices ...")
        fleet.prepare()
        fleet.start()
        for device in fleet.devices:
            show(f"  {device.name:8} {device.path}")
        log = LiveLog(fleet.devices, show)
        try:
            results = play(fleet, log, show)
            if once:
                return _conclude(fleet, results, channel, as_json=as_json)
            show("")
            show("Your turn: edit in one of the folders above and see it arrive in the others.")
            show("Ctrl-C ends the demo" + (" and leaves the folder." if keep else " and removes its folder."))
            _follow(log)
        except KeyboardInterrupt:
            if once:
                raise
        finally:
            log.stop()
        show("")
        return OK
    except AutosyncError:
        remove = False  # what the error tells the user to read lies there
        raise
    finally:
        fleet.stop(remove=remove)
        if remove or keep:
            show("The demo has ended.")


def _follow(log: LiveLog) -> None:
    """Show what happens until a signal ends it.

    A flag, and no exception: that may be raised where Python drops it, in the middle of a destructor.
    """
    ended = threading.Event()
    for ending in _ENDINGS:
        signal.signal(ending, lambda _number, _frame: ended.set())
    while not ended.is_set():
        log.pump(0.2)


def _conclude(fleet: Fleet, results: list[dict[str, object]], channel: str, *, as_json: bool) -> int:
    equal = all(r["equal"] for r in results) and is_equal(fleet)
    if as_json:
        report = {"equal": equal, "channel": channel, "trees": fleet.trees(), "steps": results}
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo("")
        click.echo("All three folders are equal." if equal else "The folders are NOT equal.")
    return OK if equal else FAILED
