"""Asks the hg of one working copy, and gives its answers as values."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from autosync.backends.hg.content import Content, Spooled
from autosync.backends.hg.requirements import check_requirements
from autosync.backends.hg.server import Server
from autosync.backends.hgext.frames import Fields, Value, as_bytes, as_list
from autosync.core.model import ObjectId, RelPath
from autosync.errors import Unsupported

NULL = b"\0" * 20
"""The node before the first changeset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is checked out, and what the user is doing.

    Nodes are 20 bytes; ``phase`` is 0 (public), 1 (draft) or 2 (secret) and that of ``p1``;
    ``bookmark`` is the active one, empty if there is none; ``operation`` is in words, empty
    if there is none; ``locks`` say who holds which lock.
    """

    p1: bytes
    p2: bytes
    branch: bytes
    bookmark: bytes
    bookmarks: tuple[bytes, ...]
    phase: int
    operation: str
    locks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `hg status` says; ``copies`` maps a path to the one that it is a copy of."""

    p1: bytes
    modified: tuple[RelPath, ...]
    added: tuple[RelPath, ...]
    removed: tuple[RelPath, ...]
    missing: tuple[RelPath, ...]
    unknown: tuple[RelPath, ...]
    ignored: tuple[RelPath, ...]
    copies: Mapping[RelPath, RelPath]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one look at a working copy starts from.

    ``dirty`` differ from p1 (modified, added, removed, missing), ``rules`` are the files that the
    ignore rules come from.  ``added``, ``removed`` and ``copies`` (new path -> source) are what the
    user told hg of paths; they are empty if that was not asked for.  ``converts`` tells that hg
    stores contents other than they are on the disk.
    """

    p1: bytes
    dirty: tuple[RelPath, ...]
    unknown: tuple[RelPath, ...]
    ignored: frozenset[RelPath]
    rules: tuple[bytes, ...]
    added: tuple[RelPath, ...]
    removed: tuple[RelPath, ...]
    copies: Mapping[RelPath, RelPath]
    has_links: bool
    has_executables: bool
    converts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file as hg stores it: ``flags`` are ``""``, ``"x"`` or ``"l"``; ``node`` is its file node."""

    flags: bytes
    content: bytes
    node: bytes


