"""Has git itself convert files for storing, through an index of their own that nobody else sees."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping

from autosync.backends.git.cli import Git, GitFailed, GitKilled
from autosync.backends.git.objects import Slot
from autosync.backends.git.repository import Repository
from autosync.core.model import RelPath

_LOG = logging.getLogger(__name__)

_SETTINGS = (
    "core.safecrlf=false",  # a warning to a committer; to us it would be a failure
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.hooksPath=/dev/null",  # post-index-change
    "core.bigFileThreshold=8m",  # above it git streams, where the filters let it
    "core.compression=1",
    "core.fsync=loose-object,pack,pack-metadata",
    "core.fsyncMethod=batch",
)
_FAILURES_BORNE = 16
"""Files tried one by one after a failure before the rest is given up."""


class Cleaner:
    """What `git add` would store, written to the private store, never to the user's objects."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        objects = os.path.join(repo.store_dir, b"objects")
        self._git = Git(
            repo.root,
            config=_SETTINGS,
            env={**repo.git.env, "GIT_OBJECT_DIRECTORY": os.fsdecode(objects)},
        )

    def clean(self, before: Mapping[RelPath, Slot | None]) -> dict[RelPath, Slot]:
        """Return what becomes of the files; ``before`` says what is stored of each now.

        Whether CRLF is converted depends on that.  A path that git refuses (its filter
        fails, it is not in the encoding it should be) is left out, and the log says so.
        """
        found: dict[RelPath, Slot] = {}
        failures = 0
        work = [list(before)]
        while work:
            paths = work.pop()
            try:
                found.update(self._clean({path: before[path] for path in paths}))
            except GitKilled:  # says nothing of the files
                raise
            except GitFailed as failure:
                if len(paths) > 1 and failures < _FAILURES_BORNE:
                    middle = len(paths) // 2
                    work += [paths[:middle], paths[middle:]]
                    continue
                failures += len(paths)
                _LOG.warning("%d files cannot be read, first %r: %s", len(paths), paths[0], failure.stderr)
        return found

    def _clean(self, before: Mapping[RelPath, Slot | None]) -> dict[RelPath, Slot]:
        with tempfile.TemporaryDirectory(prefix=b"clean-", dir=self._repo.metadata) as directory:
            env = {"GIT_INDEX_FILE": os.fsdecode(os.path.join(directory, b"index"))}
            known = [
                b"%s %s\t%s\0" % (slot.mode, slot.oid.hex().encode(), path)
                for path, slot in before.items()
                if slot is not None
            ]
            if known:
                self._git.run("update-index", "-z", "--index-info", input=b"".join(known), env=env)
            names = b"".join(path + b"\0" for path in before)
            self._git.run("update-index", "--add", "--remove", "--replace", "-z", "--stdin", input=names, env=env)
            listing = self._git.run("ls-files", "--stage", "-z", env=env)
        found: dict[RelPath, Slot] = {}
        for line in listing.split(b"\0")[:-1]:
            stage, _, path = line.partition(b"\t")
            mode, oid, _ = stage.split(b" ")
            if path in before:
                found[RelPath(path)] = Slot(mode, bytes.fromhex(oid.decode()))
        return found
