"""Writes and removes the files of a service, and touches none that somebody else has made."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from autosync.errors import AutosyncError
from autosync.service.files import MARK, program_of

_ICON_MARK = "<!-- autosync's own icon"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files go (XDG Base Directory Specification, systemd.unit(5))."""

    unit: str
    autostart: str
    menu: str
    icon: str

    @classmethod
    def of(cls, environ: Mapping[str, str], name: str) -> Places:
        """Return those of the user whose environment that is."""
        home = environ.get("HOME") or os.path.expanduser("~")
        config = _base(environ, "XDG_CONFIG_HOME", home, ".config")
        data = _base(environ, "XDG_DATA_HOME", home, ".local/share")
        return cls(
            unit=os.path.join(config, "systemd/user", f"{name}.service"),
            autostart=os.path.join(config, "autostart", f"{name}.desktop"),
            menu=os.path.join(data, "applications", f"{name}.desktop"),
            icon=os.path.join(data, "icons/hicolor/scalable/apps", f"{name}.svg"),
        )


def _base(environ: Mapping[str, str], name: str, home: str, usual: str) -> str:
    value = environ.get(name, "")
    return value if os.path.isabs(value) else os.path.join(home, usual)


@dataclass(slots=True)
class Placing:
    """Puts files in their places; with ``rehearse`` only tells what it would do."""

    rehearse: bool = False
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Those that were as they should be already."""
    removed: list[str] = field(default_factory=list)
    replaced: dict[str, str] = field(default_factory=dict)
    """By path, the program of another installation that was started until now."""

    def demand(self, path: str) -> None:
        """Raise :class:`AutosyncError` if what stands at ``path`` is not ours to write."""
        self._current(path)

    def put(self, path: str, text: str) -> bool:
        """Have ``text`` stand at ``path``; return whether it did not before."""
        current = self._current(path)
        if current == text:
            self.kept.append(path)
            return False
        before = None if current is None else program_of(current)
        if before is not None and before != program_of(text):
            self.replaced[path] = before
        self.written.append(path)
        if not self.rehearse:
            _write(path, text)
        return True

    def remove(self, path: str) -> bool:
        """Remove ``path`` if it is there and ours; return whether it was."""
        try:
            if self._current(path) is None:
                return False
        except _Foreign:
            self.kept.append(path)
            return False
        self.removed.append(path)
        if not self.rehearse:
            os.unlink(path)
        return True

    def _current(self, path: str) -> str | None:
        """Return the text of a file of ours, ``None`` if nothing is there."""
        if os.path.islink(path):
            masked = os.path.realpath(path) == os.devnull
            name = os.path.basename(path)
            hint = f"systemctl --user unmask {name}" if masked else f"Move it away: mv {path} {path}.old"
            raise _Foreign(f"{path} is a link to {os.readlink(path)}: nothing was changed", hint=hint)
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AutosyncError(f"{path} cannot be read: {error.strerror}", hint="Check its rights.") from error
        if not text.startswith((MARK, _ICON_MARK)):
            raise _Foreign(
                f"{path} was not written by autosync: nothing was changed",
                hint=f"Move it away (mv {path} {path}.old), or give the service another name with --name.",
            )
        return text


class _Foreign(AutosyncError):
    """What stands somewhere is somebody else's."""


def _write(path: str, text: str) -> None:
    """Replace a file in one step, so that nobody ever reads half of it."""
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=directory, prefix=".autosync-")
        try:
            with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise AutosyncError(
            f"{path} cannot be written: {error.strerror}", hint="Check its folder's rights and free space."
        ) from error
