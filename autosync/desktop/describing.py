"""Asks for a better message for a commit in a window, and keeps the commit from being pushed meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence

from autosync.control import call
from autosync.desktop.launching import with_display
from autosync.desktop.packages import WINDOW
from autosync.desktop.window import CANCELLED, NO_DISPLAY, NO_WINDOW
from autosync.errors import AutosyncError

HELD_FOR = 30.0
"""Seconds for which the agent is asked to wait with pushing, again and again while somebody writes."""
_RENEWED = 10.0
_PATIENCE = 120.0
"""Seconds that the agent may take to ask the hub whether it has the commit already."""
_ZENITY_CANCELLED = 1
_Ended = subprocess.CompletedProcess[bytes]


class Describing:
    """Has the user describe commits of the agent with ``state_dir``; its windows end with :meth:`stop`."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self._guard = threading.Lock()
        self._open: set[subprocess.Popen[bytes]] = set()
        self._is_stopped = False

    def stop(self) -> None:
        """Close the windows: nothing would be done with what is written there."""
        with self._guard:
            self._is_stopped = True
            for window in self._open:
                window.terminate()

    def describe(self, root: str, commit: str) -> None:
        """Have the user describe ``commit``, the last one in ``root``; nothing happens if he does not.

        A refusal is told in the window, with what he wrote.  Raises :class:`AutosyncError` if it is not the
        last one any more, or if no window can be shown.
        """
        answer = call(self._state_dir, "describe", path=root)
        if answer["commit"] != commit:
            raise AutosyncError("Another commit was made since then", hint="`autosync describe` words the last one.")
        text, problem = answer["message"], ""
        with held(self._state_dir, root):
            while True:
                asked = self._ask(f"{answer['workspace']}: describe the last commit", text, problem)
                if asked is None or asked.strip() == answer["message"].strip() or not asked.strip():
                    return
                text = asked
                try:
                    call(self._state_dir, "describe", patience=_PATIENCE, path=root, commit=commit, message=text)
                    return
                except AutosyncError as error:
                    problem = f"{error.title}. {error.hint}"

    def _ask(self, title: str, text: str, problem: str) -> str | None:
        """Return what the user wrote, ``None`` if he did not want to.  Raises :class:`AutosyncError`.

        The window is a process of its own: a display that goes away ends whoever shows something on it.
        """
        environ = with_display(os.environ)
        asked = json.dumps({"title": title, "text": text, "problem": problem}).encode()
        window = self._run([sys.executable, "-P", "-m", "autosync.desktop.window"], asked, environ)
        if window.returncode == 0:
            return str(json.loads(window.stdout)["text"])
        if window.returncode == CANCELLED or self._is_stopped:
            return None
        zenity = shutil.which("zenity")
        if window.returncode != NO_WINDOW or zenity is None:
            raise _cannot_be_shown(window)
        shown = f"{problem}\n\n{text}" if problem else text
        command = [zenity, "--text-info", "--editable", f"--title={title}", "--width=560", "--height=320"]
        window = self._run(command, shown.encode("utf-8", "replace"), environ)
        if window.returncode == 0:
            return window.stdout.decode("utf-8", "replace").removeprefix(f"{problem}\n\n")
        # GTK ends a program that finds no display with the same code.
        if self._is_stopped or (window.returncode == _ZENITY_CANCELLED and b"display" not in window.stderr):
            return None
        raise _cannot_be_shown(window)

    def _run(self, command: Sequence[str], given: bytes, environ: Mapping[str, str]) -> _Ended:
        with self._guard:
            if self._is_stopped:
                return subprocess.CompletedProcess(command, CANCELLED, b"", b"")
            window = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
            )
            self._open.add(window)
        try:
            out, said = window.communicate(given)
        finally:
            with self._guard:
                self._open.discard(window)
        return subprocess.CompletedProcess(command, window.returncode, out, said)


def _cannot_be_shown(window: _Ended) -> AutosyncError:
    if window.returncode == NO_WINDOW:
        return AutosyncError(
            "No window can be shown to describe the commit",
            hint=f"Run `autosync describe`; for a window: apt install {WINDOW}",
        )
    said = window.stderr.decode("utf-8", "replace").strip().splitlines()
    if window.returncode == NO_DISPLAY:
        why = "no display was found"
    else:
        why = said[-1] if said else f"it ended with {window.returncode}"
    return AutosyncError(
        f"No window can be shown to describe the commit: {why}", hint="Run `autosync describe` in a terminal."
    )


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
