"""Compares two listings of a working copy: what was added, removed, changed and renamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autosync.core.commanded.commands import Action, Commands, Step
from autosync.core.model import Change, Entry, Kind, ObjectId, RelPath


@dataclass(frozen=True, slots=True)
class Seen:
    """What a listing says of a file; the times are in ns."""

    kind: Kind
    size: int
    mtime: int
    ctime: int
    inode: int

    @property
    def itself(self) -> tuple[Kind, int, int, int]:
        """What a file keeps when it is renamed."""
        return self.kind, self.size, self.mtime, self.inode


Listing = Mapping[RelPath, Seen]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """What differs between two listings, each in path order; ``moved`` is (old name, new name)."""

    added: tuple[RelPath, ...] = ()
    removed: tuple[RelPath, ...] = ()
    modified: tuple[RelPath, ...] = ()
    moved: tuple[tuple[RelPath, RelPath], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.modified or self.moved)


@dataclass(frozen=True, slots=True)
class Telling:
    """Command lines that tell the version control of ``paths``."""

    action: Action
    paths: tuple[RelPath, ...]
    steps: tuple[Step, ...]


def compare(old: Listing, new: Listing) -> Edits:
    """Return what happened between two listings.

    A file that is gone here and stands there, the very same inode with the same content, was renamed.
    """
    added = {path for path in new if path not in old}
    removed = {path for path in old if path not in new}
    gone = {old[path].itself: path for path in sorted(removed, reverse=True)}
    moved = []
    for path in sorted(added):
        source = gone.pop(new[path].itself, None)
        if source is not None:
            moved.append((source, path))
    return Edits(
        added=tuple(sorted(added - {new for _, new in moved})),
        removed=tuple(sorted(removed - {old for old, _ in moved})),
        modified=tuple(sorted(path for path, seen in new.items() if path in old and old[path] != seen)),
        moved=tuple(moved),
    )


def tellings(edits: Edits, commands: Commands) -> Iterator[Telling]:
    """Yield what is to be run for ``edits``: renames first, then what makes room for what comes."""
    added, removed = edits.added, edits.removed
    if commands.has(Action.MOVE):
        for old, new in edits.moved:
            yield Telling(Action.MOVE, (old, new), commands.move(old, new))
    else:
        added = tuple(sorted((*added, *(new for _, new in edits.moved))))
        removed = tuple(sorted((*removed, *(old for old, _ in edits.moved))))
    for action, paths in ((Action.REMOVE, removed), (Action.ADD, added), (Action.MODIFY, edits.modified)):
        if paths and commands.has(action):
            yield Telling(action, paths, commands.about(action, paths))


def as_changes(edits: Edits) -> tuple[Change, ...]:
    """Return ``edits`` in the form in which messages are worded; the ids only say what is the same file."""
    changes = [Change(path=path, old=None, new=_entry("new")) for path in edits.added]
    changes += [Change(path=path, old=_entry("old"), new=None) for path in edits.removed]
    changes += [Change(path=path, old=_entry("old"), new=_entry("new")) for path in edits.modified]
    for n, (old, new) in enumerate(edits.moved):
        changes += [Change(path=old, old=_entry(f"moved {n}"), new=None)]
        changes += [Change(path=new, old=None, new=_entry(f"moved {n}"))]
    return tuple(sorted(changes, key=lambda change: change.path))


def _entry(what: str) -> Entry:
    return Entry(kind=Kind.FILE, oid=ObjectId(what))
