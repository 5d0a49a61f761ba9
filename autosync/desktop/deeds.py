"""Does what the buttons of popups ask for: each by the agent, as the command line would."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from typing import Any

from autosync.cli.adding import write_configuration
from autosync.config import add_ignore
from autosync.control import call
from autosync.desktop.launching import outside
from autosync.desktop.places import place_of
from autosync.desktop.popup import Deed, Describe, Ignore, Release, Resolve, Show
from autosync.errors import AutosyncError

_PATIENCE = 60.0


class Deeds:
    """What can be asked for; every method blocks and raises :class:`AutosyncError`.

    ``source`` is the configuration file, ``state_dir`` the agent's; ``describe`` asks for a commit's message.
    ``resolved`` is told of each conflict that was finished: the root and the path.
    """

    def __init__(
        self,
        source: str,
        state_dir: str,
        *,
        describe: Callable[[str, str], None],
        resolved: Callable[[str, str], None],
    ) -> None:
        self._source = source
        self._state_dir = state_dir
        self._describe = describe
        self._resolved = resolved

    def do(self, deed: Deed) -> None:
        """Do what a button asks for."""
        match deed:
            case Show():
                show_folder(os.path.dirname(place_of(deed.root, deed.path)))
            case Resolve():
                self._resolve(deed)
            case Release():
                self._release(deed)
            case Ignore():
                self._ignore(deed)
            case Describe():
                self._describe(deed.root, deed.commit)

    def _resolve(self, deed: Resolve) -> None:
        copy = os.path.relpath(place_of(deed.root, deed.copy), deed.root)
        answer = self._ask("resolve", path=deed.root, file=copy, keep=deed.keep)
        if "choose" in answer:
            raise AutosyncError(
                f"{deed.path} has more than two versions by now", hint="`autosync conflicts` shows them all."
            )
        self._resolved(deed.root, deed.path)

    def _release(self, deed: Release) -> None:
        root = os.path.realpath(deed.root)
        places = [place_of(root, path) for path in deed.paths] or [root]
        expected = {"expected": deed.count} if deed.count else {}
        answers = [self._ask("release", path=place, restore=deed.restore, **expected) for place in places]
        refused = [f"{path}: {why}" for answer in answers for path, why in answer["refused"].items()]
        if refused:
            raise AutosyncError("Not all was brought back", hint="; ".join(refused[:3]))
        if not any(answer["released"] for answer in answers):
            raise AutosyncError("Nothing of it is held back any more", hint="`autosync explain` tells what is.")

    def _ignore(self, deed: Ignore) -> None:
        patterns = [pattern_of(os.path.relpath(place_of(deed.root, path), deed.root)) for path in deed.paths]
        with open(self._source, encoding="utf-8", newline="") as file:
            text = file.read()
        write_configuration(self._source, add_ignore(text, deed.root, patterns, self._source, os.environ))
        self._ask("reload")

    def _ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        return call(self._state_dir, command, patience=_PATIENCE, **arguments)


def pattern_of(path: str) -> str:
    """Return the pattern that names ``path``, below the root, and nothing else (gitignore(5)).

    A line cannot hold the end of a line: any character stands for it.
    """
    escaped = "".join("\\" + c if c in "\\*?[ " else "?" if c in "\r\n" else c for c in path)
    return "/" + escaped


def show_folder(directory: str) -> None:
    """Open ``directory`` in the user's file manager (xdg-open(1)).

    Never a file: what opens a file may run it.  Raises :class:`AutosyncError`.
    """
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            outside(["xdg-open", directory], os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            timeout=20,
            check=True,
        )
        return
    raise AutosyncError("No file manager could be opened", hint=f"The folder is {directory}")
