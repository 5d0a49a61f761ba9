"""Turns every way a command can end into words for the user and an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable

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


def exit_code_of(action: Callable[[], object], report_directory: Callable[[], str | None]) -> int:
    """Run ``action`` and return the exit code; whatever went wrong is told on standard error.

    An integer that ``action`` returns is the exit code.  ``report_directory`` tells where the
    traceback of a bug is kept.
    """
    try:
        code = action()
        # A reader that has gone shows at the last write: inside this `try`, not at exit.
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        error.show()
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        _say("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # `autosync status | head`: nobody reads any more, also not what Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except BaseExceptionGroup as group:
        deliberate, rest = group.split(AutosyncError)
        if rest is not None or deliberate is None:
            return _report_bug(group, report_directory())
        for leaf in _leaves(deliberate):
            _tell(leaf)
        return FAILED
    except AutosyncError as error:
        _tell(error)
        return FAILED
    except OSError as error:
        if error.errno in STARVED and (shortage := shortage_of(error, os.fsencode(os.getcwd()))) is not None:
            _tell(shortage)
            return FAILED
        if error.filename is None:
            return _report_bug(error, report_directory())
        _say(f"Error: {os.fsdecode(error.filename)}: {error.strerror}\n  Check the path, its rights and free space.")
        return FAILED
    except Exception as error:
        return _report_bug(error, report_directory())
    return code if isinstance(code, int) else OK


def _leaves(group: BaseExceptionGroup[AutosyncError]) -> list[AutosyncError]:
    found: list[AutosyncError] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _tell(error: AutosyncError) -> None:
    _say(f"Error: {error}")


def _say(text: str) -> None:
    click.echo("\n".join(plain(line) for line in text.split("\n")), err=True)


def _report_bug(error: BaseException, directory: str | None) -> int:
    """Keep the traceback in a file, tell where, and return the exit code of a bug."""
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
    _say(
        f"Bug: autosync failed in a way it should not: {summary}\n"
        f"  Your files are as they were. The details are in {name}; please report them."
    )
    return BUG
