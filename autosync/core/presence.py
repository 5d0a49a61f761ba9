"""Knows who works on which file, here and on the other devices, and when it is worth a word."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from autosync.core.model import DeviceId, RelPath

SAVED = 60.0
"""Seconds for which who saved a file counts as one who works on it."""
BY_HAND = 3
"""Files of one save; more of them at once are the work of a program."""
EXPIRES = 300.0
"""Seconds after which what a device said to be open is open no more, unless it said so again."""
RENEWED = 120.0
"""Seconds after which a device says again what is open."""
FORGOTTEN = 1800.0
"""Seconds without a sign of work after which a file that is open is not worked on."""
ONCE_IN = 600.0
"""Seconds in which nobody is told twice of the same file and device."""
MOST_TOLD = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A device works on ``path``: has it ``open`` in an editor, or saved it ``since`` (caller's clock).

    ``device`` is its name, which others may have too; ``id`` tells which one it is.
    """

    id: DeviceId
    device: str
    path: str
    open: bool
    since: float

    @property
    def text(self) -> str:
        """Return what a person is told."""
        return f"{self.device} is editing {self.path}" if self.open else f"{self.device} has just saved {self.path}"


def edited_by(lock: RelPath) -> tuple[RelPath, ...]:
    """Return the files that may be open in an editor if ``lock`` is what it puts beside one; none for any other name.

    The names are those of :mod:`autosync.core.temporary`; which program holds it is looked at elsewhere.
    """
    directory, slash, name = lock.rpartition(b"/")
    return tuple(RelPath(directory + slash + stem) for stem in _stems(name) if stem)


def _stems(name: bytes) -> Iterator[bytes]:
    if name.startswith(b".#"):
        yield name[2:]
    elif name.startswith(b".~lock.") and name.endswith(b"#"):
        yield name[len(b".~lock.") : -1]
    elif name.startswith(b"#") and name.endswith(b"#"):
        yield name[1:-1]
    elif name.startswith(b".") and name[-4:-1] == b".sw" and b"a" <= name[-1:] <= b"p":
        yield name[1:-4]
        yield name[:-4]  # vim puts no second dot before a name that has one


class Presence:
    """Who works on which file of one workspace.  Files are named as they are shown; times are of the caller's clock.

    What returns sights returns those that are to be told now: of files on which this device works too.
    """

    def __init__(self) -> None:
        self._open: dict[DeviceId, tuple[float, dict[str, Sight]]] = {}
        """By device: when that ends by itself, and each file that is open."""
        self._saved: dict[tuple[DeviceId, str], Sight] = {}
        self._here: frozenset[str] = frozenset()
        self._saved_here: dict[str, float] = {}
        self._told: dict[tuple[DeviceId, str], float] = {}

    def opened_here(self, paths: Collection[str], now: float) -> list[Sight]:
        """Take note of all files that are open here."""
        self._here = frozenset(paths)
        return self._news(now)

    def saved_here(self, paths: Collection[str], count: int, now: float) -> list[Sight]:
        """Take note of a save of ``count`` files here, of which ``paths`` are named."""
        if count <= BY_HAND:
            self._saved_here.update(dict.fromkeys(paths, now))
        return self._news(now)

    def opened_there(self, device: DeviceId, name: str, paths: Collection[str], now: float) -> list[Sight]:
        """Take note of all files that are open on a device; what was open there and is no more, ends."""
        known = self._open.pop(device, (0.0, {}))[1]
        if paths:
            since = {path: known[path].since if path in known else now for path in paths}
            self._open[device] = (
                now + EXPIRES,
                {path: Sight(id=device, device=name, path=path, open=True, since=at) for path, at in since.items()},
            )
        return self._news(now)

    def saved_there(self, device: DeviceId, name: str, paths: Collection[str], count: int, now: float) -> list[Sight]:
        """Take note of a save of ``count`` files on a device, of which ``paths`` are named."""
        if count <= BY_HAND:
            for path in paths:
                self._saved[device, path] = Sight(id=device, device=name, path=path, open=False, since=now)
        return self._news(now)

    def sights(self, now: float) -> list[Sight]:
        """Return who works on what, on other devices; of a file that is open it is not told that it was saved."""
        self._forget(now)
        still_open = {
            (device, path): sight for device, (_, paths) in self._open.items() for path, sight in paths.items()
        }
        return sorted({**self._saved, **still_open}.values(), key=lambda sight: (sight.device, sight.id, sight.path))

    def _news(self, now: float) -> list[Sight]:
        sights = self.sights(now)
        mine = self._here | self._saved_here.keys()
        news = [s for s in sights if s.path in mine and (s.id, s.path) not in self._told]
        self._told.update({(s.id, s.path): now for s in news})
        while len(self._told) > MOST_TOLD:
            del self._told[next(iter(self._told))]
        return news

    def _forget(self, now: float) -> None:
        self._open = {device: kept for device, kept in self._open.items() if kept[0] > now}
        self._saved = {key: sight for key, sight in self._saved.items() if sight.since + SAVED > now}
        self._saved_here = {path: at for path, at in self._saved_here.items() if at + SAVED > now}
        self._told = {key: at for key, at in self._told.items() if at + ONCE_IN > now}
