"""What the user told hg about paths (hg add, remove, copy): its encoding, its merge and what a base leaves of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from autosync.core.model import RelPath
from autosync.core.safety import unsafe_component
from autosync.errors import Unsafe

Marks = Mapping[RelPath, bytes]
"""``b"a"``: tracked and not in the base; ``b"a\\0<source>"``: added as a copy of ``source``;
``b"r"``: in the base and not tracked any more; ``b"m\\0<source>"``: in the base, tracked, with a
copy source.  No mark: known if it is in the base, unknown if it is not."""

ADDED = b"a"
REMOVED = b"r"
_COPIED = b"m"
_SOURCES = {ADDED: (False, True), REMOVED: (False,), _COPIED: (True,)}
"""Whether the mark may stand without and with a source."""
_HINT = "The sender's autosync may be faulty or hostile; nothing of it was used."


def encode_marks(marks: Marks) -> bytes:
    """Return the canonical form: path NUL letter NUL source NUL for each, in path order; the source may be empty."""
    parts = []
    for path, mark in sorted(marks.items()):
        letter, _, source = mark.partition(b"\0")
        parts.append(b"%s\0%s\0%s\0" % (path, letter, source))
    return b"".join(parts)


def parse_marks(raw: bytes) -> dict[RelPath, bytes]:
    """Return what :func:`encode_marks` wrote.

    Raises :class:`Unsafe` for everything that it would not have written, for names that hg cannot
    have, and for an added one that no device may write; those that a base holds are not judged.
    """
    fields = raw.split(b"\0")
    if fields.pop() != b"" or len(fields) % 3:
        raise Unsafe("marks are malformed: they are cut off", hint=_HINT)
    paths = fields[0::3]
    if any(one >= other for one, other in pairwise(paths)):
        raise Unsafe("marks are malformed: their paths are out of order", hint=_HINT)
    marks = {}
    for path, letter, source in zip(paths, fields[1::3], fields[2::3], strict=True):
        why = _impossible(path) or (_impossible(source) if source else None)
        if letter == ADDED:
            why = why or unsafe_path(RelPath(path))
        if why:
            raise Unsafe(f"the mark of {_show(path)} holds {why}", hint=_HINT)
        if bool(source) not in _SOURCES.get(letter, ()) or source == path:
            raise Unsafe(f"the mark of {_show(path)} is none that hg makes", hint=_HINT)
        marks[RelPath(path)] = letter + b"\0" + source if source else letter
    return marks


def unsafe_path(path: RelPath) -> str | None:
    """Return why a path must not be written, ``None`` if it may."""
    return next((why for why in map(unsafe_component, path.split(b"/")) if why), None)


def writable(marks: Marks) -> dict[RelPath, bytes]:
    """Return the marks without those of files that were added and that no device may write."""
    return {path: mark for path, mark in marks.items() if mark[:1] != ADDED or unsafe_path(path) is None}


def source_of(mark: bytes) -> RelPath | None:
    """Return what a marked path is a copy of, ``None`` if it is none."""
    return RelPath(mark.partition(b"\0")[2]) or None


def join_marks(origin: Marks, ours: Marks, theirs: Marks) -> dict[RelPath, bytes]:
    """Return the three-way merge, path by path; symmetric in ``ours`` and ``theirs``.

    Where both sides changed a mark, the one that tells more wins: tracked over removed, with a
    source over without; of two sources the smaller one.
    """
    joined = {}
    for path in origin.keys() | ours.keys() | theirs.keys():
        mark = _join(origin.get(path), ours.get(path), theirs.get(path))
        if mark is not None:
            joined[path] = mark
    return joined


def meaningful(marks: Marks, tracked: Callable[[RelPath], bool]) -> dict[RelPath, bytes]:
    """Return what the marks say on a base in which those paths are files that ``tracked`` names.

    What is in it is not added any more, what is not in it is neither removed nor copied onto, and
    hg knows no copy of what it lacks.
    """
    left = {}
    for path, mark in marks.items():
        letter, source = mark[:1], source_of(mark)
        if tracked(path) == (letter == ADDED):
            continue
        if source is None or tracked(source):
            left[path] = mark
        elif letter == ADDED:
            left[path] = ADDED
    return left


def _join(origin: bytes | None, ours: bytes | None, theirs: bytes | None) -> bytes | None:
    if theirs in (ours, origin):
        return ours
    if ours == origin:
        return theirs
    return min(ours, theirs, key=_preference)


def _preference(mark: bytes | None) -> tuple[bool, bool, bool, bytes]:
    """Return a key that is smaller for the mark that tells more."""
    mark = mark or b""
    return not mark, mark == REMOVED, b"\0" not in mark, mark


def _impossible(path: bytes) -> str | None:
    """Return why hg cannot have a path, ``None`` if it can."""
    if b"\n" in path or b"\r" in path:
        return "a name with a line end in it"
    if not {b"", b".", b".."}.isdisjoint(path.split(b"/")):
        return "an empty name, or one that leads to another directory"
    return None


def _show(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
