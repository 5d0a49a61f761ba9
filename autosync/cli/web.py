"""``autosync web``: serve the page that shows, on this machine alone, what the agent does."""

from __future__ import annotations

import json
import threading
import webbrowser

import click

from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation


@click.command(epilog="Example: autosync web --open", short_help="Show it all on a page in the browser.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="a free one",
    help="Serve on this port.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the link as JSON.")
@pass_invocation
def web(invocation: Invocation, *, opens: bool, port: int, as_json: bool) -> int:
    """Serve a page that shows devices, activity, snapshots, conflicts, what is held back, and the settings.

    It is served to this machine alone, until Ctrl-C. The link that is printed lets in whoever follows it
    first; run the command again for another one, also while the page is served. The agent need not run.
    """
    from autosync.web.gate import LINK_SECONDS  # noqa: PLC0415  (with what follows: --help does not wait for it)
    from autosync.web.running import run_page  # noqa: PLC0415

    config = invocation.load(on_disk=False)

    def ready(link: str) -> None:
        if as_json:
            click.echo(json.dumps({"url": link, "valid-seconds": LINK_SECONDS}))
        else:
            click.echo(f"The page is at {link}")
            click.echo(
                f"  The link works once, within {LINK_SECONDS / 60:.0f} minutes; this command gives another one."
            )
        if opens:  # in a thread: it may wait for the browser, which waits for the page
            threading.Thread(target=_open, args=(link,)).start()

    run_page(config.state_dir, invocation.config_option, port, invocation.command("run"), ready)
    return OK


def _open(link: str) -> None:
    if not webbrowser.open(link):
        click.echo("No browser could be started here: open the link yourself.", err=True)
