"""Answers what the page asks, and does what it is told to: each a question that is known here by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from autosync.errors import AutosyncError
from autosync.web.settings import list_settings
from autosync.web.versions import side_by_side
from autosync.web.watching import Ask

Question = Mapping[str, Any]

LONG = 120.0
"""Seconds that the restoring of many files may take."""


class Asking:
    """The questions, to be asked in a thread.

    ``ask`` is the agent's control socket, ``option`` the configuration that the page was started with.
    """

    def __init__(self, ask: Ask, option: str | None) -> None:
        self._ask = ask
        self._option = option
        self._answers: Mapping[str, Callable[[Question], dict[str, Any]]] = {
            "settings": lambda _question: list_settings(self._option),
            "versions": self._versions,
            "resolve": lambda q: ask("resolve", path=_text(q, "path"), file=_text(q, "file"), keep=_text(q, "keep")),
            "release": self._release,
            "pause": lambda q: ask("pause", path=_text(q, "path")),
            "resume": lambda q: ask("resume", path=_text(q, "path")),
            "sync": lambda q: ask("sync", path=_text(q, "path")),
            "history": lambda q: ask("history", **_at(q, "before", "limit")),
            "diff": lambda q: ask("diff", **_at(q, "from", "to", "after", "limit")),
            "restore": lambda q: ask("restore", patience=LONG, **_at(q, "at", "dry_run", "expected")),
            "undo": lambda q: ask("undo", patience=LONG, **_at(q, "at", "dry_run", "expected")),
        }

    def answer(self, question: object) -> dict[str, Any]:
        """Return the answer to ``{"ask": NAME, ...}``.  Raises :class:`AutosyncError`."""
        name = question.get("ask") if isinstance(question, dict) else None
        answer = self._answers.get(name) if isinstance(name, str) else None
        if answer is None or not isinstance(question, dict):
            raise AutosyncError("The page asked what is not known here", hint="Load it again.")
        return answer(question)

    def _versions(self, question: Question) -> dict[str, Any]:
        """Only what the agent lists as a conflict is read: the page names no other file."""
        root, file, copy = (_text(question, key) for key in ("path", "file", "copy"))
        listed = self._ask("conflicts", path=root)["conflicts"]
        row = next((row for row in listed if (row["file"], row["copy"]) == (file, copy)), None)
        if row is None:
            raise AutosyncError("This conflict is finished", hint="Nothing is left to be done.")
        return side_by_side(row["root"], file, copy)

    def _release(self, question: Question) -> dict[str, Any]:
        expected = {key: question[key] for key in ("expected",) if question.get(key) is not None}
        answer = self._ask("release", path=_full(question), restore=question.get("restore") is True, **expected)
        if not answer["released"] and not answer["refused"]:
            raise AutosyncError(
                "Nothing was held there any more",
                hint="If it is still listed, release the whole working copy: its name may not be text.",
            )
        return answer


def _at(question: Question, *keys: str) -> dict[str, Any]:
    """Return the arguments ``keys`` as they are, for the agent to judge, and the path that they are about."""
    return {"path": _full(question), **{key: question[key] for key in keys if key in question}}


def _full(question: Question) -> str:
    """Return the absolute path of ``file`` below the working copy at ``path``, of itself where none is named."""
    root = os.path.realpath(_text(question, "path"))
    return os.path.join(root, _text(question, "file")) if question.get("file") else root


def _text(question: Question, key: str) -> str:
    """Return what can be a name of the file system.  Raises :class:`AutosyncError` for anything else."""
    value = question.get(key)
    try:
        if isinstance(value, str) and b"\0" not in os.fsencode(value):
            return value
    except UnicodeEncodeError:  # half a character that stands for no byte
        pass
    raise AutosyncError(f"The page did not say which {key}", hint="Load it again.")
