"""Answers whether a path is ignored, exactly as git does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from autosync.backends.git.attributes import chunks
from autosync.backends.git.coprocess import Coprocess, Ended
from autosync.backends.git.files import look
from autosync.backends.git.repository import Repository
from autosync.backends.git.settings import FileSignature, SettingsWatch, file_signature
from autosync.core.model import RelPath, parent_directories

_BOM = b"\xef\xbb\xbf"


class Ignore:
    """The ignore rules of one working copy, through one long-lived `git check-ignore`.

    A running process never sees a changed rule: it is started again when a .gitignore
    that matters to a question, or a file with rules outside the tree, has changed.
    ``patterns`` are further ones in the form of gitignore(5), weaker than all others.
    """

    def __init__(self, repo: Repository, settings: SettingsWatch, patterns: Sequence[str] = ()) -> None:
        self._repo = repo
        self._settings = settings
        self._patterns = tuple(patterns)
        self._process = self._ask_by()
        self._outside: tuple[int, tuple[FileSignature, ...]] | None = None
        self._inside: dict[RelPath, FileSignature] = {}

    def _ask_by(self) -> Coprocess:
        arguments = ("check-ignore", "-z", "--stdin", "--no-index", "--verbose", "--non-matching")
        # It refuses to take pathspecs literally, so they are made harmless by "./".
        return Coprocess(self._repo.git, *self.options(), *arguments, env={"GIT_LITERAL_PATHSPECS": "0"})

    def close(self) -> None:
        """End the process."""
        self.forget()

    def forget(self) -> None:
        """A .gitignore changed: ask a new process next time."""
        self._inside = {}
        self._process.close()

    def use(self, patterns: Sequence[str]) -> None:
        """Heed other patterns from now on; :meth:`refresh` then tells of changed rules."""
        self.forget()
        self._patterns = tuple(patterns)
        self._process = self._ask_by()
        self._outside = (-1, ())

    def refresh(self) -> bool:
        """Notice changed rules outside the tree; return whether there were any."""
        self._settings.refresh()
        outside = (self._settings.generation, tuple(map(file_signature, self._settings.ignore_files())))
        first = self._outside is None
        if outside == self._outside:
            return False
        self._outside = outside
        self.forget()
        if self._patterns:
            self._write_excludes()
        return not first

    def options(self) -> tuple[str, ...]:
        """Return the options that make any git command heed our patterns, too."""
        if not self._patterns:
            return ()
        return "-c", "core.excludesFile=" + os.fsdecode(self._excludes)

    def matches(self, paths: Iterable[RelPath]) -> frozenset[RelPath]:
        """Return those of ``paths`` that the rules name, tracked or not.

        A path behind a symbolic link is not in the tree, and matches nothing.
        """
        self.refresh()
        asked = self._answerable([path for path in paths if path])
        found: set[RelPath] = set()
        for chunk in chunks(asked):
            try:
                found.update(self._ask(chunk))
            except Ended:  # killed, or a directory became a symbolic link just now
                for path in self._answerable(chunk):
                    found.update(self._ask([path]))
        return frozenset(found)

    @property
    def _excludes(self) -> bytes:
        return os.path.join(self._repo.metadata, b"excludes")

    def _write_excludes(self) -> None:
        own = "".join(pattern + "\n" for pattern in self._patterns).encode("utf-8", "surrogateescape")
        try:
            with open(self._settings.ignore_files()[1], "rb") as file:
                users = file.read().removeprefix(_BOM)
        except OSError:
            users = b""
        scratch = self._excludes + b".new"
        with open(scratch, "wb") as file:
            file.write(own + users)
        os.rename(scratch, self._excludes)

    def _answerable(self, paths: Iterable[RelPath]) -> list[RelPath]:
        """Return the paths that git answers for, having noticed changed rules on the way to them."""
        checked: dict[RelPath, bool] = {}
        answerable: list[RelPath] = []
        for path in paths:
            above = [*parent_directories(path)][::-1]
            if all(self._leads_on(directory, checked) for directory in (RelPath(b""), *above)):
                answerable.append(path)
        return answerable

    def _leads_on(self, path: RelPath, checked: dict[RelPath, bool]) -> bool:
        """Return whether ``path`` is no symbolic link: behind one git refuses to answer."""
        if path not in checked:
            found = look(os.path.join(self._repo.root, path))
            checked[path] = found is None or not stat.S_ISLNK(found.st_mode)
            self._compare(path)
        return checked[path]

    def _compare(self, directory: RelPath) -> None:
        seen = file_signature(os.path.join(self._repo.root, directory, b".gitignore"))
        if directory in self._inside and self._inside[directory] != seen:
            self.forget()
        self._inside[directory] = seen

    def _ask(self, paths: Sequence[RelPath]) -> list[RelPath]:
        self._process.ask(b"".join(b"./" + path + b"\0" for path in paths))
        fields = self._process.read_fields(4 * len(paths))
        # source, line, pattern, path: a pattern that takes back starts with "!".
        return [
            path
            for path, source, pattern in zip(paths, fields[0::4], fields[2::4], strict=True)
            if source and not pattern.startswith(b"!")
        ]
