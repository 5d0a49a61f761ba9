"""Decides which bookmarks of a server a working copy pulls: what it subscribed to, has checked out, or asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from mercurial import bundlerepo, encoding, error
from mercurial.i18n import _
from mercurial.node import hex as hexadecimal
from mercurial.utils import urlutil

from . import asking
from .names import any_matcher, flaw, is_divergent
from .subscription import Subscription, check
from .versions import is_loaded

MANY_LOCAL = 2000
"""With more bookmarks here than this a push asks for all of the server's, as hg does."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command that runs asks of every server it talks to."""

    names: tuple[bytes, ...] = ()
    """Bookmarks that its user named."""
    is_push: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What is pulled from a server."""

    marks: dict[bytes, bytes]
    """The node of each bookmark."""
    heads: list[bytes]
    """The nodes whose ancestors are pulled; none if the server is empty."""
    doubtful: set[bytes]
    asked: set[bytes] = field(default_factory=set)
    """All names that were asked for, also those that the server does not have."""


_asked: ContextVar[Asked | None] = ContextVar("selectivepull_asked", default=None)
_everything: ContextVar[bool] = ContextVar("selectivepull_everything", default=False)


@contextmanager
def ask_for(asked: Asked) -> Iterator[None]:
    """Have the peers that are used within tell of the bookmarks alone that the command needs."""
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


@contextmanager
def everything() -> Iterator[None]:
    """Have hg pull everything within, as without the extension."""
    token = _everything.set(True)
    try:
        yield
    finally:
        _everything.reset(token)


def is_selective(ui: Any) -> bool:
    """Return whether pulls are selective, by the configuration and by what runs."""
    return is_loaded(ui) and bool(ui.configbool(b"selectivepull", b"enabled")) and not _everything.get()


def asked_names(repo: Any) -> list[bytes]:
    """Return the names that the user of the command that runs gave, ``.`` expanded."""
    asked = _asked.get()
    return [repo._bookmarks.expandname(name) for name in asked.names] if asked is not None else []


def choose(repo: Any, peer: Any) -> Choice:
    """Ask a server for what this working copy pulls from it.

    Raises:
        mercurial.error.Abort: what the user named is not there, or the answer is nonsense.
    """
    subscription = Subscription(repo)
    named = asked_names(repo)
    for name in named:
        check(name, b"--bookmark")
    here = [repo._activebookmark] if repo._activebookmark else []
    defaults = list(repo.ui.configlist(b"selectivepull", b"default"))
    patterns = subscription.patterns
    exact = {*subscription.exact, *named, *here, *_mirrored(repo)}
    if patterns and not asking.lists(peer):
        repo.ui.status(
            _(b"(%s cannot list by pattern: of %s the names known here are pulled)\n")
            % (urlutil.hidepassword(peer.url()), b", ".join(patterns))
        )
        exact.update(subscription.known_for(patterns))
        patterns = []
    found = asking.ask(peer, exact.union(defaults), patterns)
    first = next((name for name in defaults if name in found.marks), None)
    matches = any_matcher(map(encoding.fromlocal, patterns))
    kept = {name for name in defaults if name == first or name in exact or matches(encoding.fromlocal(name))}
    surplus = set(defaults) - kept
    marks = {name: node for name, node in found.marks.items() if name not in surplus}
    for name in named:
        if name not in marks:
            raise missing(peer, name)
    return Choice(
        marks=marks,
        heads=list(dict.fromkeys([*marks.values(), *_branch(repo, peer, nothing=not marks)])),
        doubtful=found.doubtful.difference(subscription.seen),
        asked=exact,
    )


def missing(peer: Any, name: bytes) -> Exception:
    """Return the error that a server has no bookmark of a name, with those that it has and are like it."""
    like = asking.similar(peer, name)
    at = urlutil.hidepassword(peer.url())
    if like:
        hint = _(b"there are: %s") % b", ".join(like)
    elif asking.lists(peer):
        hint = _(b"hg bookmarks --remote '%s*' lists what begins like it") % name[:3]
    else:
        hint = _(b"%s cannot list its bookmarks by pattern; hg bookmarks --remote --all lists all of them") % at
    absent: Exception = error.InputError(_(b"remote bookmark %s not found!") % name, hint=hint)
    return absent


def for_listkeys(repo: Any, peer: Any) -> dict[bytes, bytes] | None:
    """Return the bookmarks (hexadecimal) that ``listkeys`` tells the command that runs, ``None`` for all."""
    asked = _asked.get()
    if asked is None or not is_selective(repo.ui) or is_bundle(peer):
        return None
    if not asked.is_push:
        choice = choose(repo, peer)
        peer.selective.doubtful = choice.doubtful
        return {name: hexadecimal(node) for name, node in choice.marks.items()}
    names = [*asked_names(repo), *repo._bookmarks]
    if not asking.lists(peer) or len(names) > MANY_LOCAL or any(map(flaw, names)):
        return None
    found = asking.ask(peer, [name for name in names if not is_divergent(name)], ())
    return {name: hexadecimal(node) for name, node in found.marks.items()}


def is_bundle(peer: Any) -> bool:
    """Return whether a peer is a bundle: of that everything is pulled."""
    return isinstance(peer.local(), bundlerepo.bundlerepository)


def _mirrored(repo: Any) -> list[bytes]:
    """Return the names to ask for because hg would remove them if the server seemed not to have them."""
    modes = {path.bookmarks_mode for paths in repo.ui.paths.values() for path in paths}
    return [name for name in repo._bookmarks if not is_divergent(name)] if b"mirror" in modes else []


def _branch(repo: Any, peer: Any, nothing: bool) -> list[bytes]:
    """Return the tip of the branch that is checked out, where no bookmark stands for it."""
    branch = repo.dirstate.branch()
    if not nothing and (repo._activebookmark or branch == b"default"):
        return []
    tips = asking.look_up(peer, (branch, b"tip") if nothing else (branch,))
    return list(tips.values())[:1]
