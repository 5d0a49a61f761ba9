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

from autosync.backends.git.admission import LARGEST_DIRECTORY, parse_arriving, refuse_extent, refuse_history
from autosync.backends.git.catfile import CatFile
from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.git.objects import Slot, commit_tree, parse_tree
from autosync.backends.git.repository import Repository
from autosync.causes import error_said
from autosync.core.model import CommitId, Snapshot, SnapshotId, TreeId
from autosync.errors import Missing, Unsafe

# Every tree of every snapshot that is left out would be opened first.
_HISTORY = "--exclude=refs/autosync/pins/*/keep/*"
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

# What git may allocate at once: a few bytes can unpack to a tree or commit of any size.
# Files that are larger it takes as a stream (core.bigFileThreshold is 512 MiB).
_ALLOCATION = "640m"
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
            "GIT_ALLOC_LIMIT": _ALLOCATION,
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
        self._check_alone(wanted)
        with self._trees() as trees:
            base = trees.empty
            if snapshot.base.commit is not None:
                base = self._check_history(snapshot.base.commit, trees)
            refuse_extent(trees.read, snapshot.tree, base, trees.empty)
        self._migrate()
        return snapshot

    def admit_changeset(self, wanted: CommitId) -> None:
        """Move everything into the store if the changeset ``wanted`` is whole.

        Raises :class:`Missing`, and :class:`Unsafe` if no working copy could hold it.
        """
        self._commit(wanted)
        self._check_whole(wanted)
        self._check_alone(wanted)
        with self._trees() as trees:
            self._check_history(wanted, trees)
        self._migrate()

    def _commit(self, wanted: str) -> bytes:
        code, content = self._git.call("cat-file", "commit", wanted, accept=(0, 1, 128))
        if code != 0:
            raise Missing(f"{wanted} did not arrive", hint="The source has moved on; the newer state will be fetched.")
        return content

    def _check_whole(self, wanted: str) -> None:
        """Look that everything ``wanted`` is made of is here, as far as it is new."""
        try:
            self._git.run("rev-list", "--objects", "--quiet", wanted, "--not", _HISTORY, "--all", "--alternate-refs")
        except GitFailed as failure:
            raise Missing(
                f"{wanted} arrived without all it is made of: {failure.stderr[-300:]}",
                hint="It will be fetched from another source.",
            ) from None

    def _check_alone(self, wanted: str) -> None:
        """Look that no changeset came along that ``wanted`` does not need: nothing would ever look at it again
        before it is used as a snapshot, or as the base of one."""
        alone = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": ""}
        listing = ("cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objecttype) %(objectname)")
        lines = self._git.run(*listing, env=alone).splitlines()
        arrived = {line[7:] for line in lines if line.startswith(b"commit ")}
        needed = self._git.run("rev-list", wanted, "--not", "--all", "--alternate-refs").split()
        strange = arrived.difference(needed)
        if strange:  # or a pin builds on what the user has pruned and what has come once more: his refs are whole
            refs = ("for-each-ref", "--format=^%(objectname)", "refs/heads", "refs/remotes", "refs/tags")
            revisions = f"{wanted}\n".encode() + self._repo.git.run(*refs)
            strange = strange.difference(self._git.run("rev-list", "--stdin", input=revisions).split())
        if not strange:
            return
        request = b"\n".join(sorted(strange)) + b"\n"  # the bases of deltas have been added, from here
        answers = self._repo.store.run("cat-file", "--batch-check", input=request).splitlines()
        if absent := sum(answer.endswith(b" missing") for answer in answers):
            raise Unsafe(f"A pack that arrived holds {absent} changesets that do not belong to {wanted}", hint=_HINT)

    def _check_history(self, commit: CommitId, trees: _Trees) -> TreeId:
        """Return the tree of a changeset after a look at how much it has beyond what is checked out here.

        Also if it is here already: whoever put it into the store need not have been us.
        """
        tree = commit_tree(self._commit(commit), len(trees.empty))
        refuse_history(trees.read, tree, checked_out(self._repo) or trees.empty, trees.empty)
        return tree

    @contextlib.contextmanager
    def _trees(self) -> Iterator[_Trees]:
        objects = CatFile(self._git)
        try:
            yield _Trees(objects, self._repo.hash_name)
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


class _Trees:
    """The directories that have arrived or are here.

    Read one by one, not by diff-tree: it would write down every path of a tree that stands for billions.
    """

    def __init__(self, objects: CatFile, hash_name: str) -> None:
        self._objects = objects
        self._hash_name = hash_name
        self.empty = hashlib.new(hash_name, b"tree 0\0", usedforsecurity=False).hexdigest()

    def read(self, oid: str) -> Mapping[bytes, Slot]:
        """Return a directory.  Raises :class:`Unsafe` if it is none, or too large to be one."""
        header = self._objects.header(oid)
        if header is not None and header[1] > LARGEST_DIRECTORY:
            raise Unsafe(f"A snapshot that arrived holds a directory of {header[1]} bytes", hint=_HINT)
        found = self._objects.contents(oid)
        if found is None or found[0] != b"tree":
            raise Unsafe(f"A snapshot that arrived takes {oid} for a directory", hint=_HINT)
        return parse_tree(found[1], self._hash_name)


def checked_out(repo: Repository) -> str | None:
    """Return the tree of the user's HEAD, ``None`` before his first commit."""
    _, tree = repo.git.call("rev-parse", "--quiet", "--verify", "HEAD^{tree}", accept=(0, 1, 128))
    return tree.decode("ascii").strip() or None


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
    if "pack signature mismatch" in text:
        said = "it is none of git (does that device keep this workspace in Mercurial?)"
    return Unsafe(f"A pack that arrived was refused: {said}", hint=_HINT)
