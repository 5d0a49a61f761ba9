"""Lists what a working copy shares with others of its store, and which lock guards it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mercurial import bookmarks, requirements

from .bookmarking import source_of

ALWAYS, BY_CHOICE, NEVER = b"always", b"by choice", b"never"


class Shared(NamedTuple):
    """A kind of thing: when it is shared, whether it is here, where it is, and the file that is its lock."""

    what: bytes
    when: bytes
    here: bool
    place: bytes
    lock: bytes


def entries(repo: Any) -> Iterator[Shared]:
    """Yield everything that a working copy consists of; an empty lock: replaced as a whole, without one."""
    shared = bool(repo.shared())
    own, store, store_lock = repo.path, repo.sjoin(b""), repo.sjoin(b"lock")
    working_lock = repo.vfs.join(b"wlock")
    yield Shared(b"history, phases, obsolescence", ALWAYS, shared, store, store_lock)
    yield Shared(b"caches of the history", ALWAYS, shared, repo.cachevfs.join(b""), b"")
    yield _bookmarks(repo, shared=shared)
    safe = requirements.SHARESAFE_REQUIREMENT in repo.requirements
    yield Shared(b"configuration, format", BY_CHOICE, shared and safe, repo.sharedpath if safe else own, b"")
    yield Shared(b"parents, tracked files, branch", NEVER, False, own, working_lock)
    yield Shared(b"active bookmark", NEVER, False, repo.vfs.join(b"bookmarks.current"), working_lock)
    yield Shared(b"unfinished operations, shelved changes", NEVER, False, own, working_lock)


def show(ui: Any, repo: Any, options: dict[str, Any]) -> None:
    """Print the list, in the form that ``template`` in ``options`` asks for."""
    with ui.formatter(b"shared", {b"template": options["template"]}) as rows:
        for entry in entries(repo):
            rows.startitem()
            rows.write(b"what", b"%-40s", entry.what)
            rows.write(b"when", b"%-10s", entry.when)
            rows.data(shared=entry.here, path=entry.place)
            rows.plain(b"shared   " if entry.here else b"own      ")
            rows.write(b"lock", b"%s\n", entry.lock or b"-")


def _bookmarks(repo: Any, *, shared: bool) -> Shared:
    name = b"bookmarks"
    if bookmarks.bookmarksinstore(repo):
        return Shared(name, ALWAYS, shared, repo.sjoin(name), repo.sjoin(b"lock"))
    source = source_of(repo)
    place = (source or repo.vfs).join(name)
    return Shared(name, BY_CHOICE, source is not None, place, repo.sjoin(b"lock"))
