"""Knows the settings of git that decide how a working copy is read, and when they change."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from autosync.backends.git.repository import Repository

FileSignature = tuple[int, int, int, int] | None
"""(ino, size, mtime_ns, ctime_ns) of a file, ``None`` if there is none."""


def file_signature(path: bytes) -> FileSignature:
    """Return what changes when the file at ``path`` does."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values in force.

    ``autocrlf`` is true for ``true`` and ``input``: both clean line ends.  ``writes_crlf``
    tells that a checkout ends the lines of a text in CRLF (convert.c, text_eol_is_crlf).
    """

    file_mode: bool = True
    symlinks: bool = True
    ignore_case: bool = False
    autocrlf: bool = False
    writes_crlf: bool = False
    excludes_file: bytes = b""
    attributes_file: bytes = b""


class SettingsWatch:
    """Reads the settings again when a file they come from has changed.

    Included files are noticed, too.
    """

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._files: tuple[bytes, ...] = ()
        self._seen: tuple[FileSignature, ...] | None = None
        self.values = Settings()
        """The settings as of the last :meth:`refresh`."""
        self.generation = 0
        """Rises whenever the values may be other ones."""

    def refresh(self) -> None:
        """Look whether the files have changed (a few calls of lstat(2))."""
        if self._seen is None or self._seen != self._signatures():
            self._read()

    def ignore_files(self) -> tuple[bytes, ...]:
        """Return the files with ignore rules that lie outside the tree."""
        return os.path.join(self._repo.common_dir, b"info", b"exclude"), self.values.excludes_file

    def attribute_files(self) -> tuple[bytes, ...]:
        """Return the files with attributes that lie outside the tree."""
        return os.path.join(self._repo.common_dir, b"info", b"attributes"), self.values.attributes_file

    def _signatures(self) -> tuple[FileSignature, ...]:
        return tuple(map(file_signature, self._files))

    def _read(self) -> None:
        self._files = tuple(self._places())
        self._seen = self._signatures()
        fields = self._repo.git.run("config", "--list", "--show-origin", "-z").split(b"\0")
        values: dict[bytes, bytes] = {}
        origins = set(self._files)
        for origin, item in zip(fields[::2], fields[1::2], strict=False):
            key, _, value = item.partition(b"\n")
            values[key] = value if b"\n" in item else b"true"
            if origin.startswith(b"file:"):
                file = os.path.join(self._repo.root, origin.removeprefix(b"file:"))
                origins.add(file)
                if key == b"include.path" or (key.startswith(b"includeif.") and key.endswith(b".path")):
                    origins.add(os.path.join(os.path.dirname(file), os.path.expanduser(value)))
        if len(origins) > len(self._files):
            self._files = tuple(sorted(origins))
            self._seen = self._signatures()
        autocrlf = values.get(b"core.autocrlf", b"false").lower()
        self.values = Settings(
            file_mode=_is_true(values.get(b"core.filemode", b"true")),
            symlinks=_is_true(values.get(b"core.symlinks", b"true")),
            ignore_case=_is_true(values.get(b"core.ignorecase", b"false")),
            autocrlf=autocrlf == b"input" or _is_true(autocrlf),
            writes_crlf=_is_true(autocrlf)
            or (autocrlf != b"input" and values.get(b"core.eol", b"").lower() == b"crlf"),
            excludes_file=self._path("core.excludesFile", b"ignore"),
            attributes_file=self._path("core.attributesFile", b"attributes"),
        )
        self.generation += 1

    def _places(self) -> Iterable[bytes]:
        """Yield the files that may appear (git-config(1), FILES)."""
        yield os.path.join(self._repo.common_dir, b"config")
        yield os.path.join(self._repo.git_dir, b"config.worktree")
        if chosen := os.environb.get(b"GIT_CONFIG_GLOBAL"):
            yield chosen
        else:
            yield os.path.expanduser(b"~/.gitconfig")
            yield os.path.join(_personal_directory(), b"config")

    def _path(self, key: str, default: bytes) -> bytes:
        code, value = self._repo.git.call("config", "--type=path", "-z", "--get", key, accept=(0, 1))
        if code == 0:
            return os.path.join(self._repo.root, value.removesuffix(b"\0"))
        return os.path.join(_personal_directory(), default)


def _personal_directory() -> bytes:
    return os.path.join(os.environb.get(b"XDG_CONFIG_HOME") or os.path.expanduser(b"~/.config"), b"git")


def _is_true(value: bytes) -> bool:
    return value.lower() in {b"true", b"yes", b"on"} or (value.isdigit() and int(value) != 0)
