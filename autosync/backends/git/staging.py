"""Writes stored content as files, as a checkout would."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from autosync.backends.git.attributes import Attributes, Conversion
from autosync.backends.git.cli import GitFailed
from autosync.backends.git.objects import slot_of
from autosync.backends.git.settings import FileSignature, SettingsWatch, file_signature
from autosync.backends.git.store import Store
from autosync.causes import error_said
from autosync.core.model import Entry, Kind, ObjectId, RelPath, parent_directories
from autosync.errors import Missing, TransientError, Unsafe

_BIG = 8 << 20
"""Bytes above which content is never held in memory."""

_MANY = 64
"""Files that are worth starting two processes."""

_ATTRIBUTES = b".gitattributes"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_SMALL = 1024  # git-lfs: a pointer is shorter

_SETTINGS = (
    "core.hooksPath=/dev/null",  # post-index-change
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.safecrlf=false",
    # git-lfs waits for a server that does not answer; the pointer is enough until it does.
    "lfs.dialtimeout=3",
    "lfs.activitytimeout=10",
    "lfs.transfer.maxretries=1",
)

_AS_STORED = ("core.autocrlf=false", "core.eol=lf", "core.attributesFile=/dev/null", f"core.bigFileThreshold={_BIG}")


class Staging:
    """The way from entries to files.

    A few contents are written by ourselves, without starting a process, and many by git.  Where gitattributes(5)
    convert it, git does, too: a filter is run only if the user's own configuration defines it.
    """

    def __init__(self, store: Store, settings: SettingsWatch) -> None:
        self._store = store
        self._repo = store.repo
        self._settings = settings
        self._attributes = Attributes(store.repo, settings)
        self._rules: dict[bytes, FileSignature] = {}

    def close(self) -> None:
        """End every process."""
        self._attributes.close()

    def stage(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        """Write the content of each entry to the file (or symlink) ``directory/<index>``.

        Raises :class:`Missing` for content that is not here, :class:`Unsafe` for an entry
        that is no file, :class:`TransientError` if a filter fails, and :class:`OSError`.
        """
        files = [path for path, entry in entries if entry.kind in {Kind.FILE, Kind.EXECUTABLE}]
        self._refresh(files)
        conversions = self._attributes.conversions(files)
        plain: list[int] = []
        for index, (path, entry) in enumerate(entries):
            if entry.kind is Kind.NESTED:
                raise Unsafe(f"{_show(path)} is a nested repository", hint="Its files are left to the user.")
            if entry.kind is Kind.SYMLINK:
                self._write_link(entry, os.path.join(directory, b"%d" % index))
            elif conversions[path].is_plain:
                plain.append(index)
        if len(plain) < _MANY or not self._check_out([(index, entries[index][1]) for index in plain], directory):
            plain = []
        written = frozenset(plain)
        left = [i for i, (_, e) in enumerate(entries) if e.kind is not Kind.SYMLINK and i not in written]
        self._write_each(left, entries, conversions, directory)

    # -- by ourselves --------------------------------------------------------------------
    def _write_each(
        self,
        indexes: Sequence[int],
        entries: Sequence[tuple[RelPath, Entry]],
        conversions: Mapping[RelPath, Conversion],
        directory: bytes,
    ) -> None:
        sizes = self._sizes(entry for path, entry in map(entries.__getitem__, indexes) if not conversions[path].foreign)
        converted: list[int] = []
        small: list[int] = []
        for index in indexes:
            path, entry = entries[index]
            conversion = conversions[path]
            if conversion.foreign:
                converted.append(index)
            elif sizes[entry.oid] <= _BIG:
                small.append(index)
            elif conversion.ident or conversion.writes_crlf:
                converted.append(index)
            else:
                self._stream(entry, os.path.join(directory, b"%d" % index))
        for some in _batches(small, lambda index: sizes[entries[index][1].oid]):
            contents = self._store.blobs(entries[index][1].oid for index in some)
            for index in some:
                path, entry = entries[index]
                if conversions[path].changes_checkout(contents[entry.oid]):
                    converted.append(index)
                else:
                    _write(directory + b"/%d" % index, contents[entry.oid])
        if converted:
            self._convert([(index, *entries[index]) for index in converted], directory)

    def _refresh(self, files: Sequence[RelPath]) -> None:
        """Notice changed rules: those in the tree by looking at every directory above ``files``."""
        self._attributes.refresh()
        directories = {b"", *(above for path in files for above in parent_directories(path))}
        changed = False
        for directory in directories:
            found = file_signature(os.path.join(self._repo.root, directory, _ATTRIBUTES))
            changed = changed or self._rules.get(directory, found) != found
            self._rules[directory] = found
        if changed:
            self._attributes.forget()

    def _sizes(self, entries: Iterable[Entry]) -> dict[ObjectId, int]:
        """Return the bytes of each content as it is stored."""
        wanted = {entry.oid for entry in entries}
        headers = self._store.headers(wanted)
        for oid in wanted:
            if oid not in headers:
                raise Missing(f"object {oid} is not here", hint="It is asked for again from the other devices.")
        return {oid: headers[oid][1] for oid in wanted}

    def _write_link(self, entry: Entry, target: bytes) -> None:
        content = self._store.blob(entry.oid)
        if not self._settings.values.symlinks:  # core.symlinks: a checkout writes a plain file then
            _write(target, content)
        elif not content or b"\0" in content:
            raise Unsafe(f"object {entry.oid} cannot be the target of a link", hint="Nothing of it was used.")
        else:
            os.symlink(content, target)

    def _stream(self, entry: Entry, target: bytes) -> None:
        self._store.flush()
        with open(target, "xb") as file:
            process = self._repo.store.start("cat-file", "blob", entry.oid, stdout=file)
            _, errors = process.communicate()
        if (number := error_said(errors.decode("utf-8", "replace"))) and process.returncode:
            raise OSError(number, os.strerror(number), target)
        if process.returncode:
            raise TransientError(
                f"git cat-file could not write object {entry.oid}: {errors.decode('utf-8', 'replace').strip()}",
                hint="It is tried again by itself.",
            )

    # -- by git ----------------------------------------------------------------------------
    def _check_out(self, entries: Sequence[tuple[int, Entry]], directory: bytes) -> bool:
        """Let git write many contents as they are stored; return false, and leave nothing, if it cannot.

        From an index in which their numbers are their names, so that no rule is about any of them.
        """
        self._store.flush()
        index = os.path.join(directory, b"numbered")
        env = {
            "GIT_DIR": os.fsdecode(self._repo.store_dir),
            "GIT_WORK_TREE": os.fsdecode(directory),
            "GIT_INDEX_FILE": os.fsdecode(index),
            "GIT_ATTR_NOSYSTEM": "1",
        }
        config = [part for setting in (*_SETTINGS, *_AS_STORED) for part in ("-c", setting)]
        lines = b"".join(b"100644 %s\t%d\0" % (entry.oid.encode("ascii"), number) for number, entry in entries)
        try:
            self._repo.store.run(*config, "update-index", "-z", "--index-info", input=lines, env=env)
            self._repo.store.run(*config, "checkout-index", "--quiet", "--all", env=env)
        except (GitFailed, OSError):
            # What it could not write it may have begun; one by one it shows whose fault that was.
            for number, _ in entries:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(directory, b"%d" % number))
            return False
        finally:
            for name in (index, index + b".lock"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
        return True

    def _convert(self, entries: Sequence[tuple[int, RelPath, Entry]], directory: bytes) -> None:
        """Let git write the files below a directory of their own, from an index that holds only them."""
        self._store.flush()
        scratch = os.path.join(directory, b"checkout")
        prefix = os.path.join(scratch, b"files/")
        os.mkdir(scratch, 0o700)
        env = {
            "GIT_INDEX_FILE": os.fsdecode(os.path.join(scratch, b"index")),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(os.path.join(self._repo.store_dir, b"objects")),
            "GIT_LFS_SKIP_DOWNLOAD_ERRORS": "1",
        }
        config = [part for setting in _SETTINGS for part in ("-c", setting)]
        lines = [_index_line(path, entry) for _, path, entry in entries]
        try:
            self._repo.git.run(*config, "update-index", "-z", "--index-info", input=b"".join(lines), env=env)
            # A filter that fails for one file leaves only that one out.
            checkout = ("checkout-index", "--quiet", "--all", b"--prefix=" + prefix)
            self._repo.git.call(*config, *checkout, env=env, accept=range(256))
            for index, path, entry in entries:
                self._take(prefix + path, path, entry, os.path.join(directory, b"%d" % index))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _take(self, written: bytes, path: RelPath, entry: Entry, target: bytes) -> None:
        try:
            os.rename(written, target)
        except FileNotFoundError:
            if self._sizes([entry])[entry.oid] >= _SMALL or not (pointer := self._store.blob(entry.oid)).startswith(
                _LFS_POINTER
            ):
                raise TransientError(
                    f"the filter for {_show(path)} failed",
                    hint="Run `git check-attr filter` on it, and make that filter work here. It is tried again.",
                ) from None
            _write(target, pointer)  # the pointer stands for the file, as after a clone without git-lfs


def _batches(indexes: Sequence[int], size: Callable[[int], int]) -> Iterator[list[int]]:
    """Yield the indexes in lists whose contents fit into memory together."""
    some: list[int] = []
    total = 0
    for index in indexes:
        some.append(index)
        total += size(index)
        if total > _BIG:
            yield some
            some, total = [], 0
    if some:
        yield some


def _index_line(path: RelPath, entry: Entry) -> bytes:
    return b"%s %s\t%s\0" % (slot_of(entry).mode, entry.oid.encode("ascii"), path)


def _write(target: bytes, content: bytes) -> None:
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
    finally:
        os.close(file)


def _show(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
