"""Computes the nodes that `hg commit` would give, and keeps nothing of what it computed them from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mercurial import commit
from mercurial.utils import storageutil

from .frames import Value
from .memory import Content, NoMerge, Parents, Wording, changelog_text
from .revisions import FileContext, FileLog, Recorder, revision


def file_nodes(repo: Any, parent: bytes, given: Mapping[bytes, Content]) -> dict[bytes, Value]:
    """Return ``[file node, whether the changeset names the file]`` for each path.

    What is ``given`` is to stand there in a changeset on ``parent``.  Raises :class:`Declined` if that is
    not here.
    """
    base = Parents(repo, (parent, repo.nullid))
    namer = _Namer(repo.unfiltered())
    found: dict[bytes, Value] = {}
    for path, (flags, content, source) in given.items():
        file = FileContext(path, content, flags, source)
        node, how = commit._filecommit(namer, file, base.first, base.second, 0, None, True, NoMerge)
        found[path] = [node, int(bool(how))]
    return found


def changeset_node(
    repo: Any, parent: bytes, files: Mapping[bytes, tuple[bytes, bytes, bool] | None], wording: Wording
) -> bytes:
    """Return the node of the changeset on ``parent`` in which ``files`` are as they are given.

    Each is flags, file node and whether the changeset names it, or ``None`` if it is gone.
    """
    base = Parents(repo, (parent, repo.nullid))
    named = []
    for path in sorted(files):
        file = files[path]
        if file is None:
            if path in base.first:
                base.remove(path)
                named.append(path)
            continue
        flags, node, touched = file
        base.put(path, node, flags)
        if touched:
            named.append(path)
    manifest = base.manifest()
    text = changelog_text(base.nodes[0] if manifest is None else manifest.node, named, wording)
    return revision(text, parent, repo.nullid).node


class _Namer(Recorder):
    """What takes the content of files, and gives their nodes."""

    def file(self, path: bytes, writable: bool = False) -> FileLog:  # noqa: ARG002 - as hg calls it
        """Return the history of a file."""
        return _NamingLog(self, path)


class _NamingLog(FileLog):
    """The history of one file, to which nothing is added."""

    def add(
        self,
        text: bytes,
        meta: dict[bytes, bytes],
        _transaction: None,
        _link: int,
        p1: bytes,
        p2: bytes,
    ) -> bytes:
        """Return the node of a revision."""
        raw = storageutil.packmeta(meta, text) if meta or text.startswith(b"\1\n") else text
        return bytes(storageutil.hashrevisionsha1(raw, p1, p2))
