"""Turns the section [dvcs] of dvcs-autosync's INI file into commands of ours."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from autosync.core.commanded.commands import PLACEHOLDERS, Action, Step

KEYS: Mapping[str, Action] = {
    "statuscmd": Action.STATUS,
    "addcmd": Action.ADD,
    "rmcmd": Action.REMOVE,
    "modifycmd": Action.MODIFY,
    "movecmd": Action.MOVE,
    "startupcmd": Action.STARTUP,
    "commitcmd": Action.COMMIT,
    "pushcmd": Action.PUSH,
    "pullcmd": Action.PULL,
    "remoteurlcmd": Action.REMOTE_URL,
}
_PARAMETERS: Mapping[Action, tuple[str, ...]] = {
    **dict.fromkeys((Action.ADD, Action.REMOVE, Action.MODIFY), ("{path}",)),
    Action.MOVE: ("{old}", "{new}"),
    Action.COMMIT: ("{message}",),
}
"""What each ``%s`` stood for, in its order."""
_OPERATORS = re.compile(r"[|&;<>()`$*?~\n]|^!")
_OWN = re.compile("|".join(re.escape(word) for words in PLACEHOLDERS.values() for word in words))


class Untranslatable(Exception):
    """A command cannot be written as argument lists; says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Speaks:
    """A version control that autosync speaks itself, and the remote that was pushed to (``None``: not told)."""

    vcs: str
    remote: str | None


def spoken(section: Mapping[str, str]) -> Speaks | None:
    """Return which of git and hg all these commands are, ``None`` if they are not of one of them."""
    programs = set()
    for key in ("addcmd", "commitcmd", "pushcmd", "pullcmd", "startupcmd"):
        for line in section.get(key, "").split("\n"):
            if words := line.split():
                programs.add(os.path.basename(words[0]).partition(".")[0])
    if programs not in ({"git"}, {"hg"}):
        return None
    vcs = programs.pop()
    asked = re.search(r"remote\.([\w-]+)\.url|paths\.([\w-]+)", section.get("remoteurlcmd", ""))
    pushed = re.fullmatch(r"\S+ push (?:-\S+ )*([\w-]+)(?: .*)?", section.get("pushcmd", "").strip())
    name = (asked[1] or asked[2]) if asked else pushed[1] if pushed else None
    return Speaks(vcs, name)


def translate(action: Action, text: str) -> tuple[Step, ...]:
    """Return the steps that ``text`` stands for: one per line, split into words as a shell would.

    Raises :class:`Untranslatable`.
    """
    if action is Action.STATUS and _OPERATORS.search(text.strip()):
        raise Untranslatable(
            "it was a line for a shell, and autosync runs none: put it into a script and write "
            "`status: [/path/to/script]` into the group `commands`; until then the listing of the files decides"
        )
    parameters = list(_PARAMETERS.get(action, ()))
    steps = []
    for line in filter(str.strip, text.split("\n")):
        try:
            words = shlex.split(line)
        except ValueError:
            raise Untranslatable("a quote in it is not closed; write it as a list by hand") from None
        if not words or not words[0] or words[0].startswith("-"):
            raise Untranslatable("it does not begin with a program; write it as a list by hand")
        steps.append(tuple(_word(word, parameters) for word in words))
    return tuple(steps)


def _word(word: str, parameters: list[str]) -> str:
    if word == "%s":
        if not parameters:
            raise Untranslatable("there is one %s more in it than there are values; write it as a list by hand")
        # A path serves every line; old and new name are each said once.
        return parameters[0] if parameters == ["{path}"] else parameters.pop(0)
    if "%s" in word:
        raise Untranslatable("a %s in it is only a part of an argument; write it as an argument by itself")
    if not word or _OWN.search(word):
        raise Untranslatable("an argument in it is empty or means something else here; write it as a list by hand")
    return word
