"""The command ``autosync``: its options, its commands in sections, and how it ends."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Sequence

import click

from autosync import __version__
from autosync.cli.failures import exit_code_of
from autosync.cli.invocation import Invocation
from autosync.errors import AutosyncError

COMPLETING = "_AUTOSYNC_COMPLETE"
"""The variable by which a shell asks how a line may go on; click answers."""

# Imported when used: `autosync status` need not wait for the import of an XMPP library.
SECTIONS = {
    "Core": {
        "init": "autosync.cli.init:init",
        "invite": "autosync.cli.invite:invite",
        "join": "autosync.cli.join:join",
        "worktree": "autosync.cli.worktree:worktree",
        "import-config": "autosync.cli.import_config:import_config",
        "run": "autosync.cli.run:run",
        "install-service": "autosync.cli.service:install_service",
        "sync": "autosync.cli.steering:sync",
    },
    "Information": {
        "status": "autosync.cli.status:status",
        "devices": "autosync.cli.devices:devices",
        "shared": "autosync.cli.shared:shared",
        "peers": "autosync.cli.peers:peers",
        "conflicts": "autosync.cli.conflicts:conflicts",
        "explain": "autosync.cli.explain:explain",
        "web": "autosync.cli.web:web",
        "check": "autosync.cli.check:check",
        "doctor": "autosync.cli.doctor.command:doctor",
    },
    "Time travel": {
        "log": "autosync.cli.log:log",
        "diff": "autosync.cli.difference:diff",
        "show": "autosync.cli.difference:show",
        "restore": "autosync.cli.restore:restore",
        "undo": "autosync.cli.restore:undo",
    },
    "Control": {
        "gc": "autosync.cli.gc:gc",
        "reload": "autosync.cli.reload:reload",
        "pause": "autosync.cli.steering:pause",
        "resume": "autosync.cli.steering:resume",
        "revoke": "autosync.cli.devices:revoke",
        "resolve": "autosync.cli.conflicts:resolve",
        "release": "autosync.cli.explain:release",
        "describe": "autosync.cli.describe:describe",
    },
    "Branches of the hub": {
        "branches": "autosync.cli.subscriptions:branches",
        "subscribe": "autosync.cli.subscriptions:subscribe",
        "unsubscribe": "autosync.cli.subscriptions:unsubscribe",
    },
    "Desktop": {
        "desktop": "autosync.cli.desktop:desktop",
    },
    "Help": {
        "bug-report": "autosync.cli.bugreport.command:bug_report",
        "completion": "autosync.cli.completion:completion",
        "hgext": "autosync.cli.hgext:hgext",
        "manpage": "autosync.cli.manpage:manpage",
    },
    "Server": {
        "reflector": "autosync.cli.reflector:reflector",
    },
    "Try it": {
        "demo": "autosync.cli.demo.command:demo",
        "torture": "autosync.cli.torture:torture",
    },
}


class Sections(click.Group):
    """A group whose commands are imported when used and listed in sections."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return all names in the order of the sections."""
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, ``None`` if there is none of that name."""
        for commands in SECTIONS.values():
            if cmd_name in commands:
                module, _, attribute = commands[cmd_name].partition(":")
                found = getattr(importlib.import_module(module), attribute)
                assert isinstance(found, click.Command)  # noqa: S101  (of our own table)
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that ``args`` begin with; of one that there is not the error names the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib  # noqa: PLC0415  (nobody else needs it)

            if near := difflib.get_close_matches(args[0].lower(), self.list_commands(ctx), n=1):
                raise click.UsageError(f"{error.format_message()} Did you mean {near[0]!r}?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, one block per section."""
        width = max(len(name) for name in self.list_commands(ctx))
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                found = [(name, self.get_command(ctx, name)) for name in commands]
                formatter.write_dl(
                    [(name.ljust(width), command.get_short_help_str(80)) for name, command in found if command]
                )


@click.group(
    cls=Sections,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `autosync init PATH`. A command's own help has an example: `autosync init --help`.",
)
@click.option("--config", "config_option", metavar="FILE", type=click.Path(), help="Use this configuration file.")
@click.option("--verbose", "-v", is_flag=True, help="Log every step.")
@click.version_option(__version__, prog_name="autosync", message="%(prog)s %(version)s")
@click.pass_obj
def autosync(invocation: Invocation, config_option: str | None, *, verbose: bool) -> None:
    """Keep git and Mercurial working copies equal on all your machines, with nothing in your history."""
    invocation.config_option = config_option
    invocation.verbose = verbose


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if arguments is None and sys.getfilesystemencoding() != "utf-8":
        # Names are the same bytes on every device, and the agent tells them in UTF-8: a locale of another encoding
        # could neither take nor show them (PEP 540).
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  (this very line)
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be text, and a terminal need not know UTF-8.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are text files
    invocation = Invocation()
    if COMPLETING in os.environ:
        from autosync.cli.shells import be_asked  # noqa: PLC0415  (a shell asks, nobody else needs it)

        be_asked()

    def command() -> object:
        try:
            return autosync.main(arguments, prog_name="autosync", obj=invocation, standalone_mode=False)
        except AutosyncError as error:
            error.hint = invocation.reword(error.hint)
            raise

    return exit_code_of(command, lambda: invocation.state_dir, as_json=_wants_json(arguments))


def _wants_json(arguments: Sequence[str] | None) -> bool:
    """Return whether a program reads what is printed: also where the rest of the line makes no sense."""
    words = sys.argv[1:] if arguments is None else arguments
    return "--json" in itertools.takewhile(lambda word: word != "--", words)
