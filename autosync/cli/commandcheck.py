"""Examines the programs that the configuration names for a working copy, for ``autosync check``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from autosync.cli.finding import Finding, Level
from autosync.commanded.step import StepRunner
from autosync.config import PathConfig
from autosync.core.commanded.commands import Action, Commands

_NEEDED = {
    Action.PUSH: "nothing is ever pushed",
    Action.PULL: "nothing of other devices ever arrives",
    Action.STARTUP: "what changes while no agent runs, or during a pull, is not noticed",
    Action.ADD: "new files are only found by `startup`",
    Action.STATUS: "a commit is made whenever a file was touched",
}


def check_on_update(path: PathConfig) -> Iterator[Finding]:
    """Look for the program of `on-update`; nothing is run."""
    if path.on_update is not None and not _is_there(path.on_update.run[0], path.path):
        detail = f"{path.path}: there is no program {path.on_update.run[0]}"
        yield Finding(Level.FAIL, path.workspace, detail, "Install it, or correct `on-update`.")


def check_commands(path: PathConfig, commands: Commands) -> Iterator[Finding]:
    """Look for each program, and ask `status` and `remote-url`, which change nothing."""
    programs = sorted({step[0].removeprefix("-") for steps in commands.steps.values() for step in steps})
    lacking = [program for program in programs if not _is_there(program, path.path)]
    for program in lacking:
        detail = f"{path.path}: there is no program {program}"
        yield Finding(Level.FAIL, path.workspace, detail, "Install it, or correct the group `commands`.")
    if lacking:
        return
    steps = StepRunner(os.fsencode(path.path), commands.time_limit)
    try:
        for action in (Action.STATUS, Action.REMOTE_URL):
            for step in commands.plain(action):
                ran = steps.run(step)
                is_well = action is Action.STATUS and ran.is_dirty() is not None
                if ran.problem is not None and not is_well:
                    yield Finding(Level.FAIL, path.workspace, ran.problem.title, "Run it by hand to see why.")
                    return
    finally:
        steps.close()
    yield Finding(Level.OK, path.workspace, f"{path.path}: kept by commands: {', '.join(programs)}")
    for action, effect in _NEEDED.items():
        if not commands.has(action):
            detail = f"commands.{action.value} is not set: {effect}"
            yield Finding(Level.WARN, path.workspace, detail, "docs/command-backend.md says what it is for.")


def _is_there(program: str, root: str) -> bool:
    # As execvp(3) looks for it, in the directory in which it is run.
    place = os.path.join(root, program) if "/" in program else program
    return shutil.which(place) is not None
