"""Words the message of a commit that autosync makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from autosync.core.model import Change, Entry, RelPath

_SIGNED = re.compile(r"By autosync on (.+), \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\.")
_NAMED = 3
"""Paths named in the subject line."""
_LISTED = 50
"""Paths listed in the body."""


def commit_message(changes: Sequence[Change], *, device: str, time: int) -> str:
    """Return subject and body: what was added, changed, renamed and removed, on which device, when.

    What the subject names is not listed again.
    ``time`` is in seconds since the epoch and shown in UTC.
    """
    lines = _lines(changes)
    subject = _subject(lines)
    stamp = datetime.fromtimestamp(time, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    listed = [f"{verb} {what}" for verb, what in lines[:_LISTED]] if len(lines) > _NAMED else []
    if len(lines) > _LISTED:
        listed.append(f"and {len(lines) - _LISTED} more")
    paragraphs = [[subject], listed, [f"By autosync on {device}, {stamp}."]]
    return "\n\n".join("\n".join(paragraph) for paragraph in paragraphs if paragraph) + "\n"


def maker_of(message: str) -> str | None:
    """Return the device whose autosync made the commit with ``message``, ``None`` if that was somebody else."""
    match = _SIGNED.fullmatch(message.rstrip().rpartition("\n")[2])
    return match[1] if match else None


def text_of(message: str) -> str:
    """Return a message of ours without the line that says who made the commit."""
    return message.rstrip().rpartition("\n")[0].rstrip()


def described(message: str, text: str) -> str:
    """Return a message of ours with ``text`` in the place of what it says; who made the commit stays.

    ``text`` is taken as git takes one (git-stripspace(1)): lines without spaces at their end, no empty
    lines around it and never two in a row.
    """
    lines: list[str] = []
    for line in text.replace("\0", "").splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    signed = message.rstrip().rpartition("\n")[2]
    return "\n".join(lines).rstrip() + f"\n\n{signed}\n"


def _subject(lines: Sequence[tuple[str, str]]) -> str:
    if not lines:
        return "Merge"
    if len(lines) <= _NAMED:
        return "; ".join(f"{verb} {what}" for verb, what in lines)
    counts: dict[str, int] = {}
    for verb, _ in lines:
        counts[verb] = counts.get(verb, 0) + 1
    return ", ".join(f"{verb} {n} {'file' if n == 1 else 'files'}" for verb, n in counts.items())


def _lines(changes: Sequence[Change]) -> list[tuple[str, str]]:
    removed: dict[Entry, list[RelPath]] = {}
    for change in changes:
        if change.old is not None and change.new is None:
            removed.setdefault(change.old, []).append(change.path)
    lines: list[tuple[str, str]] = []
    for change in changes:
        if change.old is None and change.new is not None:
            sources = removed.get(change.new)
            if sources:
                lines.append(("Rename", f"{_show(sources.pop(0))} to {_show(change.path)}"))
            else:
                lines.append(("Add", _show(change.path)))
        elif change.new is not None:
            lines.append(("Change", _show(change.path)))
    lines += [("Remove", _show(path)) for paths in removed.values() for path in paths]
    return lines


def _show(path: RelPath) -> str:
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