class Repository:
    """One working copy of Mercurial; raises as :meth:`Server.ask`.

    ``hg`` is the command to run, by default that of our own environment.
    """

    def __init__(self, root: bytes, hg: Sequence[str] | None = None) -> None:
        """Open it; raises :class:`NotAWorkingCopy` or :class:`Unsupported`.  No process is started yet."""
        self.requirements = check_requirements(root)
        self.root = root
        self.server = Server(root, hg)

    @property
    def _scratch(self) -> bytes:
        """Where large contents pass through: our own directory, if there is one, as others are watched by many."""
        metadata = os.path.join(self.root, b".hg")
        own = os.path.join(metadata, b"autosync")
        return own if os.path.isdir(own) else metadata

    def close(self) -> None:
        """End the process."""
        self.server.close()

    def check_hashes(self) -> None:
        """Raise :class:`Unsupported` if this hg commits other nodes than we build."""
        found = self.server.ask("selftest")
        if found.text(b"built") != found.text(b"committed"):
            version = self.server.identity().text(b"hg").decode("ascii", "replace")
            raise Unsupported(
                f"Mercurial {version} makes other changesets than autosync expects of it",
                hint="Leave out `hg:` in the config to use autosync's own Mercurial, and report this version.",
            )

    def standing(self) -> Standing:
        """Return what is checked out, and what the user is doing."""
        found = self.server.ask("standing")
        return Standing(
            p1=found.text(b"p1"),
            p2=found.text(b"p2"),
            branch=found.text(b"branch"),
            bookmark=found.text(b"bookmark"),
            bookmarks=tuple(found.texts(b"bookmarks")),
            phase=found.number(b"phase"),
            operation=found.text(b"operation").decode(),
            locks=tuple(words.decode("utf-8", "replace") for words in found.texts(b"locks")),
        )

    def status(self, paths: Collection[RelPath] | None = None, *, ignored: bool = False) -> Status:
        """Return how these files and all below these directories (``None``: everything) differ from p1.

        Nothing is written, not even the dirstate.
        """
        question = {b"paths": None if paths is None else list(paths), b"ignored": int(ignored)}
        found = self.server.ask("status", question)
        copies = found.table(b"copies")
        return Status(
            p1=found.text(b"p1"),
            modified=_paths(found, b"modified"),
            added=_paths(found, b"added"),
            removed=_paths(found, b"removed"),
            missing=_paths(found, b"missing"),
            unknown=_paths(found, b"unknown"),
            ignored=_paths(found, b"ignored"),
            copies={RelPath(new): RelPath(copies.text(new)) for new in copies},
        )

    def contents(self, paths: Collection[RelPath], node: bytes | None = None) -> dict[RelPath, File]:
        """Return those of ``paths`` that are files at ``node`` (``None``: at p1)."""
        files = self.server.ask("contents", {b"paths": list(paths), b"node": node}).table(b"files")
        found = {}
        for path in files:
            flags, content, file_node = (as_bytes(item, path) for item in files.items(path))
            found[RelPath(path)] = File(flags=flags, content=content, node=file_node)
        return found

    def manifest(self, node: bytes | None = None) -> dict[RelPath, tuple[bytes, bytes]]:
        """Return file node and flags of every path at ``node`` (``None``: at p1)."""
        found = {}
        for line in self.server.ask("manifest", {b"node": node}).text(b"manifest").split(b"\n")[:-1]:
            path, _, rest = line.partition(b"\0")
            found[RelPath(path)] = (bytes.fromhex(rest[:40].decode("ascii")), rest[40:])
        return found

    def difference(self, old: bytes, new: bytes) -> dict[RelPath, tuple[tuple[bytes, bytes] | None, ...]]:
        """Return (file node, flags) at ``old`` and at ``new`` for each path in which their manifests differ."""
        files = self.server.ask("difference", {b"old": old, b"new": new}).table(b"files")
        found = {}
        for path in files:
            sides = (None if side is None else as_list(side, path) for side in files.items(path))
            found[RelPath(path)] = tuple(
                None if side is None else (as_bytes(side[0], path), as_bytes(side[1], path)) for side in sides
            )
        return found

    def survey(self, directories: Collection[RelPath], names: Collection[RelPath], *, tracking: bool) -> Survey:
        """Return what differs from p1 below ``directories`` (``b""``: everywhere) and what is ignored of ``names``.

        ``tracking`` asks for what the user told hg of paths as well, which takes the whole dirstate.
        Nothing is written.
        """
        question: dict[bytes, Value] = {
            b"directories": list(directories),
            b"names": list(names),
            b"tracking": int(tracking),
        }
        found = self.server.ask("survey", question)
        copies = found.table(b"copies")
        return Survey(
            p1=found.text(b"p1"),
            dirty=_paths(found, b"dirty"),
            unknown=_paths(found, b"unknown"),
            ignored=frozenset(_paths(found, b"ignored")),
            rules=tuple(found.texts(b"rules")),
            added=_paths(found, b"added"),
            removed=_paths(found, b"removed"),
            copies={RelPath(new): RelPath(copies.text(new)) for new in copies},
            has_links=bool(found.number(b"links")),
            has_executables=bool(found.number(b"executable")),
            converts=bool(found.number(b"converts")),
        )

    def stored(self, paths: Collection[RelPath]) -> dict[RelPath, Content | int | None]:
        """Return for each path the content that hg would store for what is on the disk.

        ``None`` if nothing stands there, 0 if it was being written, an errno if it cannot be read.
        A large one that is asked for alone is never held.
        """
        spooled = Spooled(self._scratch) if len(paths) == 1 else None
        question = {b"paths": list(paths), b"into": None if spooled is None else spooled.place}
        files = self.server.ask("stored", question).table(b"files")
        found: dict[RelPath, Content | int | None] = {}
        for path in files:
            value = files.value(path)
            if value is None or isinstance(value, int):
                found[RelPath(path)] = value
            else:
                found[RelPath(path)] = answered(files.items(path)[0], spooled)
        return found

    def hashes(self, revisions: Sequence[tuple[RelPath, bytes]]) -> list[ObjectId | None]:
        """Return for each (path, file node) the id of its content, ``None`` if it is not here."""
        found = self.server.ask("hashes", _revisions(revisions)).text(b"hashes")
        ids = (found[at : at + 32] for at in range(0, len(found), 32))
        return [ObjectId(one.hex()) if any(one) else None for one in ids]

    def revisions(
        self, revisions: Sequence[tuple[RelPath, bytes]], *, over: bytes | None = None
    ) -> Iterator[Content | None]:
        """Yield for each (path, file node) its content, ``None`` if it is not here.

        ``over`` is a file with a bundle that is looked at as if hg had it; raises :class:`Missing` if
        hg lacks what that builds on.
        """
        left = revisions
        while left:
            spooled = Spooled(self._scratch)
            question = {**_revisions(left), b"over": over, b"into": spooled.place}
            contents = self.server.ask("revisions", question).items(b"contents")
            for content in contents:
                yield None if content is None else answered(content, spooled)
            left = left[len(contents) :]


def answered(value: Value, spooled: Spooled | None) -> Content:
    """Return the content that an answer holds, or that hg has written to a file of ours."""
    if isinstance(value, int) and spooled is not None:
        return spooled.filled(value)
    return Content(as_bytes(value, b"content"))


def _revisions(revisions: Sequence[tuple[RelPath, bytes]]) -> dict[bytes, Value]:
    return {b"paths": [path for path, _ in revisions], b"nodes": [node for _, node in revisions]}


def _paths(fields: Fields, name: bytes) -> tuple[RelPath, ...]:
    return tuple(RelPath(path) for path in fields.texts(name))
