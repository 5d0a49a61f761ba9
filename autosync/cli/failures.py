"""Turns every way a command can end into words for the user and an exit code."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from autosync import __version__
from autosync.causes import STARVED, shortage_of
from autosync.cli.table import plain
from autosync.errors import AutosyncError

OK = 0
FAILED = 1
USAGE = 2
BUG = 3
INTERRUPTED = 130


def exit_code_of(
    action: Callable[[], object], report_directory: Callable[[], str | None], *, as_json: bool = False
) -> int:
    """Run ``action`` and return the exit code; whatever went wrong is told on standard error.

    An integer that ``action`` returns is the exit code.  ``report_directory`` tells where the
    traceback of a bug is kept.  ``as_json`` says that somebody reads standard output as JSON: he finds
    ``{"error": {"title", "hint", "exit-code"}}`` there.
    """
    try:
        code = action()
        # A reader that has gone shows at the last write: inside this `try`, not at exit.
        sys.stdout.flush()
    except BrokenPipeError:
        # `autosync status | head`: nobody reads any more, also not what Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:
        failure = _failure_of(error, report_directory())
        if isinstance(error, click.ClickException):
            error.show()
        else:
            _say(failure.text)
        if as_json:
            _print_json(failure)
        return failure.code
    return code if isinstance(code, int) else OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """What went wrong, in words: ``text`` is what a person is told."""

    code: int
    title: str
    hint: str = ""
    text: str = ""


def _failure_of(error: BaseException, directory: str | None) -> _Failure:
    if isinstance(error, click.ClickException):
        return _Failure(code=USAGE if isinstance(error, click.UsageError) else FAILED, title=error.format_message())
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _Failure(code=INTERRUPTED, title="Interrupted", text="Interrupted.")
    if isinstance(error, AutosyncError):
        return _deliberate([error])
    if isinstance(error, BaseExceptionGroup):
        deliberate, rest = error.split(AutosyncError)
        if rest is None and deliberate is not None:
            return _deliberate(_leaves(deliberate))
        return _bug(error, directory)
    if isinstance(error, OSError):
        if error.errno in STARVED and (shortage := shortage_of(error, os.fsencode(os.getcwd()))) is not None:
            return _deliberate([shortage])
        if error.filename is not None:
            title, hint = (
                f"{os.fsdecode(error.filename)}: {error.strerror}",
                "Check the path, its rights and free space.",
            )
            return _Failure(code=FAILED, title=title, hint=hint, text=f"Error: {title}\n  {hint}")
    return _bug(error, directory)


def _deliberate(errors: Sequence[AutosyncError]) -> _Failure:
    text = "\n".join(f"Error: {error}" for error in errors)
    title = "; ".join(error.title for error in errors)
    return _Failure(code=FAILED, title=title, hint=" ".join(error.hint for error in errors if error.hint), text=text)


def _print_json(failure: _Failure) -> None:
    told = {"title": failure.title, "hint": failure.hint, "exit-code": failure.code}
    with contextlib.suppress(BrokenPipeError):
        click.echo(json.dumps({"error": told}, indent=2))


def _leaves(group: BaseExceptionGroup[AutosyncError]) -> list[AutosyncError]:
    found: list[AutosyncError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _say(text: str) -> None:
    click.echo("\n".join(plain(line) for line in text.split("\n")), err=True)


def _bug(error: BaseException, directory: str | None) -> _Failure:
    """Keep the traceback in a file, and return what to tell of it."""
    text = f"autosync {__version__}, Python {sys.version}\n" + "".join(traceback.format_exception(error))
    place = directory if directory and os.path.isdir(directory) else tempfile.gettempdir()
    prefix = time.strftime("autosync-crash-%Y%m%dT%H%M%S-")
    try:
        fd, name = tempfile.mkstemp(prefix=prefix, suffix=".txt", dir=place)  # mode 0600
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:
        _say(text)
        name = "above"
    summary = traceback.format_exception_only(error)[-1].strip()
    title = f"autosync failed in a way it should not: {summary}"
    hint = (
        f"Your files are as they were. The details are in {name}; please report them. "
        "`autosync bug-report` gathers what helps, without what is yours."
    )
    return _Failure(code=BUG, title=title, hint=hint, text=f"Bug: {title}\n  {hint}")
