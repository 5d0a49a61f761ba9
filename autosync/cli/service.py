"""``autosync install-service``: have the agent start by itself."""

from __future__ import annotations

import json
import os
import re
import shlex

import click

from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.table import plain
from autosync.config import Config, Vcs, locate
from autosync.control import NotRunning, call
from autosync.service.installing import Outcome, Wishes, install, uninstall


@click.command(
    "install-service",
    epilog="Example: autosync install-service",
    short_help="Have the agent start by itself at login.",
)
@click.option("--uninstall", "removes", is_flag=True, help="Stop it, and remove what was written.")
@click.option("--headless", is_flag=True, help="For a server: run with --headless, and put nothing into a menu.")
@click.option(
    "--sandbox/--no-sandbox",
    "sandbox",
    default=None,
    help="Whether programs it runs are kept from gaining rights, as by sudo.  [default: unless you configured some]",
)
@click.option(
    "--name", default="autosync", show_default=True, metavar="NAME", help="Name of the service, for a second agent."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@pass_invocation
def install_service(
    invocation: Invocation,
    *,
    removes: bool,
    headless: bool,
    sandbox: bool | None,
    name: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Have the agent start by itself whenever you log in, and start it now.

    It becomes a service of your own systemd: nothing here needs root. Without one, an entry of the
    desktop's autostart has the same effect at the next login. An entry in the menu opens the web page.

    Run it again after an upgrade, or with other options: it rewrites its own files and no others; what you
    changed with `systemctl --user edit` stays.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise click.BadParameter("use letters, digits and _ . - only", param_hint="--name")
    if removes:
        outcome = uninstall(name, os.environ, rehearse=dry_run)
    else:
        config = invocation.load(on_disk=False)
        wishes = Wishes(
            name=name,
            options=_options(invocation),
            headless=headless,
            sandbox=_runs_nothing(config) if sandbox is None else sandbox,
            agent=_running(config),
        )
        outcome = install(wishes, os.environ, rehearse=dry_run)
    if as_json:
        click.echo(json.dumps(_described(outcome, name, dry_run=dry_run), indent=2))
        return OK
    for line in _lines(outcome, dry_run=dry_run):
        click.echo(plain(line))
    if not removes:
        for line in _how_to_go_on(invocation, outcome, name):
            click.echo(plain(line))
    return OK


def _options(invocation: Invocation) -> list[str]:
    """Return the options by which the service finds the same configuration: the place may be the environment's."""
    if invocation.config_option is None and not {"AUTOSYNC_CONFIG", "XDG_CONFIG_HOME"} & os.environ.keys():
        return []
    return ["--config", locate(invocation.config_option, os.environ)]


def _runs_nothing(config: Config) -> bool:
    """Return whether no program is configured that is to be run: those may use sudo."""
    hooks = getattr(config, "on_update", None) or any(getattr(path, "on_update", None) for path in config.paths)
    return not hooks and not any(path.backend is Vcs.COMMAND for path in config.paths)


def _running(config: Config) -> int | None:
    try:
        return int(call(config.state_dir, "status")["agent"]["pid"])
    except NotRunning:
        return None


def _described(outcome: Outcome, name: str, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry-run": dry_run,
        "kind": outcome.kind,
        "name": name,
        "program": outcome.program,
        "written": outcome.placing.written,
        "unchanged": outcome.placing.kept,
        "removed": outcome.placing.removed,
        "replaced": outcome.placing.replaced,
        "ran": outcome.ran,
        "notes": outcome.notes,
    }


def _lines(outcome: Outcome, *, dry_run: bool) -> list[str]:
    would = "would be " if dry_run else ""
    lines = [f"{would}written: {path}" for path in outcome.placing.written]
    lines += [f"{would}left as it is: {path}" for path in outcome.placing.kept]
    lines += [f"{would}removed: {path}" for path in outcome.placing.removed]
    lines += [f"{would}run: {command}" for command in outcome.ran]
    return lines + outcome.notes


def _how_to_go_on(invocation: Invocation, outcome: Outcome, name: str) -> list[str]:
    if outcome.kind == "autostart":
        now = invocation.command("run")
        return [f"No systemd of yours runs here: your desktop starts it at the next login. Until then: {now}"]
    user = shlex.quote(os.environ.get("USER") or str(os.geteuid()))
    return [
        f"How it is:  systemctl --user status {name}",
        f"Its log:    journalctl --user -u {name} -f",
        f"Run it also while nobody is logged in:  loginctl enable-linger {user}",
    ]
