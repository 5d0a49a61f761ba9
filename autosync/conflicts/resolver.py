"""Finishes one conflict: the version that is kept gets the name, the others go or get ordinary names."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from autosync.conflicts.index import ConflictIndex, files_at, original_beside, shown
from autosync.core.copies import ConflictName, ordinary_name
from autosync.core.model import Entry, Kind, RelPath, Snapshot
from autosync.core.resolution import Ambiguous, Choice, Keep, choose
from autosync.errors import AutosyncError, Busy, TransientError
from autosync.ports import Backend, Operation, Tree

CHANGED = "It was changed at this moment, so that version stays too. Look at the files, then repeat the command."

Files = Mapping[bytes, Entry]
"""What stands at a path: ``b""`` to a file's entry, or ``b"/name"`` to that of each file below a directory."""


class NotRecorded(TransientError):
    """What stands in the working copy is in no snapshot yet; ``paths`` have to be looked at."""

    def __init__(self, paths: Collection[RelPath]) -> None:
        self.paths = frozenset(paths)
        names = ", ".join(shown(path) for path in sorted(paths))
        super().__init__(
            f"{names}: changes all the time, so nothing was resolved", hint="Save the file, then repeat the command."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A conflict that is finished: ``kept`` tells which copy got the name (``None``: what stood there
    stays), ``dropped`` and ``renamed`` (old name to new) what became of the others."""

    file: RelPath
    kept: ConflictName | None = None
    dropped: tuple[RelPath, ...] = ()
    renamed: Mapping[RelPath, RelPath] = field(default_factory=dict)

    def paths(self) -> frozenset[RelPath]:
        """Return every path that may be another now."""
        return frozenset({self.file, *self.dropped, *self.renamed, *self.renamed.values()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Resolves the conflicts of one working copy; used in its thread.

    Nothing is let go that is not part of a recorded snapshot, and no path is touched that is
    not as it was recorded.  ``device`` is this device's name.
    """

    backend: Backend
    tree: Tree
    index: ConflictIndex
    device: str

    def resolve(self, recorded: Snapshot, file: RelPath, keep: Keep) -> Resolved | Ambiguous:
        """Finish the conflict of ``file``, which is the original or one copy; then that copy's alone.

        Raises :class:`NotRecorded` if what stands here is not ``recorded``, :class:`Busy`
        during the user's own git or hg operation, and :class:`AutosyncError` with what is in the way.
        """
        reason = self.backend.busy()
        if reason is not None:
            raise Busy(f"{reason}, so nothing was resolved", hint="Finish that first, then repeat the command.")
        self.index.follow(recorded)
        original, copies = self._meant(file)
        standing = {c.copy: self._files(recorded, c.copy, directory=True) for c in copies}
        standing[original] = self._files(recorded, original, directory=False)
        copies = [c for c in copies if standing[c.copy]]
        if not copies:
            raise AutosyncError(f"{shown(file)}: the copy is gone", hint="There is nothing left to resolve.")
        if recorded.id not in self.backend.pins().values():  # what is let go has to stay in history
            raise NotRecorded([original])
        occupied = bool(standing[original]) or self._is_there(original)
        choice = choose(copies, stands=occupied, keep=keep, device=self.device)
        if isinstance(choice, Ambiguous):
            return choice
        if choice.renamed:
            return self._rename_all(original, choice.renamed, standing)
        return self._keep_one(original, choice, standing)

    # -- what it is about ------------------------------------------------------------------------
    def _meant(self, file: RelPath) -> tuple[RelPath, list[ConflictName]]:
        """Return the original and the copies that the user means by ``file``."""
        copies = self.index.copies
        if file in copies:
            return original_beside(self.backend.root, copies[file]), [copies[file]]
        found = [name for name in copies.values() if original_beside(self.backend.root, name) == file]
        if not found:
            raise AutosyncError(
                f"{shown(file)} has no conflict", hint="`autosync conflicts` lists the files that have one."
            )
        return file, found

    def _files(self, recorded: Snapshot, path: RelPath, *, directory: bool) -> Files:
        """Return what was recorded at ``path``; with ``directory`` what is below it counts too.

        Raises :class:`NotRecorded` if something else stands there.
        """
        files = files_at(self.backend, recorded.tree, path)
        if not directory:
            files = {suffix: entry for suffix, entry in files.items() if not suffix}
        try:
            other = {
                RelPath(path + suffix)
                for suffix in files or (b"",)
                if self.backend.standing(RelPath(path + suffix)).entry != files.get(suffix)
            }
        except TransientError:
            raise NotRecorded([path]) from None
        if other:
            raise NotRecorded(other)
        return files

    def _is_there(self, path: RelPath) -> bool:
        return os.path.lexists(self._full(path))

    def _full(self, path: RelPath) -> bytes:
        return os.path.join(self.backend.root, path)

    # -- what is done ------------------------------------------------------------------------------
    def _rename_all(
        self, original: RelPath, copies: Sequence[ConflictName], standing: Mapping[RelPath, Files]
    ) -> Resolved:
        renamed: dict[RelPath, RelPath] = {}
        for copy in copies:
            name = ordinary_name(copy, taken=self._is_there)
            self._perform(_moves(copy.copy, name, standing[copy.copy]))
            renamed[copy.copy] = name
        return Resolved(file=original, renamed=renamed)

    def _keep_one(self, original: RelPath, choice: Choice, standing: Mapping[RelPath, Files]) -> Resolved:
        dropped = [c.copy for c in choice.dropped]
        kept = choice.kept
        if kept is not None:
            here, new = standing[original], standing[kept.copy]
            if not here and not self._is_there(original):
                self._perform(_moves(kept.copy, original, new))
                dropped.remove(kept.copy)
            else:
                self._put(original, here.get(b""), new.get(b""))
        for copy in dropped:  # last: until here nothing has gone
            self._perform([Operation(path=RelPath(copy + s), expected=e, new=None) for s, e in standing[copy].items()])
        return Resolved(file=original, kept=kept, dropped=tuple(dropped))

    def _put(self, original: RelPath, here: Entry | None, new: Entry | None) -> None:
        """Give ``original`` a copy's content."""
        if here is None or new is None or Kind.NESTED in (here.kind, new.kind):
            kind = "a folder" if os.path.isdir(self._full(original)) else "no ordinary file"
            raise AutosyncError(
                f"{shown(original)} is {kind}, so no copy can replace it",
                hint="Give the copy a name of its own with `--keep both`, or move what stands there away first.",
            )
        self._perform([Operation(path=original, expected=here, new=new)])

    def _perform(self, operations: Sequence[Operation]) -> None:
        refused = self.tree.apply(operations).refused
        if refused:
            path, why = min(refused.items())
            raise TransientError(f"{shown(path)}: {why}", hint=CHANGED)


def _moves(old: RelPath, new: RelPath, files: Files) -> list[Operation]:
    return [
        Operation(path=RelPath(new + suffix), expected=None, new=entry, source=RelPath(old + suffix))
        for suffix, entry in files.items()
    ]
