"""Works out what the dirstate has to say of each path on another changeset, and says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from mercurial import error, pathutil, scmutil

Marks = Mapping[bytes, bytes]
"""What the user told hg of paths: see ``autosync/backends/hg/marks.py``."""
_REMOVED = b"r"
_ADDED = b"a"


class Tracked(NamedTuple):
    """What the dirstate says of one path."""

    path: bytes
    here: bool
    """Whether it is tracked in the working copy."""
    before: bool
    """Whether it is in the checked out changeset."""
    source: bytes | None
    """What it is a copy of."""


def marked(dirstate: Any) -> set[bytes]:
    """Return the paths of which hg knows more than that they are in the checked out changeset."""
    return {path for path, entry in dirstate.items() if not (entry.tracked and entry.p1_tracked)} | set(
        dirstate.copies()
    )


def switch(dirstate: Any, before: Any, after: Any, marks: Marks, known: Marks | None) -> list[Tracked]:
    """Return what changes in the dirstate on the way from the manifest ``before`` to ``after``, with these marks.

    ``known`` are the marks that the working copy was known to have: what the user has told hg since then, or
    taken back, stays as he said (``None``: nothing does).  A mark that hg would not have made there, as of
    an added file where a directory is, says nothing.
    """
    differing, told = set(before.diff(after)), marked(dirstate)
    clashing = _clashing(after, marks)
    changed = []
    for path in sorted(differing | told | set(marks)):
        there, now = path in after, current(dirstate, path)
        mark = marks.get(path, b"")
        if known is not None and _is_the_users(now, path in told, mark, known.get(path, b"")):
            wanted = Tracked(path, now.here if path in told else there, there, now.source)
        else:
            here = mark != _REMOVED if mark and path not in clashing else there
            wanted = Tracked(path, here, there, mark.partition(b"\0")[2] or None if here else None)
        if path in differing or wanted != now:
            changed.append(wanted)
    # What is tracked no more goes first: where a file was, there may be a directory.
    return sorted(changed, key=lambda each: each.here)


def current(dirstate: Any, path: bytes) -> Tracked:
    """Return what the dirstate says of a path now."""
    entry = dirstate.get_entry(path)
    return Tracked(path, bool(entry.tracked), bool(entry.p1_tracked), dirstate.copied(path))


def _is_the_users(now: Tracked, told: bool, mark: bytes, known: bytes) -> bool:
    """Return whether the user has said something else of a path since ``known``, and not what ``mark`` says."""
    if told and not mark and not known:
        return True
    said = b"" if now.here == now.before else _ADDED if now.here else _REMOVED
    return said not in {_letter(known), _letter(mark)}


def _letter(mark: bytes) -> bytes:
    """Return the letter of a mark, empty for one that only names what a path in the changeset is a copy of."""
    return mark[:1] if mark[:1] in {_ADDED, _REMOVED} else b""


def changing(repo: Any) -> AbstractContextManager[Any]:
    """Return the context in which the dirstate may be changed; it is written by hg at its end, or by ``write``."""
    # 6.4 and later want the repository; 6.3 has another name for it.
    if hasattr(repo.dirstate, "changing_parents"):
        return repo.dirstate.changing_parents(repo)  # type: ignore[no-any-return]
    return repo.dirstate.parentchange()  # type: ignore[no-any-return]


def write(dirstate: Any, parents: tuple[bytes, bytes], changed: Iterable[Tracked]) -> None:
    """Tell the dirstate; hg looks at each file that is tracked when it is asked for the status."""
    dirstate.setparents(*parents)
    for path, here, before, source in changed:
        dirstate.update_file(path, wc_tracked=here, p1_tracked=before, possibly_dirty=True)
        if source is not None:
            dirstate.copy(source, path)


def _clashing(manifest: Any, marks: Marks) -> set[bytes]:
    """Return the added paths that would be a file where a directory is, below a file, or that hg cannot name."""
    added = [path for path, mark in marks.items() if mark[:1] == _ADDED and path not in manifest]

    def is_tracked(path: bytes) -> bool:
        mark = marks.get(path, b"")
        return mark != _REMOVED if path in manifest else mark[:1] == _ADDED

    directories = {above for path in added for above in pathutil.finddirs(path)}
    found = set()
    for path in added:
        if (
            path in directories
            or any(above in manifest and is_tracked(above) for above in pathutil.finddirs(path))
            or (manifest.hasdir(path) and any(is_tracked(below) for below in _below(manifest, path)))
            or not _is_name(path)
        ):
            found.add(path)
    return found


def _below(manifest: Any, directory: bytes) -> list[bytes]:
    prefix = directory + b"/"
    return [path for path in manifest if path.startswith(prefix)]


def _is_name(path: bytes) -> bool:
    try:
        scmutil.checkfilename(path)
    except error.Abort:
        return False
    return True
