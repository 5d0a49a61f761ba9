"""Names snapshots: the id of one is the node of the changeset that hg would make of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from autosync.backends.hg.branches import is_branch, split
from autosync.backends.hg.content import Content
from autosync.backends.hg.repository import NULL
from autosync.backends.hg.server import Server
from autosync.backends.hgext.frames import Value, as_bytes
from autosync.core.model import Base, DeviceId, RelPath, Snapshot, SnapshotId, TreeId, Version
from autosync.errors import Unsafe

MESSAGE = b"autosync snapshot"
FORMAT = b"1"
"""Of the extra; a reader refuses others, as their snapshots have other ids."""
NAMELESS = SnapshotId("")
_AT_ONCE = 8 << 20
"""Bytes of contents in one question."""
_MOST_AT_ONCE = 2000
"""Files in one question."""
_COUNTER = re.compile(r"([!-~]+)=([1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file as hg is to store it: ``flags`` are ``""``, ``"x"`` or ``"l"``; ``source`` is the path it is a copy of,
    empty if it is none."""

    flags: bytes
    content: Content
    source: bytes


Changed = tuple[RelPath, File | None]
"""A path and what is there, ``None`` if nothing is any more."""


class Namer:
    """Computes ids by the hg of one working copy; raises as :meth:`Server.ask`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def name(self, unnamed: Snapshot, changed: Iterable[Changed], *, over: bytes | None = None) -> Snapshot:
        """Return the snapshot with its id, whatever id it had.

        ``changed`` is what differs from the base, read one after the other; ``over`` is a file with a
        bundle that holds the base, if hg's own store does not.  Nothing is written.  Raises
        :class:`Missing` if the base is not here, :class:`Unsafe` for a branch that hg cannot have.
        """
        commit = unnamed.base.commit
        parent = NULL if commit is None else bytes.fromhex(commit)
        question: dict[bytes, Value] = {b"parent": parent, b"over": over}
        files: dict[bytes, Value] = {}
        for gone, given in _batches(changed):
            files.update(dict.fromkeys(gone))
            if given:
                files.update(self._file_nodes(question, given))
        found = self._server.ask("changeset-node", {**question, **_said(unnamed), b"files": files})
        return Snapshot(
            id=SnapshotId(found.text(b"node").hex()),
            tree=unnamed.tree,
            base=unnamed.base,
            version=unnamed.version,
            parents=unnamed.parents,
            device=unnamed.device,
            time=unnamed.time,
        )

    def _file_nodes(
        self, question: Mapping[bytes, Value], given: Mapping[RelPath, File]
    ) -> Iterator[tuple[bytes, Value]]:
        contents: dict[bytes, Value] = {
            path: [file.flags, file.content.value(), file.source] for path, file in given.items()
        }
        nodes = self._server.ask("file-nodes", {**question, b"given": contents}).table(b"nodes")
        for path, file in given.items():
            node, touched = nodes.items(path)
            yield path, [file.flags, as_bytes(node, path), touched]


def unnamed(
    *,
    tree: TreeId,
    base: Base,
    version: Version,
    parents: tuple[SnapshotId, ...],
    device: str,
    time: int,
    claimed: SnapshotId = NAMELESS,
) -> Snapshot:
    """Return a snapshot that has no id yet, or only one that somebody claims."""
    return Snapshot(id=claimed, tree=tree, base=base, version=version, parents=parents, device=device, time=time)


def format_version(version: Version) -> bytes:
    """Return a version as it stands in a changeset's extra; what a device id cannot be there is quoted."""
    return " ".join(f"{quote(device, safe='+')}={count}" for device, count in version.counters).encode("ascii")


def parse_version(text: bytes) -> Version:
    """Return what :func:`format_version` wrote.  Raises :class:`Unsafe` for anything else."""
    counters = {}
    for part in text.decode("ascii", "replace").split():
        found = _COUNTER.fullmatch(part)
        if found is not None:
            counters[DeviceId(unquote_to_bytes(found[1]).decode("utf-8", "replace"))] = int(found[2])
    version = Version.of(counters)
    if format_version(version) != text:
        raise Unsafe(
            "The version of a snapshot that arrived is malformed",
            hint="The sender's autosync may be faulty or hostile; nothing of it was used.",
        )
    return version


def _said(snapshot: Snapshot) -> dict[bytes, Value]:
    """Return what the changeset of a snapshot says besides its files: equal snapshots say the same."""
    branch = snapshot.base.branch or ""
    if not is_branch(branch):
        raise Unsafe(f"{branch[:200]!r} is no branch of Mercurial", hint="Nothing was recorded.")
    named, bookmark = split(branch)
    extra = {
        b"autosync-format": FORMAT,
        b"autosync-tree": snapshot.tree.encode("ascii"),
        b"autosync-version": format_version(snapshot.version),
        b"autosync-parents": " ".join(snapshot.parents).encode("ascii"),
    }
    if bookmark:
        extra[b"autosync-bookmark"] = bookmark.encode()
    return {
        b"user": quote(snapshot.device, safe="+", errors="surrogateescape").encode("ascii"),
        b"time": snapshot.time,
        b"message": MESSAGE,
        b"branch": named.encode(),
        b"extra": extra,
    }


def _batches(changed: Iterable[Changed]) -> Iterator[tuple[list[RelPath], dict[RelPath, File]]]:
    """Yield what is gone and what is there, in parts that fit into one question."""
    gone: list[RelPath] = []
    given: dict[RelPath, File] = {}
    size = 0
    for path, file in changed:
        if file is None:
            gone.append(path)
            continue
        given[path] = file
        size += file.content.size
        if size > _AT_ONCE or len(given) >= _MOST_AT_ONCE:
            yield gone, given
            gone, given, size = [], {}, 0
    yield gone, given
