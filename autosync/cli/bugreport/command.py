"""``autosync bug-report``: the command."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import Any

import click

from autosync.cli.bugreport.gathering import gather
from autosync.cli.bugreport.redacting import Redactor
from autosync.cli.bugreport.sentences import Sentences, own_sentences
from autosync.cli.failures import OK
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.progress import Progress
from autosync.cli.table import plain
from autosync.config import DEFAULT_IGNORES
from autosync.errors import AutosyncError

_HEAD = """\
Report of a bug in autosync.

What autosync itself says stands here as it is. Everything else has another name, the same for the same thing
everywhere: workspace1, device2, path parts, addresses, accounts, ids, texts of others. Passwords and keys are
left out. Read it before you pass it on.
"""
_TOLD = {
    "versions": "versions of autosync, Python, its libraries, git, hg and the system",
    "counts": "how many working copies, devices, conflicts and so on there are",
    "config": "the configuration, with other names",
    "status": "what the agent says of itself and its working copies, with other names",
    "doctor": "what `autosync doctor` finds, with other names",
    "log": "the last lines of the agent's log, with other names",
    "crashes": "where autosync has crashed lately",
}


@click.command(
    "bug-report",
    epilog="Example: autosync bug-report -o report.txt",
    short_help="Gather what helps to find a bug; sends nothing.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="Where to write it; it must not exist yet, - is standard output.  [default: a new file here]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of writing a file.")
@pass_invocation
def bug_report(invocation: Invocation, output: str | None, *, as_json: bool) -> int:
    """Gather in one text file what helps to find a bug. Nothing is sent anywhere.

    In it are versions, the configuration, what `status` and `doctor` say, the last lines of the log and where autosync
    has crashed. Passwords and keys are left out. All that is not autosync's own has another name, the same everywhere:
    names of workspaces, devices, files and branches, addresses, accounts, what other programs said.
    """
    if output not in (None, "-") and os.path.lexists(output):
        raise AutosyncError(f"{output} exists already; nothing was written", hint="Name another place with -o.")
    with Progress(quiet=as_json) as tell:
        look = partial(tell.step, "Looking at everything")
        report = tell.during(lambda: redact(gather(invocation), own_sentences()), look)
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return OK
    text = _HEAD + "".join(f"\n== {key}: {_TOLD[key]}\n\n{_shown(key, part)}\n" for key, part in report.items())
    if output == "-":
        click.echo(text, nl=False)
        return OK
    name = output or time.strftime("autosync-bug-report-%Y%m%d-%H%M%S.txt")
    _write(name, text)
    click.echo(f"{plain(name)} is written; nothing was sent. In it are:")
    for told in _TOLD.values():
        click.echo(f"  {told}")
    click.echo("Read it, then attach it to your report.")
    return OK


def redact(gathered: dict[str, Any], sentences: Sentences) -> dict[str, Any]:
    """Return what was gathered without what is not autosync's own."""
    redactor = Redactor(sentences)
    # First what is configured: these are names, also where they are words of autosync's own.
    config = redactor.value(_without_defaults(gathered["config"]))
    versions, counts = gathered["versions"], gathered["counts"]
    rest = {key: redactor.value(gathered[key]) for key in ("status", "doctor")}
    log = gathered["log"]
    lines = [_log_line(redactor, row) for row in log] if isinstance(log, list) else redactor.value(log)
    crashes = [
        {"class": redactor.class_name(row["class"]), "says": redactor.text(row["says"]), "places": row["places"]}
        for row in gathered["crashes"]
    ]
    return {"versions": versions, "counts": counts, "config": config, **rest, "log": lines, "crashes": crashes}


def _without_defaults(config: Any) -> Any:
    """Return a configuration of which only those ignore patterns are left that the user wrote."""
    for path in config.get("paths", ()):
        path["ignore"] = [pattern for pattern in path["ignore"] if pattern not in DEFAULT_IGNORES]
    return config


def _log_line(redactor: Redactor, row: dict[str, Any]) -> str:
    """Return a record in one line; of those of other programs no more than that they were."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row["time"]))
    if not row["logger"].startswith("autosync"):
        return f"{moment} {row['level']} (of a library)"
    template, values = row["template"], [v if isinstance(v, int | float) else redactor.text(v) for v in row["values"]]
    try:
        said = redactor.template(template) % tuple(values) if values else redactor.text(template)
    except (TypeError, ValueError):
        said = redactor.text(template)
    line = f"{moment} {row['level']} {row['logger']}: {said}"
    if error := row.get("error"):
        line += (
            f" [{redactor.class_name(error['class'])}: {redactor.text(error['says'])}; {', '.join(error['places'])}]"
        )
    return line


def _shown(key: str, part: object) -> str:
    if key == "log" and isinstance(part, list):
        return "\n".join(part)
    return json.dumps(part, indent=2)


def _write(name: str, text: str) -> None:
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise AutosyncError(
            f"{name}: cannot be written: {error.strerror}", hint="Name another place with -o, or - for the terminal."
        ) from None
