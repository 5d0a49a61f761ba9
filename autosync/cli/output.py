"""Writes long text: coloured and page by page on a terminal, byte for byte elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

import click


def is_terminal() -> bool:
    """Return whether a person reads what is printed."""
    return sys.stdout.isatty()


def tinted(text: str, **style: str | bool) -> str:
    """Return ``text`` in a colour, as :func:`click.style` names it; on a terminal that shows any."""
    if not is_terminal() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return click.style(text, **style)  # type: ignore[arg-type]  # each style has a type of its own


def printable(text: str) -> str:
    """Return text of a file as a terminal may have it: tabs stay, nothing else in it is obeyed."""
    if not is_terminal():
        return text
    return "".join(c if c.isprintable() or c in "\t\n" else c.encode("unicode_escape").decode() for c in text)


def write_pages(lines: Iterable[str]) -> None:
    """Write ``lines``, each with its own line end; bytes that are no UTF-8 stand in them as surrogates.

    On a terminal a pager shows them (``PAGER``, else less; ``LESS`` as git sets it), as they come.
    """
    if is_terminal():
        os.environ.setdefault("LESS", "FRX")
        click.echo_via_pager(_without_last_end(lines), color=True)
        return
    out = sys.stdout.buffer
    sys.stdout.flush()
    for line in lines:
        out.write(line.encode("utf-8", "surrogateescape"))
    out.flush()


def _without_last_end(lines: Iterable[str]) -> Iterator[str]:
    """Yield ``lines`` but for the last line end, which click adds."""
    end = ""
    for line in lines:
        yield end + line.removesuffix("\n")
        end = "\n" if line.endswith("\n") else ""
