"""``autosync manpage``: prints the manual page, made of what ``--help`` says."""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Collection, Iterator, Mapping

import click

from autosync import __version__
from autosync.cli.failures import OK

FILES = (
    ("~/.config/autosync/config.yaml, ~/.autosync", "the configuration; the first that exists is used"),
    ("FOLDER/.autosync", "settings of one working copy that travel with it"),
    ("~/.local/state/autosync", "the state directory: who this device is, the socket of the agent"),
)
ENVIRONMENT = (
    ("AUTOSYNC_CONFIG", "the configuration to use, as --config"),
    ("XDG_CONFIG_HOME, XDG_STATE_HOME", "where configuration and state lie instead of ~/.config and ~/.local/state"),
)
EXITS = (
    ("0", "all is well"),
    ("1", "an expected failure; the message says what to do next"),
    ("2", "the command line is wrong"),
    ("3", "a bug; the message names the file with the details"),
    ("130", "interrupted"),
)


@click.command(epilog="Example: autosync manpage > autosync.1", short_help="Print the manual page.")
@click.pass_context
def manpage(context: click.Context) -> int:
    """Print the manual page (man(7)) of this version: man -l autosync.1 shows it."""
    from autosync.cli.main import SECTIONS  # noqa: PLC0415  (which has this command in it)

    root = context.find_root().command
    assert isinstance(root, click.Group)  # noqa: S101  (it is ours)
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    click.echo(page(root, SECTIONS, time.strftime("%Y-%m-%d", moment)), nl=False)
    return OK


def page(root: click.Group, sections: Mapping[str, Collection[str]], date: str) -> str:
    """Return the page; ``sections`` are the names of commands by heading, ``date`` is ISO 8601."""
    return "\n".join(_lines(root, sections, date)) + "\n"


def _lines(root: click.Group, sections: Mapping[str, Collection[str]], date: str) -> Iterator[str]:
    context = click.Context(root, info_name="autosync")
    yield f'.TH AUTOSYNC 1 "{date}" "autosync {__version__}" "User Commands"'
    yield ".SH NAME"
    yield from _filled(rf"autosync \- {roff((root.help or '').rstrip('.'))}")
    yield ".SH SYNOPSIS"
    yield r".B autosync"
    yield r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGS\fR]..."
    yield ".SH OPTIONS"
    yield from _options(root, context)
    for section, names in sections.items():
        yield f'.SH "{section.upper()}"'
        for name in names:
            command = root.get_command(context, name)
            if command is not None:
                yield from _command(command, click.Context(command, info_name=name, parent=context), name)
    for heading, rows in (("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT), ("EXIT STATUS", EXITS)):
        yield f'.SH "{heading}"'
        for term, told in rows:
            yield from (".TP", rf"\fB{roff(term)}\fR", *_filled(roff(told)))
    yield ".SH SEE ALSO"
    yield r".BR git (1),"
    yield r".BR hg (1)"


def _command(command: click.Command, context: click.Context, words: str) -> Iterator[str]:
    """Yield the section of a command that is called by ``words``, and those of the commands below it."""
    usage = " ".join(["autosync", words, *command.collect_usage_pieces(context)])
    yield f'.SS "autosync {words}"'
    yield from _filled(rf"\fB{roff(usage)}\fR")
    for paragraph in re.split(r"\n\s*\n", command.help or ""):
        yield ".PP"
        yield from _filled(roff(" ".join(paragraph.replace("\b", "").split())))
    yield from _options(command, context)
    if command.epilog:
        yield ".PP"
        yield from _filled(roff(" ".join(command.epilog.split())))
    for name, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _command(below, click.Context(below, info_name=name, parent=context), f"{words} {name}")


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    parameters = command.get_params(context) if context.parent is None else command.params
    for parameter in parameters:
        if not isinstance(parameter, click.Option):  # its description says what it is
            continue
        record = parameter.get_help_record(context)
        if record is not None:
            term, told = record
            yield from (".TP", rf"\fB{roff(term)}\fR", *_filled(roff(" ".join(told.split())) or r"\&"))


def _filled(source: str) -> Iterator[str]:
    """Yield a paragraph in lines of the length that is asked for; roff fills them anew."""
    for line in textwrap.wrap(source, 78, break_long_words=False, break_on_hyphens=False):
        yield rf"\&{line}" if line.startswith((".", "'")) else line


def roff(text: str) -> str:
    """Return ``text`` as it is written in a source for roff (groff_char(7)); what stands in backticks is bold."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace('"', r"\(dq")
    escaped = "".join(c if c.isascii() else rf"\[u{ord(c):04X}]" for c in escaped)
    return re.sub(r"`([^`]*)`", r"\\fB\1\\fR", escaped)
