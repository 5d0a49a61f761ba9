"""Asks for a better message for a commit in a window, and keeps the commit from being pushed meanwhile."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

from autosync.control import call
from autosync.desktop.packages import WINDOW
from autosync.desktop.window import NO_WINDOW
from autosync.errors import AutosyncError

HELD_FOR = 30.0
"""Seconds for which the agent is asked to wait with pushing, again and again while somebody writes."""
_RENEWED = 10.0
_PATIENCE = 120.0
"""Seconds that the agent may take to ask the hub whether it has the commit already."""


def describe_in_window(state_dir: str, root: str, commit: str) -> None:
    """Have the user describe ``commit``, the last one in ``root``; nothing happens if he does not.

    A refusal is told in the window, with what he wrote.  Raises :class:`AutosyncError` if it is not the
    last one any more, or if no window can be shown.
    """
    answer = call(state_dir, "describe", path=root)
    if answer["commit"] != commit:
        raise AutosyncError("Another commit was made since then", hint="`autosync describe` words the last one.")
    text, problem = answer["message"], ""
    with held(state_dir, root):
        while True:
            asked = _ask(f"{answer['workspace']}: describe the last commit", text, problem)
            if asked is None or asked.strip() == answer["message"].strip() or not asked.strip():
                return
            text = asked
            try:
                call(state_dir, "describe", patience=_PATIENCE, path=root, commit=commit, message=text)
                return
            except AutosyncError as error:
                problem = f"{error.title}. {error.hint}"


@contextlib.contextmanager
def held(state_dir: str, root: str) -> Iterator[None]:
    """Keep the agent from committing and pushing in ``root`` while somebody writes; it ends by itself after a kill."""
    done = threading.Event()

    def renew() -> None:
        while not done.is_set():
            with contextlib.suppress(AutosyncError):  # the last word is whether the message was taken
                call(state_dir, "describe", path=root, hold=HELD_FOR)
            done.wait(_RENEWED)

    renewing = threading.Thread(target=renew, name="holding", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
        with contextlib.suppress(AutosyncError):
            call(state_dir, "describe", path=root, hold=0)


def _ask(title: str, text: str, problem: str) -> str | None:
    """Return what the user wrote, ``None`` if he did not want to.

    The window is a process of its own: a display that goes away ends whoever shows something on it.
    """
    window = subprocess.run(
        [sys.executable, "-P", "-m", "autosync.desktop.window"],
        input=json.dumps({"title": title, "text": text, "problem": problem}).encode(),
        stdout=subprocess.PIPE,
        check=False,
    )
    if window.returncode == 0:
        return str(json.loads(window.stdout)["text"])
    if window.returncode != NO_WINDOW:
        return None
    zenity = shutil.which("zenity")
    if zenity is None:
        raise AutosyncError(
            "No window can be shown to describe the commit",
            hint=f"Run `autosync describe`; for a window: apt install {WINDOW}",
        )
    shown = f"{problem}\n\n{text}" if problem else text
    asked = subprocess.run(
        [zenity, "--text-info", "--editable", f"--title={title}", "--width=560", "--height=320"],
        input=shown.encode("utf-8", "replace"),
        stdout=subprocess.PIPE,
        check=False,
    )
    return None if asked.returncode else asked.stdout.decode("utf-8", "replace").removeprefix(f"{problem}\n\n")
