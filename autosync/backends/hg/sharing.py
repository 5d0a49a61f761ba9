"""Tells what a Mercurial working copy shares with the others of its store (hg help -e share)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from autosync.backends.hg.head import Head
from autosync.backends.hg.requirements import check_requirements
from autosync.backends.sharing import Category, Known, Other, Part, Sharing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copy:
    """One working copy: ``metadata`` is its ``.hg``, ``source`` the one that its store lies in."""

    root: bytes
    metadata: bytes
    source: bytes
    has_bookmarks: bool
    """It was made by `hg share -B`."""
    is_safe: bool
    """It has the requirement share-safe itself, so it reads configuration and requirements of the source."""

    @property
    def is_source(self) -> bool:
        return self.metadata == self.source


def sharing_of_hg(root: bytes, configured: Iterable[bytes]) -> Sharing:
    """Return what the working copy at ``root`` shares; no hg is started, and nothing is written.

    A store does not list its shares: they are looked for among the roots ``configured`` and beside those
    that are known.  Raises :class:`NotAWorkingCopy` or :class:`Unsupported`.
    """
    real = os.path.realpath(root)
    check_requirements(real)
    own = _copy(real)
    assert own is not None  # noqa: S101  (its requirements were read)
    found = _others(own, configured)
    others = tuple(Other(root=copy.root, at=_at(copy.root), known=known) for copy, known in found)
    layout = _Layout(own, [copy for copy, _ in found])
    return Sharing(
        root=real,
        kind="source of the store" if own.is_source else "share",
        store=os.path.join(own.source, b"store"),
        others=others,
        parts=(*layout.never(), *layout.optional(), *layout.always()),
    )


def shares_of(root: bytes, configured: Iterable[bytes]) -> list[bytes]:
    """Return the roots of the other working copies of the store of ``root`` that can be found."""
    own = _copy(os.path.realpath(root))
    return [] if own is None else [copy.root for copy, _ in _others(own, configured)]


def _others(own: _Copy, configured: Iterable[bytes]) -> list[tuple[_Copy, Known]]:
    found: dict[bytes, tuple[_Copy, Known]] = {}

    def look(root: bytes, known: Known) -> None:
        copy = _copy(os.path.realpath(root))
        if copy is not None and copy.source == own.source and copy.root != own.root:
            found.setdefault(copy.root, (copy, known))

    look(os.path.dirname(own.source), Known.STORE)
    for root in configured:
        look(root, Known.CONFIGURATION)
    for place in sorted({os.path.dirname(root) for root in (own.root, *found)}):
        try:
            with os.scandir(place) as entries:
                neighbours = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue
        for root in neighbours:
            look(root, Known.NEIGHBOURS)
    return list(found.values())


def _copy(root: bytes) -> _Copy | None:
    metadata = os.path.join(root, b".hg")
    needed = _lines(os.path.join(metadata, b"requires"))
    if not os.path.isdir(metadata):
        return None
    return _Copy(
        root=root,
        metadata=metadata,
        source=os.path.realpath(Head(root).source),
        has_bookmarks=b"bookmarks" in _lines(os.path.join(metadata, b"shared")),
        is_safe=b"share-safe" in needed,
    )


def _at(root: bytes) -> str:
    """Return the active bookmark, else the named branch."""
    named, _, bookmark = (Head(root).base().branch or "").partition(":")
    return bookmark or named


class _Layout:
    """Where the parts of one working copy lie."""

    def __init__(self, own: _Copy, others: list[_Copy]) -> None:
        self._own = own
        self._others = others
        self._store = os.path.join(own.source, b"store")
        self._wlock = os.path.join(own.metadata, b"wlock")
        self._lock = os.path.join(self._store, b"lock")

    def never(self) -> Iterable[Part]:
        yield self._alone("working files", self._own.root)
        yield self._alone("dirstate: what is checked out", self._in(b"dirstate"))
        yield self._alone("named branch of the next commit", self._in(b"branch"))
        yield self._alone("active bookmark", self._in(b"bookmarks.current"))
        yield self._alone(
            "operation under way",
            self._own.metadata,
            note="update, merge, rebase, graft, bisect: updatestate and the like",
        )
        yield self._alone("shelved changes", self._in(b"shelved"))
        yield self._alone("local tags", self._in(b"localtags"))
        yield self._alone("sparse and narrow patterns", self._in(b"sparse"))
        own = b"hgrc-not-shared" if self._own.is_source and self._own.is_safe else b"hgrc"
        yield self._part("configuration of this working copy", Category.NEVER, self._in(own))
        yield self._part("caches of this working copy", Category.NEVER, self._in(b"wcache"))
        note = "each working copy has the snapshots of its own workspace, which has a key of its own"
        yield self._part("autosync's snapshots", Category.NEVER, self._in(b"autosync"), note=note)

    def optional(self) -> Iterable[Part]:
        yield self._bookmarks()
        with_config = [copy for copy in self._others if self._reads_the_same(copy)]
        is_safe = self._own.is_safe and (not self._own.is_source or bool(with_config))
        note = "share-safe: the source's is read by this one, before its own" if not self._own.is_source else ""
        off = "not share-safe: each has its own"
        is_own = not self._own.is_source and not self._own.is_safe
        source = self._own.metadata if is_own else self._own.source
        yield self._part(
            "configuration of the source",
            Category.OPTIONAL,
            os.path.join(source, b"hgrc"),
            with_=with_config,
            shared=is_safe,
            note=note if is_safe else off if not self._own.is_safe else "no other one reads it",
        )
        requires = os.path.join(self._store if self._own.is_safe else self._own.metadata, b"requires")
        yield self._part(
            "requirements of the store",
            Category.OPTIONAL,
            requires,
            *((self._lock,) if self._own.is_safe else ()),
            with_=with_config,
            shared=is_safe,
            note="" if self._own.is_safe else "not share-safe: each has a copy, which an upgrade of the store misses",
        )

    def always(self) -> Iterable[Part]:
        for name, place in (
            ("changesets, manifests and file history", b""),
            ("phases", b"phaseroots"),
            ("obsolescence markers", b"obsstore"),
            ("large files (lfs)", b"lfs"),
        ):
            path = os.path.join(self._store, place) if place else self._store
            yield self._common(name, path, self._lock)
        yield self._common("transaction under way", os.path.join(self._store, b"journal"), self._lock)
        caches = os.path.join(self._own.source, b"cache")
        yield self._common("caches of the history", caches, note="written without a lock")

    def _bookmarks(self) -> Part:
        store = {*_lines(os.path.join(self._store, b"requires")), *_lines(os.path.join(self._own.source, b"requires"))}
        if b"bookmarksinstore" in store:
            place = os.path.join(self._store, b"bookmarks")
            note = "they lie in the store (format.bookmarks-in-store)"
            return self._part(
                "bookmarks", Category.OPTIONAL, place, self._lock, with_=self._others, shared=True, note=note
            )
        locks: tuple[bytes, ...] = (self._wlock, self._lock)
        if self._own.is_source:
            users = [copy for copy in self._others if copy.has_bookmarks]
            note = "a share made with -B writes them, and takes this wlock last: see docs/locking.md" if users else ""
            where = self._own.metadata
        elif self._own.has_bookmarks:
            users = [copy for copy in self._others if copy.is_source or copy.has_bookmarks]
            note = "hg share -B: an hg without the extension `share` does not see the others'"
            where = self._own.source
            locks = (*locks, os.path.join(where, b"wlock"))
        else:
            users, where = [], self._own.metadata
            note = "made without -B: they are this working copy's own"
        place = os.path.join(where, b"bookmarks")
        return self._part("bookmarks", Category.OPTIONAL, place, *locks, with_=users, shared=bool(users), note=note)

    def _reads_the_same(self, other: _Copy) -> bool:
        """Return whether ``other`` reads the source's configuration and requirements, as this working copy does."""
        return self._own.is_safe and other.is_safe

    def _alone(self, name: str, path: bytes, note: str = "") -> Part:
        return self._part(name, Category.NEVER, path, self._wlock, note=note)

    def _common(self, name: str, path: bytes, *locks: bytes, note: str = "") -> Part:
        return self._part(name, Category.ALWAYS, path, *locks, with_=self._others, shared=True, note=note)

    def _part(
        self,
        name: str,
        category: Category,
        path: bytes,
        *locks: bytes,
        with_: Iterable[_Copy] = (),
        shared: bool = False,
        note: str = "",
    ) -> Part:
        return Part(
            name=name,
            category=category,
            path=path,
            locks=locks,
            shared=shared,
            companions=tuple(copy.root for copy in with_) if shared else (),
            note=note,
        )

    def _in(self, name: bytes) -> bytes:
        return os.path.join(self._own.metadata, name)


def _lines(path: bytes) -> set[bytes]:
    """Return the lines of a file, none if it is not there."""
    try:
        with open(path, "rb") as file:
            return set(file.read().splitlines())
    except OSError:
        return set()
