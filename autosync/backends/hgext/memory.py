"""Builds a changeset wholly in memory: equal to what `hg commit` would make, without a lock or a write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mercurial import changelog, commit, encoding, error, mergestate, scmutil
from mercurial.node import hex as hexadecimal

from .changesets import find
from .contents import taken
from .frames import Value, as_bytes, as_list
from .refusal import UNSUPPORTED, Declined
from .revisions import FileContext, Recorder, Revision, revision

Content = tuple[bytes, bytes, bytes | None]
"""Flags, content as hg stores it, and the path it is a copy of."""
Given = Mapping[bytes, "Content | None"]
"""What each path is to be; ``None``: it is to be removed."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What a changeset says besides its files."""

    user: bytes
    time: int
    offset: int
    message: bytes
    branch: bytes
    extra: Mapping[bytes, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changeset:
    """A changeset in memory; ``manifest`` is ``None`` if it is that of the parent."""

    changelog: Revision
    manifest: Revision | None
    files: Mapping[bytes, Revision]
    touched: Sequence[bytes]
    removed: Sequence[bytes]


def content_of(value: Value) -> Content | None:
    """Return what a question says a path is to be: flags, content and source, or nothing."""
    if value is None:
        return None
    flags, content, source = as_list(value, b"given")
    return as_bytes(flags, b"given"), taken(content), as_bytes(source, b"given") or None


def build(repo: Any, parents: tuple[bytes, bytes], given: Given, wording: Wording) -> Changeset:
    """Return the changeset that differs from its first parent in the ``given`` paths.

    Raises :class:`Declined` if a parent is not here, or for a name that hg cannot have.
    """
    base = Parents(repo, parents)
    recorder = Recorder(repo.unfiltered())
    state = mergestate.mergestate.read(repo) if parents[1] != repo.nullid else NoMerge
    touched, gone = [], []
    for path in sorted(given):
        _check_name(path)
        found = given[path]
        if found is None:
            if path in base.first or path in base.second:
                gone.append(path)
                base.remove(path)
            continue
        flags, content, source = found
        file = FileContext(path, content, flags, source)
        node, how = commit._filecommit(recorder, file, base.first, base.second, 0, None, True, state)
        if how:
            touched.append(path)
        base.put(path, node, flags)
    manifest = base.manifest()
    files = sorted([*touched, *gone])
    text = changelog_text(base.nodes[0] if manifest is None else manifest.node, files, wording)
    return Changeset(revision(text, *parents), manifest, recorder.added, files, gone)


def _check_name(path: bytes) -> None:
    try:
        scmutil.checkfilename(path)
    except error.Abort:
        shown = path.decode("utf-8", "backslashreplace")
        raise Declined(UNSUPPORTED, f"{shown} is a name that hg cannot have") from None


class NoMerge:
    """The state of a merge where there is none."""

    @staticmethod
    def active() -> bool:
        return False


class Parents:
    """The manifests of both parents, and what becomes of the first one's."""

    def __init__(self, repo: Any, parents: tuple[bytes, bytes]) -> None:
        contexts = [find(repo, node) for node in parents]
        self.nodes: list[bytes] = [context.manifestnode() for context in contexts]
        self.first, self.second = (context.manifest() for context in contexts)
        if not hasattr(self.first, "fastdelta"):
            raise Declined(UNSUPPORTED, "its manifests are trees (treemanifest)")
        self._null: bytes = repo.nullid
        self._text = b""
        if self.nodes[0] != self._null:
            self._text = bytes(repo.manifestlog.getstorage(b"").revision(self.nodes[0]))
        self._result = self.first.copy()
        self._edits: list[tuple[bytes, bool]] = []

    def put(self, path: bytes, node: bytes, flags: bytes) -> None:
        """Have this revision of a file there."""
        if path in self.first and self.first[path] == node and self.first.flags(path) == flags:
            return
        self._result[path] = node
        self._result.setflag(path, flags)
        self._edits.append((path, False))

    def remove(self, path: bytes) -> None:
        """Have nothing there."""
        if path in self.first:
            del self._result[path]
            self._edits.append((path, True))

    def manifest(self) -> Revision | None:
        """Return the new manifest, ``None`` if it is the first parent's."""
        if not self._edits:
            return None
        text, delta = self._result.fastdelta(bytearray(self._text), sorted(self._edits))
        if self.nodes[0] == self._null:
            return revision(bytes(text), self.nodes[0], self.nodes[1])
        return revision(bytes(text), self.nodes[0], self.nodes[1], delta=bytes(delta))


def changelog_text(manifest: bytes, touched: list[bytes], wording: Wording) -> bytes:
    """Return the entry that changelog.add would write (hg help internals.revlogs)."""
    extra = dict(wording.extra)
    if wording.branch != b"default":
        extra[b"branch"] = encoding.fromlocal(wording.branch)
    date = b"%d %d" % (wording.time, wording.offset)
    if extra:
        date += b" " + changelog.encodeextra(extra)
    user = encoding.fromlocal(wording.user).strip()
    message = changelog.stripdesc(encoding.fromlocal(wording.message))
    return b"\n".join([hexadecimal(manifest), user, date, *touched, b"", message])
