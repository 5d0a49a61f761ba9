"""Lists the files of a working copy that is kept by commands."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from autosync.core.commanded.edits import Listing, Seen
from autosync.core.model import Kind, RelPath
from autosync.core.patterns import Patterns

MARKS: tuple[str, ...] = (
    *(".git", ".hg", ".svn", ".bzr", "CVS", "RCS", "SCCS", "_darcs", "_MTN", ".pijul", ".jj"),
    *("/.fslckout", "/_FOSSIL_"),  # Fossil's is a database beside the files
)
"""Patterns of where version controls keep what is theirs."""
METADATA = (*MARKS, "/.fslckout-*", "/_FOSSIL_-*")
"""The same with what comes and goes: a database's journal, its write-ahead log."""


class Lister:
    """The files below ``root`` that no pattern names."""

    def __init__(self, root: bytes, ignore: Sequence[str]) -> None:
        self._root = root
        self._marks = Patterns(MARKS)
        self._patterns = Patterns((*METADATA, *ignore))

    def marks(self) -> frozenset[bytes]:
        """Return what of a version control's own lies in ``root``: it shows whose working copy this is."""
        with os.scandir(self._root) as entries:
            return frozenset(
                entry.name
                for entry in entries
                if self._marks.name(RelPath(entry.name), is_directory=entry.is_dir(follow_symlinks=False))
            )

    def ignored(self, paths: Sequence[RelPath]) -> frozenset[RelPath]:
        """Return those of ``paths`` that a pattern names."""
        return frozenset(path for path in paths if self._patterns.name(path, is_directory=self._is_directory(path)))

    def list_all(self, before: Listing) -> Listing:
        """Return all files; of a directory that cannot be read those that were there ``before``.

        Raises :class:`OSError` if that is ``root``.
        """
        with os.scandir(self._root):
            pass
        return dict(self._below(b"", before))

    def _below(self, directory: bytes, before: Listing) -> Iterator[tuple[RelPath, Seen]]:
        try:
            with os.scandir(os.path.join(self._root, directory)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            return  # removed since it was seen
        except OSError:
            yield from ((path, seen) for path, seen in before.items() if path.startswith(directory))
            return
        for entry in entries:
            path = RelPath(directory + entry.name)
            is_directory = entry.is_dir(follow_symlinks=False)
            if self._patterns.name_alone(path, is_directory=is_directory):
                continue
            if is_directory:
                yield from self._below(path + b"/", before)
            elif seen := _look(entry):
                yield path, seen

    def _is_directory(self, path: RelPath) -> bool:
        place = os.path.join(self._root, path)
        return os.path.isdir(place) and not os.path.islink(place)


def _look(entry: os.DirEntry[bytes]) -> Seen | None:
    """Return what stands there, ``None`` for what is gone or no file."""
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return None
    if stat.S_ISLNK(found.st_mode):
        kind = Kind.SYMLINK
    elif stat.S_ISREG(found.st_mode):
        kind = Kind.EXECUTABLE if found.st_mode & 0o100 else Kind.FILE
    else:
        return None
    return Seen(kind, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
