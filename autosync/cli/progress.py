"""Shows how far a long operation is: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PAUSE = 10.0
"""Seconds between two lines where no bar can be shown."""
_FRAMES = 5
"""A second; a terminal far away need not repaint more often."""

T = TypeVar("T")


class Progress:
    """Tells on standard error what happens; a context manager that takes the bar away at the end.

    On a terminal one line is replaced by the next; the rest of the screen stays as it is.  ``quiet``
    tells nothing at all.  ``now`` is a clock in seconds.
    """

    def __init__(self, *, quiet: bool = False, now: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._has_bar = not quiet and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._beside_log = False
        self._now = now
        self._told_at = now()
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()

    def beside_a_log(self) -> None:
        """From here on there is no bar: a log is written to the same terminal, and tells the same."""
        self.clear()
        self._beside_log = True

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)

    def step(self, text: str, *, done: float = 0, total: float | None = None) -> None:
        """Show what is being done and, if ``total`` is known, how much of it is ``done``."""
        if self._quiet or self._beside_log:
            return
        if self._has_bar:
            self._paint(text, done, total)
        elif self._now() - self._told_at >= PAUSE:
            self._told_at = self._now()
            click.echo(text if total is None else f"{text}: {done:,.0f} of {total:,.0f}", err=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def during(self, work: Callable[[], T], look: Callable[[], None]) -> T:
        """Return what ``work()`` does in a thread of its own; meanwhile ``look()`` is called now and then, to tell.

        Ctrl-C ends the wait at once; the thread then keeps no program from ending.
        """
        outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                outcome.put((work(), None))
            except BaseException as error:
                outcome.put((None, error))

        threading.Thread(target=run, daemon=True, name="work").start()
        while True:
            try:
                result, error = outcome.get(timeout=2 / _FRAMES)
            except queue.Empty:
                look()
                continue
            if error is not None:
                raise error
            return result  # type: ignore[return-value]  # set where there is no error

    def _paint(self, text: str, done: float, total: float | None) -> None:
        if self._bar is None:
            self._bar = _new_bar()
            self._bar.start()
            self._bar.add_task("", total=None)
        (task,) = self._bar.task_ids
        self._bar.update(task, description=text, completed=done, total=total)


def _new_bar() -> Bar:
    # Not for those who look at no terminal: it takes a tenth of a second.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    told = Column(no_wrap=True, overflow="ellipsis", ratio=3)
    return Bar(
        TextColumn("{task.description}", markup=False, table_column=told),  # names come from others
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        expand=True,
        refresh_per_second=_FRAMES,
        redirect_stdout=False,
        redirect_stderr=False,
    )
