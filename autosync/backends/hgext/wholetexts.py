"""Shows a repository as if all its files were stored in it, wherever hg keeps the content of large ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from mercurial import extensions
from mercurial.interfaces import repository

_LFS = b"lfs"


def whole(repo: Any) -> Any:
    """Return the repository, or one that gives changegroups with the content of files, not with pointers to it.

    Nodes are those of the content in either case (hgext/lfs/wrapper.py); who gets such a changegroup needs
    no lfs, and no server that has the content.
    """
    # The extension, not the requirement: that is written with the first such file, long after we have read it.
    return _Whole(repo) if any(name == _LFS for name, _ in extensions.extensions()) else repo


class _Whole:
    """A repository whose files are :class:`_WholeFile`; everything else is the real one's."""

    def __init__(self, repo: Any) -> None:
        self._repo = repo
        # lfs allows those who need it the changegroup 03 alone: only that can hold pointers.
        self.requirements = repo.requirements - {_LFS}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repo, name)

    def file(self, path: bytes) -> Any:
        """Return the history of a file."""
        log = self._repo.file(path)
        pointers = any(log._revlog.flags(rev) & repository.REVISION_FLAG_EXTSTORED for rev in log)
        return _WholeFile(log) if pointers else log


class _WholeFile:
    """The history of a file, each revision of which is given whole."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def __len__(self) -> int:
        return len(self._log)

    def __iter__(self) -> Iterator[int]:
        return iter(self._log)

    def emitrevisions(self, nodes: Sequence[bytes], **_how: Any) -> Iterator[Any]:
        """Yield what a changegroup is made of (interfaces.repository.irevisiondelta), parents first."""
        for node in sorted(nodes, key=self._log.rev):
            first, second = self._log.parents(node)
            yield SimpleNamespace(
                node=node,
                p1node=first,
                p2node=second,
                basenode=self._log.nullid if hasattr(self._log, "nullid") else b"\0" * 20,
                linknode=None,
                flags=0,
                protocol_flags=0,
                baserevisionsize=None,
                revision=self._log.revision(node),
                delta=None,
                sidedata=b"",
            )
