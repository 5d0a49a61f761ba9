"""Holds what arrives from a peer or the hub apart, until it is known to be whole and harmless."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from typing import BinaryIO, cast

from autosync.backends.git.admission import parse_arriving, refuse_extent, refuse_nothing
from autosync.backends.git.catfile import CatFile
from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.git.objects import Slot, commit_tree, parse_tree
from autosync.backends.git.repository import Repository
from autosync.causes import error_said
from autosync.core.model import CommitId, Snapshot, SnapshotId
from autosync.errors import Missing, Unsafe

PREFIX = b"incoming-"
"""How the directories of transfers under way are called, in the store's ``objects``."""

# Blemishes of real histories, made by importers and ancient gits, that can do no harm;
# refusing them would leave their owners without sync (git-fsck(1), "FSCK MESSAGES").
HARMLESS = (
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badName",
    "badTimezone",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
)

_ABSENT = ("unresolved delta", "did not receive expected object", "missing ")
_CHUNK = 1 << 16
_HINT = "The source may be faulty or hostile; nothing of it was kept. Another source will be tried."


class Incoming:
    """Objects in a directory of their own that sees the store, but is not seen by it.

    The same that git's receive-pack does ("quarantine environment").
    """

    def __init__(self, repo: Repository, directory: bytes) -> None:
        self._repo = repo
        self._directory = directory
        environment = {
            "GIT_OBJECT_DIRECTORY": os.fsdecode(directory),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates(repo),
        }
        self.environment = environment
        """For a git command that is to write its objects here."""
        self._git = Git(repo.store_dir, config=repo.store.config, env={**repo.store.env, **environment})

    def take(self, pack: BinaryIO, *, limit: int) -> None:
        """Index the pack that can be read from ``pack``, of at most ``limit`` bytes.

        Raises :class:`Unsafe` for what is no whole, clean pack, :class:`Missing` if it
        builds on objects that are not here.
        """
        demoted = ",".join(f"{message}=ignore" for message in HARMLESS)
        with tempfile.TemporaryFile() as errors:
            process = self._git.start(
                "index-pack",
                "--stdin",
                "--fix-thin",
                f"--strict={demoted}",
                f"--max-input-size={limit}",
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            try:
                whole = _copy(pack, cast(BinaryIO, process.stdin), self._repo.hash_name)
                code = process.wait()
            finally:
                process.kill()
                process.wait()
            errors.seek(0)
            text = errors.read(_CHUNK).decode("utf-8", "replace").strip()
            if code != 0:
                raise _failure(text, self._directory)
            if not whole:
                raise Unsafe("A pack that arrived has something after its end", hint=_HINT)

    def admit(self, wanted: SnapshotId) -> Snapshot:
        """Move everything into the store and return the snapshot ``wanted``.

        Raises :class:`Missing` if it is not whole, :class:`Unsafe` if it is not what it
        says or holds a name that must not be written.
        """
        snapshot = parse_arriving(wanted, self._commit(wanted))
        self._check_whole(wanted)
        self._check_trees(snapshot)
        self._migrate()
        return snapshot

    def admit_changeset(self, wanted: CommitId) -> None:
        """Move everything into the store if the changeset ``wanted`` is whole.  Raises :class:`Missing`."""
        self._commit(wanted)
        self._check_whole(wanted)
        self._migrate()

    def _commit(self, wanted: str) -> bytes:
        code, content = self._git.call("cat-file", "commit", wanted, accept=(0, 1, 128))
        if code != 0:
            raise Missing(f"{wanted} did not arrive", hint="The source has moved on; the newer state will be fetched.")
        return content

    def _check_whole(self, wanted: str) -> None:
        """Look that everything ``wanted`` is made of is here, as far as it is new."""
        try:
            self._git.run("rev-list", "--objects", "--quiet", wanted, "--not", "--all", "--alternate-refs")
        except GitFailed as failure:
            raise Missing(
                f"{wanted} arrived without all it is made of: {failure.stderr[-300:]}",
                hint="It will be fetched from another source.",
            ) from None

    def _check_trees(self, snapshot: Snapshot) -> None:
        """Look at every directory and name that the snapshot does not have from its base.

        Not by diff-tree: it would write down every path of a tree that stands for billions.
        """
        hash_name = self._repo.hash_name
        empty = _empty_tree(hash_name)
        objects = CatFile(self._git)

        def read(oid: str) -> Mapping[bytes, Slot]:
            found = objects.contents(oid)
            if found is None or found[0] != b"tree":
                raise Unsafe(f"A snapshot that arrived takes {oid} for a directory", hint=_HINT)
            return parse_tree(found[1], hash_name)

        try:
            base, commit = empty, snapshot.base.commit
            if commit is not None:
                base = commit_tree(self._commit(commit), len(empty))
                if self._repo.store.call("cat-file", "-e", commit, accept=(0, 1, 128))[0] != 0:  # it has just come
                    refuse_extent(read, base, empty, empty, check=refuse_nothing)
            refuse_extent(read, snapshot.tree, base, empty)
        finally:
            objects.close()

    def _migrate(self) -> None:
        """Show the packs to all readers of the store: the index last, for it is what they look for."""
        source = os.path.join(self._directory, b"pack")
        target = os.path.join(self._repo.store_dir, b"objects", b"pack")
        names = os.listdir(source) if os.path.isdir(source) else []
        for suffix in (b".pack", b".rev", b".idx"):
            for name in names:
                if name.endswith(suffix):
                    os.rename(os.path.join(source, name), os.path.join(target, name))


@contextlib.contextmanager
def incoming(repo: Repository) -> Iterator[Incoming]:
    """Give a place for one transfer; what has not been admitted at the end is deleted."""
    directory = tempfile.mkdtemp(prefix=PREFIX, dir=os.path.join(repo.store_dir, b"objects"))
    try:
        yield Incoming(repo, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def alternates(repo: Repository) -> str:
    """Return the value of GIT_ALTERNATE_OBJECT_DIRECTORIES that shows the store and the user's repository.

    Quoted, for a colon in a path would end it (git(1)).
    """
    paths = (os.path.join(repo.store_dir, b"objects"), os.path.join(repo.common_dir, b"objects"))
    quoted = (b'"%s"' % path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") for path in paths)
    return os.fsdecode(b":".join(quoted))


def _empty_tree(hash_name: str) -> str:
    return hashlib.new(hash_name, b"tree 0\0", usedforsecurity=False).hexdigest()


def _copy(source: BinaryIO, sink: BinaryIO, hash_name: str) -> bool:
    """Copy a pack; return whether it ended where its own checksum says.

    index-pack stops at the end of the pack and does not mind what follows.
    """
    digest = hashlib.new(hash_name, usedforsecurity=False)
    tail = b""
    try:
        with sink:
            while part := source.read(_CHUNK):
                sink.write(part)
                held = tail + part
                tail = held[-digest.digest_size :]
                digest.update(held[: -digest.digest_size])
    except BrokenPipeError:  # index-pack has ended; its exit code says why
        return False
    return digest.digest() == tail


def _failure(text: str, directory: bytes) -> Missing | Unsafe | OSError:
    """Return what the last words of a failed index-pack mean."""
    said = text.splitlines()[-1][:300] if text else "no message"
    if any(sign in text for sign in _ABSENT):
        return Missing(
            f"A pack that arrived builds on objects that are not here: {said}",
            hint="It will be fetched from another source.",
        )
    if (number := error_said(text)) is not None:
        return OSError(number, os.strerror(number), directory)
    return Unsafe(f"A pack that arrived was refused: {said}", hint=_HINT)
