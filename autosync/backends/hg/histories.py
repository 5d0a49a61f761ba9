"""Moves the user's changesets: out as bundles made without a lock, in as bundles that are kept."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import BinaryIO

from autosync.backends.git.admission import MOST_IN_HISTORY
from autosync.backends.hg.changegroups import FEW, Limits, look_through
from autosync.backends.hg.content import Content, Spooled
from autosync.backends.hg.naming import nameable
from autosync.backends.hg.repository import NULL, answered
from autosync.backends.hg.server import HgEnded, Server
from autosync.backends.hg.store import Store
from autosync.backends.hgext.frames import Value, as_bytes, as_list
from autosync.core.model import CommitId, Entry, Kind, RelPath, TreeId
from autosync.durable import make_directory
from autosync.errors import Missing, Unsafe

_MEMORY = 4 << 30
"""Bytes that an hg may take to read a large history that arrived."""
_PROCESSOR = 1800
"""Seconds that it may calculate."""
TreeOf = Callable[[CommitId | None], TreeId]
"""Gives the tree of a changeset (of nothing for ``None``); raises :class:`Missing`."""
KINDS = {b"": Kind.FILE, b"x": Kind.EXECUTABLE, b"l": Kind.SYMLINK}
_HINT = "The source may be faulty or hostile; nothing of it was kept. Another source will be tried."


class Histories:
    """The changesets of one working copy, for any thread; ``server`` is asked, ``store`` keeps what arrives.

    ``tree_of`` gives the tree of a changeset that hg has.
    """

    def __init__(self, server: Server, store: Store, tree_of: TreeOf) -> None:
        self._server = server
        self._store = store
        self._tree_of = tree_of
        self._readers: set[Server] = set()

    def close(self) -> None:
        """End every hg that reads what arrived."""
        for reader in tuple(self._readers):
            reader.interrupt()

    def here(self, commit: CommitId) -> bool:
        """Return whether hg's own store has a changeset."""
        return not self._absent([bytes.fromhex(commit)])

    @contextlib.contextmanager
    def ground(self, commit: CommitId | None) -> Iterator[bytes | None]:
        """Give the file with the bundle that is to be laid over hg's own store to have ``commit``, if one is needed.

        Raises :class:`Missing` if it is neither there nor kept.
        """
        if commit is None or self.here(commit):
            yield None
            return
        bundle = self._store.bundle(commit)
        if bundle is None:
            raise Missing(
                f"The snapshot stands on changeset {commit}, which is not here",
                hint="It will be fetched with its base, from the peer or the hub.",
            )
        with self.scratch() as file:
            for part in bundle.parts():
                file.write(part)
            file.flush()
            yield place_of(file)

    @contextlib.contextmanager
    def outgoing(
        self, tip: CommitId | None, common: Collection[CommitId], *, most: int
    ) -> Iterator[tuple[BinaryIO, int] | None]:
        """Give a bundle of ``tip`` and its ancestors beyond ``common``, at its start, and its size.

        Gives ``None`` if there are none, or more than ``most``.
        """
        if tip is None or tip in common:
            yield None
            return
        with self.ground(tip) as over, self.scratch() as file:
            found = self._server.ask(
                "history",
                {
                    b"tip": bytes.fromhex(tip),
                    b"common": [bytes.fromhex(commit) for commit in common],
                    b"into": place_of(file),
                    b"most": most,
                    b"over": over,
                },
            )
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            yield (file, size) if 0 < found.number(b"count") <= most else None

    def admit(self, tip: CommitId, bundle: BinaryIO, limits: Limits) -> None:
        """Keep a bundle that brings ``tip``, once every revision in it has proven to be what its node says.

        Raises :class:`Unsafe` if it is anything else, :class:`Missing` if it builds on what is not here.
        """
        bundle.seek(0)
        history = look_through(bundle, limits)
        if history.tip != bytes.fromhex(tip):
            raise Unsafe(f"The history that arrived does not end with changeset {tip}", hint=_HINT)
        if strays := history.strays():
            raise Unsafe(f"The history that arrived holds {strays} changesets that do not belong to {tip}", hint=_HINT)
        if absent := self._absent(sorted(history.needs)):
            raise Missing(
                f"The history that arrived builds on changeset {absent[0].hex()}, which is not here",
                hint="It will be fetched from another source.",
            )
        bundle.flush()
        question: dict[bytes, Value] = {
            b"over": place_of(bundle),
            b"tip": bytes.fromhex(tip),
            b"files": MOST_IN_HISTORY,
            b"work": limits.work,
        }
        if limits is FEW:
            self._server.ask("verify-history", question)
        else:
            self._verify_apart(question)
        self._learn(tip, place_of(bundle))
        self._store.flush()  # before the bundle: what has that is never learned again
        self._store.keep_bundle(tip, bundle)

    def _learn(self, tip: CommitId, over: bytes) -> None:
        """Keep tree and contents of ``tip``, which hg itself does not have yet."""
        asked: dict[bytes, Value] = {b"over": over, b"tip": bytes.fromhex(tip)}
        near = self._server.ask("border", asked).text(b"node")
        tree = self._tree_of(None if near == NULL else CommitId(near.hex()))
        files = self._server.ask("difference", {**asked, b"old": near, b"new": bytes.fromhex(tip)}).table(b"files")
        edits: dict[RelPath, Entry | None] = {}
        arrived: dict[tuple[RelPath, bytes], bytes] = {}
        for path in map(RelPath, files):
            new = files.items(path)[1]
            edits[path] = None
            if new is not None and nameable(path):
                node, flags = (as_bytes(item, path) for item in as_list(new, path))
                arrived[path, node] = flags
        learned = {}
        for place, content in zip(arrived, self._revisions(over, list(arrived)), strict=True):
            oid = learned[place] = self._store.pack(content.size, content.parts())
            edits[place[0]] = Entry(kind=KINDS[arrived[place]], oid=oid)
        self._store.learn_files(learned)
        self._store.learn_commit_tree(tip, self._store.splice(tree, edits))

    def _revisions(self, over: bytes, revisions: list[tuple[RelPath, bytes]]) -> Iterator[Content]:
        """Yield the content of each (path, file node)."""
        at = 0
        while at < len(revisions):
            left = revisions[at:]
            spooled = Spooled(self._store.metadata)
            question: dict[bytes, Value] = {
                b"over": over,
                b"paths": [path for path, _ in left],
                b"nodes": [node for _, node in left],
                b"into": spooled.place,
            }
            contents = self._server.ask("revisions", question).items(b"contents")
            for path, content in zip((path for path, _ in left), contents, strict=False):
                if content is None:  # its changeset does not say that it changed this file
                    raise Missing(
                        f"The history that arrived lacks {path.decode('utf-8', 'backslashreplace')}",
                        hint="It will be fetched from another source.",
                    )
                yield answered(content, spooled)
            at += len(contents)

    def heads(self, most: int) -> Sequence[CommitId]:
        """Return what is checked out and the heads of the history, the latest first."""
        return [CommitId(node.hex()) for node in self._server.ask("heads", {b"most": most}).texts(b"heads")]

    @contextlib.contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """Give a file without a name, on the file system of the store."""
        make_directory(self._store.metadata)
        with tempfile.TemporaryFile(dir=self._store.metadata) as file:
            yield file

    def _absent(self, nodes: list[bytes]) -> list[bytes]:
        return self._server.ask("absent", {b"nodes": nodes}).texts(b"absent")

    def _verify_apart(self, question: dict[bytes, Value]) -> None:
        """Let an hg of its own read it, whose time and memory are limited, and which nobody else waits for."""
        reader = self._server.another()
        self._readers.add(reader)
        try:
            reader.identity()
            if (pid := reader.pid) is not None:
                resource.prlimit(pid, resource.RLIMIT_AS, (_MEMORY, _MEMORY))
                resource.prlimit(pid, resource.RLIMIT_CPU, (_PROCESSOR, _PROCESSOR))
            reader.ask("verify-history", question)
        except HgEnded as ended:
            if ended.code != -signal.SIGXCPU:
                raise
            raise Unsafe(f"The history that arrived takes longer than {_PROCESSOR} s to read", hint=_HINT) from None
        finally:
            self._readers.discard(reader)
            reader.close()


def place_of(file: BinaryIO) -> bytes:
    """Return the path by which hg opens a file of ours that has no name (proc(5), ``/proc/[pid]/fd``)."""
    return b"/proc/%d/fd/%d" % (os.getpid(), file.fileno())
