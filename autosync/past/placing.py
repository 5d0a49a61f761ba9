"""Puts a copy of what a snapshot holds where nothing stands, in a working copy or anywhere else."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence

from autosync.causes import shortage_of
from autosync.core.model import Entry, Kind, RelPath, Snapshot
from autosync.errors import AutosyncError
from autosync.past.differences import below
from autosync.past.restoring import demand_there
from autosync.past.steps import Steps
from autosync.ports import Backend

_AT_ONCE = 64
"""Files whose content is prepared in one step."""


def place(
    backend: Backend, snapshot: Snapshot, path: RelPath, destination: bytes, *, dry_run: bool = False
) -> Steps[dict[RelPath, Entry]]:
    """Put the file or folder ``path`` of ``snapshot`` at ``destination``, as a checkout would write it, in steps.

    Return what was put there, or would be.  Nothing that stands there is touched.  Raises :class:`AutosyncError`: then
    what was begun has been taken away again.
    """
    demand_there(backend, snapshot, path)
    files = {
        each: entry for each, entry in below(backend, snapshot.tree, path).items() if entry.kind is not Kind.NESTED
    }
    made: dict[bytes, None] = {}
    if os.path.lexists(destination):
        raise _refused(FileExistsError(), destination)
    if dry_run:
        return files
    try:
        for some in _chunks(sorted(files)):
            _place_some(backend, {each: files[each] for each in some}, path, destination, made)
            yield
        if path not in files:
            _make_directory(destination, made)  # of a folder with nothing but nested repositories
    except BaseException as error:
        _take_away(made)
        if isinstance(error, OSError):
            raise _refused(error, destination) from error
        raise
    return files


def _place_some(
    backend: Backend, files: Mapping[RelPath, Entry], path: RelPath, destination: bytes, made: dict[bytes, None]
) -> None:
    with tempfile.TemporaryDirectory(prefix=b"copy-", dir=backend.metadata) as scratch:
        backend.stage(list(files.items()), scratch)
        for index, (each, entry) in enumerate(files.items()):
            target = destination + each[len(path) :] if path else os.path.join(destination, each)
            if each != path:
                _make_directories(os.path.dirname(target), destination, made)
            staged = os.path.join(scratch, b"%d" % index)
            if os.path.islink(staged):
                os.symlink(os.readlink(staged), target)
                made[target] = None
            else:
                _copy(staged, target, 0o777 if entry.kind is Kind.EXECUTABLE else 0o666, made)


def _copy(source: bytes, target: bytes, mode: int, made: dict[bytes, None]) -> None:
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    made[target] = None
    with open(file, "wb") as into, open(source, "rb") as out_of:
        shutil.copyfileobj(out_of, into)


def _make_directories(directory: bytes, top: bytes, made: dict[bytes, None]) -> None:
    """Make ``directory``, which is ``top`` or lies below it; those that this made before are there already."""
    missing: list[bytes] = []
    while directory not in made:
        missing.append(directory)
        if directory == top:
            break
        directory = os.path.dirname(directory)
    for each in reversed(missing):
        _make_directory(each, made)


def _make_directory(directory: bytes, made: dict[bytes, None]) -> None:
    if directory not in made:
        os.mkdir(directory)
        made[directory] = None


def _take_away(made: dict[bytes, None]) -> None:
    for each in reversed(made):
        with contextlib.suppress(OSError):  # somebody put something into it meanwhile: that stays
            if os.path.isdir(each) and not os.path.islink(each):
                os.rmdir(each)
            else:
                os.unlink(each)


def _chunks(paths: Sequence[RelPath]) -> Iterator[Sequence[RelPath]]:
    return (paths[i : i + _AT_ONCE] for i in range(0, len(paths), _AT_ONCE))


def _refused(error: OSError, destination: bytes) -> AutosyncError:
    name = destination.decode("utf-8", "backslashreplace")
    if isinstance(error, FileExistsError):
        return AutosyncError(f"{name} exists", hint="Give a name that is free: nothing is replaced by `--to`.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return AutosyncError(
            f"The folder {os.path.dirname(name)} does not exist", hint="Make it first, or give another place."
        )
    return shortage_of(error, destination) or AutosyncError(
        f"{name} cannot be written: {error.strerror}", hint="Give another place with `--to`."
    )
