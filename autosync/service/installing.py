"""Has autosync start by itself at login, and ends that."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from autosync.errors import AutosyncError
from autosync.service.files import autostart, menu, unit
from autosync.service.manager import PATIENCE, UserManager
from autosync.service.placing import Places, Placing

ICON = "autosync.svg"
_KEPT = ("XDG_CONFIG_HOME", "XDG_STATE_HOME")
"""Variables by which the agent finds its files, and git its settings: a service does not have a shell's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is to be installed.

    ``options`` come before the command (``--config FILE``); ``name`` is that of the service; ``agent`` is the
    process id of the agent that runs now, if one does.
    """

    name: str
    options: Sequence[str]
    headless: bool
    sandbox: bool
    agent: int | None


@dataclass(slots=True)
class Outcome:
    """What was done, or would be; ``notes`` are sentences for the user."""

    kind: str
    unit: str
    program: str
    placing: Placing
    ran: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def program(executable: str | None = None) -> list[str]:
    """Return the command that starts this very installation of autosync, wherever it is called from."""
    python = executable or sys.executable
    script = os.path.join(os.path.dirname(python), "autosync")
    return [script] if os.access(script, os.X_OK) else [python, "-m", "autosync"]


def install(wishes: Wishes, environ: Mapping[str, str], *, rehearse: bool) -> Outcome:
    """Install and start the service.  Raises :class:`AutosyncError`; then nothing that was there is lost."""
    manager, placing, places = UserManager(rehearse=rehearse), Placing(rehearse), Places.of(environ, wishes.name)
    own = program()
    command = [*own, *wishes.options, "run", *(["--headless"] if wishes.headless else [])]
    has_manager = _has_manager(manager, places)
    if wishes.headless and not has_manager:
        raise AutosyncError(
            "No systemd of this user runs here, and without a desktop nothing else starts programs at login",
            hint="Log in as this user in the usual way (not with su), or have your init system run: "
            + shlex.join(command),
        )
    kind = "systemd" if has_manager else "autostart"
    outcome = Outcome(kind, f"{wishes.name}.service", own[0], placing, manager.ran)
    for path in (places.unit, places.menu, places.icon) if has_manager else (places.autostart, places.menu):
        placing.demand(path)
    if has_manager:
        text = unit(command, name=wishes.name, environment=_environment(environ), sandbox=wishes.sandbox)
        changed = placing.put(places.unit, text)
        placing.remove(places.autostart)  # or it would be started twice
    else:
        placing.put(places.autostart, autostart(command, places.icon))
    if not wishes.headless:
        placing.put(places.icon, files("autosync.desktop").joinpath("icons", ICON).read_text())
        placing.put(places.menu, menu([*own, *wishes.options, "web", "--open"], places.icon))
    if has_manager:
        _start(manager, outcome, wishes, is_other=changed)
    outcome.notes += [f"Until now it was {before} that was started." for before in placing.replaced.values()][:1]
    return outcome


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: environ[name] for name in _KEPT if os.path.isabs(environ.get(name, ""))}
    return {"PATH": environ.get("PATH") or os.defpath, **kept}


def _has_manager(manager: UserManager, places: Places) -> bool:
    """Return whether a systemd of the user answers.

    Raises :class:`AutosyncError` if none does although there is a unit of ours, of which only it can take note.
    """
    if manager.is_there():
        return True
    if Placing(rehearse=True).remove(places.unit):
        raise AutosyncError(
            f"systemd, which has the unit {places.unit}, does not answer: nothing was changed",
            hint="Log in as this user in the usual way (not with su) and try again. If systemd is not used here any "
            f"more, remove that file first: rm {shlex.quote(places.unit)}",
        )
    return False


def _start(manager: UserManager, outcome: Outcome, wishes: Wishes, *, is_other: bool) -> None:
    """Have the manager take up the unit and start it, or start it anew if it is another one now."""
    manager.change("daemon-reload")
    manager.change("enable", outcome.unit)
    state = manager.state(outcome.unit)
    if state.get("DropInPaths"):
        outcome.notes.append(f"Your drop-ins hold as before: {state['DropInPaths']}")
    by_hand = wishes.agent is not None and str(wishes.agent) != state["MainPID"]
    if by_hand:
        outcome.notes.append(
            f"An agent runs already, as process {wishes.agent}: the service is not started beside it. End that one, "
            f"then: systemctl --user start {wishes.name}"
        )
    elif not manager.is_active(outcome.unit):
        manager.change("start", outcome.unit, within=PATIENCE)
    elif is_other:
        manager.change("restart", outcome.unit, within=PATIENCE)


def uninstall(name: str, environ: Mapping[str, str], *, rehearse: bool) -> Outcome:
    """Stop the service and remove what :func:`install` has written, and nothing else."""
    manager, placing, places = UserManager(rehearse=rehearse), Placing(rehearse), Places.of(environ, name)
    has_manager = _has_manager(manager, places)
    kind = "systemd" if has_manager else "autostart"
    outcome = Outcome(kind, f"{name}.service", program()[0], placing, manager.ran)
    # Not to be known any more once its file is gone.
    is_ours = Placing(rehearse=True).remove(places.unit)
    drop_ins = manager.state(outcome.unit).get("DropInPaths") if has_manager and is_ours else ""
    if has_manager and is_ours:
        manager.change("disable", "--now", outcome.unit, within=PATIENCE)
    for path in (places.unit, places.autostart, places.menu, places.icon):
        placing.remove(path)
    if has_manager and is_ours:
        manager.change("daemon-reload")
    if drop_ins:
        outcome.notes.append(f"Your drop-ins stay: {drop_ins}")
    if not placing.removed:
        outcome.notes.append(f"There was no service {name} of autosync's.")
    return outcome
