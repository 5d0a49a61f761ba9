"""Makes text of anybody's fit for a popup: names of files are chosen by others."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST, LONGEST_TITLE = 301, 121
"""Characters of one line, and of a title, that are shown."""
MOST_LINES = 8
"""Lines of one popup that are shown."""


def plain(text: str, longest: int = LONGEST) -> str:
    """Return ``text`` in one line that shows what is there: nothing in it turns the writing or ends the line.

    What is not printable, direction marks among it (UAX #9), becomes an escape; what is long loses its middle.
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(shown) <= longest:
        return shown
    half = (longest - 1) // 2
    return f"{shown[:half]}…{shown[-half:]}"


def body(lines: Sequence[str], *, markup: bool) -> str:
    """Return the text of a popup; ``markup`` tells that its server reads it as markup (Desktop Notifications
    Specification, section Markup), so that no ``<b>`` in a name may be one."""
    shown = [plain(line) for line in lines if line]
    if len(shown) > MOST_LINES:
        shown[MOST_LINES - 1 :] = ["…"]
    if markup:
        shown = [line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in shown]
    return "\n".join(shown)
