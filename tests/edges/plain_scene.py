"""A working copy without version control, and a change to it that has everything a change can have."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autosync.apply import WorkingTree
from autosync.apply.rename import Renames
from autosync.core.model import Change, Entry, Kind, ObjectId, RelPath
from autosync.core.operations import operations
from autosync.errors import AutosyncError
from autosync.ports import Applied, Operation, Standing
from tests.edges.faults import Around, Watched, install, rest

Files = dict[str, tuple[Kind, bytes]]
_LONG_AGO = 1_700_000_000

BEFORE: Files = {
    "stays": (Kind.FILE, b"this stays\n"),
    "replaced": (Kind.FILE, b"before\n" * 40),
    "deleted": (Kind.FILE, b"no longer needed\n"),
    "d/deleted with its directory": (Kind.FILE, b"nor this\n"),
    "script": (Kind.FILE, b"#!/bin/sh\n"),
    "old/place/of a file": (Kind.FILE, b"this moves\n"),
    "file to link": (Kind.FILE, b"a file\n"),
    "link to directory": (Kind.SYMLINK, b"stays"),
    "link": (Kind.SYMLINK, b"stays"),
    "directory to file/inner": (Kind.FILE, b"inner\n"),
    "file to directory": (Kind.FILE, b"outer\n"),
    "edited": (Kind.FILE, b"as it was recorded\n"),
}
AFTER: Files = {
    "stays": (Kind.FILE, b"this stays\n"),
    "replaced": (Kind.FILE, b"after\n" * 50),
    "script": (Kind.EXECUTABLE, b"#!/bin/sh\n"),
    "new/place/further/down/of a file": (Kind.FILE, b"this moves\n"),
    "file to link": (Kind.SYMLINK, b"stays"),
    "link to directory/inner": (Kind.FILE, b"in place of a link\n"),
    "link": (Kind.SYMLINK, b"replaced"),
    "directory to file": (Kind.FILE, b"no directory any more\n"),
    "file to directory/inner/most": (Kind.FILE, b"deep\n"),
    "created": (Kind.FILE, b"new\n"),
    "n/e/s/t/e/d": (Kind.FILE, b"nested\n"),
    "edited": (Kind.FILE, b"as the other device made it\n"),
}
EDIT = b"as the user saved it a moment ago\n"
"""What stands at ``edited`` and nobody has recorded."""


@dataclass(slots=True, kw_only=True)
class PlainScene:
    """Makes working copies as in :data:`BEFORE` below ``directory`` and brings them to :data:`AFTER`."""

    directory: Path
    renames: Callable[[], Renames] | None = None
    """Called in the child; without it the best ones are probed, as an agent does."""

    def fresh(self, number: int) -> Path:
        """Return the working copy number ``number``, as if nothing had happened."""
        root = self.directory / f"copy-{number}"
        shutil.rmtree(root, ignore_errors=True)
        template = self.directory / "template"
        if not template.exists():
            (template / ".git" / "autosync").mkdir(parents=True)
            write(template, {**BEFORE, "edited": (Kind.FILE, EDIT)})
        shutil.copytree(template, root, symlinks=True)
        return root

    def calls(self) -> list[str]:
        """Return the names of the calls that the job makes undisturbed; only for a child."""
        watched = Watched()
        ended = self.job(self.fresh(0), watched)
        assert not isinstance(ended, str), ended
        return [name for name, _ in watched.calls]

    def job(self, root: Path, around: Around) -> Applied | str:
        """Apply the change with ``around`` about every call; return what came of it, or the title of its error.

        Only for a child.  Raises :class:`AssertionError` if a descriptor is left open.
        """
        before = len(os.listdir("/proc/self/fd"))
        install(around)
        try:
            ended: Applied | str = self._apply(root)
        except AutosyncError as error:
            ended = error.title
        rest()
        assert len(os.listdir("/proc/self/fd")) == before, "a descriptor was left open"
        return ended

    def _apply(self, root: Path) -> Applied:
        copy = self._open(root)
        try:
            applied = copy.tree.apply(_change(copy, BEFORE, AFTER))
            copy.tree.sweep()
        finally:
            copy.tree.close()
        return applied

    def _open(self, root: Path) -> _Copy:
        return _Copy(root, self.renames() if self.renames else None)

    def wrong(self, root: Path) -> str | None:
        """Return what is torn, lost or not to be there, in words."""
        for name, found in standing(root).items():
            if name == "edited":
                continue
            if found not in (BEFORE.get(name), AFTER.get(name)):
                return f"{name} is neither as before nor as after: {found}"
        held = [EDIT in _all_bytes(root)]
        return None if all(held) else "what the user saved is gone"

    def finish(self, root: Path) -> str | None:
        """Go on undisturbed, as a restarted agent does; return in what the end is not as wanted."""
        copy = self._open(root)
        try:
            while copy.tree.keeps():
                copy.tree.sweep()
            now = standing(root)
            if now.get("edited") != (Kind.FILE, EDIT):
                return f"the user's save does not stand: {sorted(now)}"
            wanted = {**AFTER, "edited": (Kind.FILE, EDIT)}
            applied = copy.tree.apply(_change(copy, now, wanted))
            if applied.refused:
                return f"refused undisturbed: {applied.refused}"
            while copy.tree.keeps():
                copy.tree.sweep()
        finally:
            copy.tree.close()
        if (now := standing(root)) != wanted:
            return f"in the end {sorted(now.items() ^ wanted.items())}"
        left = sorted(str(p.relative_to(root)) for p in (root / ".git").rglob("*"))
        return None if left == [".git/autosync", ".git/autosync/agent", ".git/autosync/limbo"] else f"left: {left}"


class _Copy:
    """A working copy whose content is kept by its SHA-1: the least that applying needs."""

    def __init__(self, root: Path, renames: Renames | None) -> None:
        self._root = os.fsencode(root)
        self._contents: dict[str, bytes] = {}
        for kind, content in (*BEFORE.values(), *AFTER.values()):
            self.entry(content, kind)
        self.tree = WorkingTree(
            self._root,
            os.path.join(self._root, b".git/autosync"),
            standing=self._standing,
            standings=lambda paths: {path: self._standing(path) for path in paths},
            stage=self._stage,
            renames=renames,
            quiet=0.0,
        )

    def entry(self, content: bytes, kind: Kind) -> Entry:
        """Return the entry of a content, which can be staged from now on."""
        oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self._contents[oid] = content
        return Entry(kind=kind, oid=ObjectId(oid))

    def _standing(self, path: RelPath) -> Standing:
        full = os.path.join(self._root, path)
        try:
            found = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return Standing(entry=None, signature=None)
        signature = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
        if stat.S_ISLNK(found.st_mode):
            return Standing(entry=self.entry(os.readlink(full), Kind.SYMLINK), signature=signature)
        if not stat.S_ISREG(found.st_mode):
            return Standing(entry=None, signature=signature)
        with open(full, "rb") as file:
            content = file.read()
        kind = Kind.EXECUTABLE if found.st_mode & 0o100 else Kind.FILE
        return Standing(entry=self.entry(content, kind), signature=signature)

    def _stage(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        for index, (_, entry) in enumerate(entries):
            target = os.path.join(directory, b"%d" % index)
            if entry.kind is Kind.SYMLINK:
                os.symlink(self._contents[entry.oid], target)
            else:
                with open(target, "wb") as file:
                    file.write(self._contents[entry.oid])


LATE = b"written by somebody who had the file open all the while\n"


@dataclass(slots=True, kw_only=True)
class LateScene(PlainScene):
    """The change has been made; then one of the replaced files was written to, and the agent starts again."""

    def fresh(self, number: int) -> Path:
        """Return the working copy number ``number`` with the late save in its limbo."""
        root = PlainScene.fresh(self, number)
        copy = self._open(root)
        with open(root / "replaced", "r+b") as writer:
            copy.tree.apply(_change(copy, BEFORE, AFTER))
            writer.write(LATE)
        copy.tree.close()
        return root

    def _apply(self, root: Path) -> Applied:
        copy = self._open(root)
        try:
            for _ in range(3):
                copy.tree.sweep()
        finally:
            copy.tree.close()
        return Applied(done={}, refused={})

    def wrong(self, root: Path) -> str | None:
        """Return whether the late save is gone, in words."""
        held = _all_bytes(root)
        if not any(content.startswith(LATE) for content in held):
            return "what was saved late is gone"
        return None if EDIT in held else "what the user saved is gone"

    def finish(self, root: Path) -> str | None:
        """Go on undisturbed; return in what the end is not as wanted."""
        copy = self._open(root)
        while copy.tree.keeps():
            copy.tree.sweep()
        copy.tree.close()
        # As the file itself, or beside it if it could not be told whether that still was ours.
        if not any(kind is Kind.FILE and content.startswith(LATE) for kind, content in standing(root).values()):
            return f"the late save does not stand: {sorted(standing(root))}"
        left = os.listdir(root / ".git/autosync/limbo")
        return f"left in the limbo: {left}" if left else None


def standing(root: Path) -> Files:
    """Return what stands in a working copy."""
    found: Files = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in {".git", ".hg"}]
        for name in [*files, *(n for n in names if os.path.islink(os.path.join(directory, n)))]:
            path = os.path.join(directory, name)
            state = os.lstat(path)
            if stat.S_ISLNK(state.st_mode):
                content, kind = os.fsencode(os.readlink(path)), Kind.SYMLINK
            else:
                content = Path(path).read_bytes()
                kind = Kind.EXECUTABLE if state.st_mode & 0o100 else Kind.FILE
            found[os.path.relpath(path, root)] = (kind, content)
    return found


def _change(copy: _Copy, old: Files, new: Files) -> tuple[Operation, ...]:
    def entry(files: Files, name: str) -> Entry | None:
        if name not in files:
            return None
        kind, content = files[name]
        return copy.entry(content, kind)

    changes = [
        Change(path=RelPath(os.fsencode(name)), old=entry(old, name), new=entry(new, name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    return operations(changes)


def write(root: Path, files: Files) -> None:
    for name, (kind, content) in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind is Kind.SYMLINK:
            path.symlink_to(os.fsdecode(content))
            continue
        path.write_bytes(content)
        path.chmod(0o755 if kind is Kind.EXECUTABLE else 0o644)
        os.utime(path, (_LONG_AGO, _LONG_AGO))


def _all_bytes(root: Path) -> set[bytes]:
    return {p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.is_symlink()}
