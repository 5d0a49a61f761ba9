"""Carries out what the users of simulated devices do, in the ledger and before the watcher's eyes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from autosync.core.events import PathHint, Touch
from autosync.core.model import Kind, RelPath
from autosync.errors import AutosyncError
from autosync.simulation.deeds import HISTORY, Act, Deed
from autosync.simulation.device import Device
from autosync.simulation.ledger import Standing
from autosync.simulation.world import World

REBASE = "a rebase is in progress"


class Users:
    """The users of all devices of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checked_out = False
        """Whether any user went to another branch, which changes files that others left."""

    def carry_out(self, act: Act) -> None:
        """Do what a user does; nothing if it cannot be done as things stand."""
        device = self.world.devices[act.device]
        if not device.has_user:
            return
        if any(_meets(path, act) for path in device.copy.user.writing):
            return  # he would have to save his work first
        edit = self._EDITS.get(act.deed)
        if edit is not None:
            self._as_user(device, lambda: edit(self, device, act), renamed=act.deed is Deed.RENAME)
        elif act.deed is Deed.SLOW:
            self._write_slowly(device, act)
        elif act.deed is Deed.BUSY:
            self._rebase(device, act.seconds)
        elif not device.copy.user.operation:
            with suppress(AutosyncError):  # as git would: there is nothing to amend, or changes are in the way
                self._as_user(device, lambda: self._HISTORY[act.deed](self, device, act), metadata=True)

    def save(self, device: Device, path: RelPath, content: bytes) -> None:
        """Save a file."""
        self._as_user(device, lambda: device.copy.user.write(path, content))

    def remove(self, device: Device, path: RelPath) -> None:
        """Delete a file or a directory."""
        self._as_user(device, lambda: device.copy.user.remove(path))

    # -- around every deed ----------------------------------------------------------------
    def _as_user(
        self,
        device: Device,
        do: Callable[[], None],
        *,
        renamed: bool = False,
        metadata: bool = False,
        saves: bool = True,
    ) -> None:
        """Do something, write down what became of the files, and let the watcher see it."""
        before = dict(device.copy.files)
        with suppress(OSError):  # a directory where a file should be, or the other way round
            do()
        after = device.copy.files
        changed = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
        self.world.ledger.replaced(
            [before[p][1] for p in changed if p in before],
            [after[p][1] for p in changed if p in after] if saves else [],
        )
        for path in changed:
            if path in before:
                self._took_away(device, path, before[path])
        for path in changed:
            if saves and path in after:
                self.world.ledger.appeared(device.number, path, after[path], self.world.clock.now)
        hints = [h for p in changed for h in _hints(p, was=p in before, there=p in after, renamed=renamed or metadata)]
        device.seen(*hints, metadata=metadata)

    def _took_away(self, device: Device, path: RelPath, what: Standing) -> None:
        now = self.world.clock.now

        def free_for(since: float) -> float:
            awake = device.on and not device.session.paused and not device.copy.user.operation
            return now - max(since, device.free_since) if awake else 0.0

        self.world.ledger.vanished(
            device.number, path, what, free_for=free_for, kept=lambda: self.world.was_kept(what[1])
        )

    # -- files ------------------------------------------------------------------------------
    def _write(self, device: Device, act: Act) -> None:
        device.copy.user.write(act.path, b"d%d wrote %d.\n" % (act.device, act.number))

    def _add_line(self, device: Device, act: Act) -> None:
        kind, content = device.copy.files.get(act.path, (Kind.FILE, b""))
        if kind is Kind.SYMLINK:
            return
        lines = content.splitlines(keepends=True)
        lines.insert((act.number * 7) % (len(lines) + 1), b"d%d adds %d.\n" % (act.device, act.number))
        device.copy.user.write(act.path, b"".join(lines))

    def _write_binary(self, device: Device, act: Act) -> None:
        device.copy.user.write(act.path, b"\0\xff d%d packed %d." % (act.device, act.number))

    def _change_mode(self, device: Device, act: Act) -> None:
        kind, _ = device.copy.files.get(act.path, (None, b""))
        if kind in (Kind.FILE, Kind.EXECUTABLE):
            device.copy.user.chmod(act.path, executable=kind is Kind.FILE)

    def _link(self, device: Device, act: Act) -> None:
        device.copy.user.remove(act.path)
        device.copy.user.symlink(act.path, b"nowhere/d%d linked %d." % (act.device, act.number))

    def _remove(self, device: Device, act: Act) -> None:
        device.copy.user.remove(act.path)

    def _rename(self, device: Device, act: Act) -> None:
        user = device.copy.user
        if act.path in user.files and act.other != act.path and not user.below(act.other):
            user.rename(act.path, act.other)

    def _swap(self, device: Device, act: Act) -> None:
        user = device.copy.user
        if act.path in user.files and act.other in user.files and act.path != act.other:
            user.rename(act.path, RelPath(b"between"))
            user.rename(act.other, act.path)
            user.rename(RelPath(b"between"), act.other)

    def _make_directory(self, device: Device, act: Act) -> None:
        device.copy.user.remove(act.path)
        device.copy.user.write(RelPath(act.path + b"/inside"), b"d%d inside %d.\n" % (act.device, act.number))

    def _make_file(self, device: Device, act: Act) -> None:
        above = RelPath(act.path.rpartition(b"/")[0])
        if above:
            device.copy.user.remove(above)
            device.copy.user.write(above, b"d%d instead %d.\n" % (act.device, act.number))

    def _write_slowly(self, device: Device, act: Act) -> None:
        """Write a file in two parts; in between its content is torn whenever it is looked at."""
        user = device.copy.user
        self._as_user(device, lambda: self._write(device, act), saves=False)
        if act.path not in user.files:
            return
        user.writing.add(act.path)

        def finish() -> None:
            user.writing.discard(act.path)
            self.world.ledger.appeared(act.device, act.path, user.files[act.path], self.world.clock.now)
            self.world.ledger.replaced([], [user.files[act.path][1]])
            device.seen(PathHint(path=act.path, touch=Touch.CLOSED))

        self.world.until(act.seconds, finish)

    # -- history ------------------------------------------------------------------------------
    def _commit(self, device: Device, act: Act) -> None:
        device.copy.user.commit(f"by {device.name}: {act.number}")

    def _amend(self, device: Device, act: Act) -> None:
        device.copy.user.amend(f"amended by {device.name}: {act.number}")

    def _check_out(self, device: Device, act: Act) -> None:
        user = device.copy.user
        if f"refs/heads/{act.branch}" not in user.branches:
            user.create_branch(act.branch)
        user.checkout(act.branch)
        self.checked_out = True

    def _rebase(self, device: Device, seconds: float) -> None:
        """Keep git busy for a while; what it does to files and branches is left to the other deeds."""
        user = device.copy.user
        if user.operation:
            return
        user.operation = REBASE
        device.seen(metadata=True)

        def finish() -> None:
            user.operation = None
            device.free_since = self.world.clock.now
            device.seen(metadata=True)

        self.world.until(seconds, finish)

    _EDITS = {  # noqa: RUF012  # never changed
        Deed.WRITE: _write,
        Deed.SAVE_DURING: _write,
        Deed.LINE: _add_line,
        Deed.BINARY: _write_binary,
        Deed.MODE: _change_mode,
        Deed.LINK: _link,
        Deed.REMOVE: _remove,
        Deed.RENAME: _rename,
        Deed.SWAP: _swap,
        Deed.INSIDE: _make_directory,
        Deed.OUTSIDE: _make_file,
    }
    _HISTORY = {Deed.COMMIT: _commit, Deed.AMEND: _amend, Deed.CHECKOUT: _check_out}  # noqa: RUF012  # as above


def _meets(path: RelPath, act: Act) -> bool:
    """Return whether an act would take away what stands at ``path``, or whether it cannot be told."""
    if act.deed in HISTORY:
        return True
    around = {act.path, act.other, RelPath(act.path.rpartition(b"/")[0] or act.path)}
    return any(path == name or path.startswith(name + b"/") or name.startswith(path + b"/") for name in around)


def _hints(path: RelPath, *, was: bool, there: bool, renamed: bool) -> list[PathHint]:
    """Return what the kernel tells of a path that a user changed."""
    if not there:
        return [PathHint(path=path, touch=Touch.GONE)]
    if renamed:
        return [PathHint(path=path, touch=Touch.MOVED_IN)]
    created = [] if was else [PathHint(path=path, touch=Touch.CREATED)]
    return [*created, PathHint(path=path, touch=Touch.CLOSED)]
