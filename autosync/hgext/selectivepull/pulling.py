"""Pulls the chosen bookmarks and their ancestors alone, wherever hg would pull all that a server has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mercurial import bundlerepo, error, exchange, extensions, subrepo
from mercurial.i18n import _
from mercurial.utils import urlutil

from . import choosing, versions
from .narrowing import Narrow, narrow, narrowed, only_heads
from .subscription import Subscription, remember

Original = Callable[..., Any]


class _Chooser:
    """Chooses for one repository."""

    def __init__(self, repo: Any) -> None:
        self._repo = repo

    def bookmarks(self, peer: Any) -> dict[bytes, bytes] | None:
        return choosing.for_listkeys(self._repo, peer)


def narrowed_for(repo: Any, peer: Any) -> Narrow:
    """Have a peer tell the commands of a repository only of what they need."""
    return narrow(peer, _Chooser(repo))


def register() -> None:
    """Take the place of hg's own functions in this process."""
    extensions.wrapfunction(exchange, "pull", _pull)
    extensions.wrapfunction(exchange, "push", _push)
    extensions.wrapfunction(exchange, "_pullbookmarks", _pullbookmarks)
    extensions.wrapfunction(bundlerepo, "getremotechanges", _getremotechanges)
    extensions.wrapfunction(versions.PEERS, "peer", _peer)
    extensions.wrapfunction(subrepo.hgsubrepo, "_get", _get)


def _peer(original: Original, uiorrepo: Any, *arguments: Any, **keywords: Any) -> Any:
    peer = original(uiorrepo, *arguments, **keywords)
    if hasattr(uiorrepo, "dirstate") and not keywords.get("create") and choosing.is_selective(uiorrepo.ui):
        narrowed_for(uiorrepo, peer)
    return peer


def _pull(
    original: Original,
    repo: Any,
    remote: Any,
    path: Any = None,
    heads: Any = None,
    **given: Any,
) -> Any:
    """Take the place of ``exchange.pull``, through which every pull and clone goes."""
    opargs = given.pop("opargs", None)
    if not choosing.is_selective(repo.ui) or choosing.is_bundle(remote):
        return original(repo, remote, path=path, heads=heads, opargs=opargs, **given)
    narrowed = narrowed_for(repo, remote)
    options = dict(opargs or {})
    marks, asked = options.get(b"remotebookmarks"), set(choosing.asked_names(repo))
    if marks is None:
        choice = choosing.choose(repo, remote)
        marks, asked, narrowed.doubtful = choice.marks, choice.asked, choice.doubtful
        heads = heads or choice.heads or None
    options[b"remotebookmarks"] = marks
    with only_heads(narrowed, heads):
        result = original(repo, remote, path=path, heads=heads, opargs=options, **given)
    _tell_gone(repo, remote, asked, marks)
    remember(repo, {name: node for name, node in marks.items() if name in repo._bookmarks}, asked)
    return result


def _tell_gone(repo: Any, remote: Any, asked: set[bytes], marks: dict[bytes, bytes]) -> None:
    for name in sorted(asked.difference(marks)):
        if name in repo._bookmarks and name in Subscription(repo).seen:
            at = urlutil.hidepassword(remote.url())
            repo.ui.status(_(b"(bookmark %s is no longer at %s; it stays here)\n") % (name, at))


def _pullbookmarks(original: Original, pullop: Any) -> Any:
    """Drop what is a tag or a branch and no bookmark: the changesets are here now, in the transaction."""
    narrow = narrowed(pullop.remote)
    if narrow is not None and pullop.remotebookmarks is not None and narrow.doubtful:
        for name in sorted(narrow.doubtful.intersection(pullop.remotebookmarks)):
            kind = _other_kind(pullop.repo, name, pullop.remotebookmarks[name])
            if kind is None:
                continue
            if name in pullop.explicitbookmarks:
                raise error.InputError(
                    _(b"%s is a %s at %s and no bookmark") % (name, kind, urlutil.hidepassword(pullop.remote.url())),
                    hint=_(b"hg pull -r %s pulls it once") % name,
                )
            del pullop.remotebookmarks[name]
    return original(pullop)


def _other_kind(repo: Any, name: bytes, node: bytes) -> bytes | None:
    """Return what else a server's ``lookup`` may have meant by a name."""
    whole = repo.unfiltered()
    if not whole.changelog.hasnode(node):
        return None
    if whole[node].branch() == name:
        return b"branch"
    return b"tag" if repo.tags().get(name) == node else None


def _push(original: Original, repo: Any, *arguments: Any, **keywords: Any) -> Any:
    names = keywords.get("bookmarks") or ()
    with choosing.ask_for(choosing.Asked(tuple(names), is_push=True)):
        return original(repo, *arguments, **keywords)


def _getremotechanges(
    original: Original, ui: Any, repo: Any, peer: Any, onlyheads: Any = None, *arguments: Any, **keywords: Any
) -> Any:
    """Take the place of what `hg incoming` shows, so that it is what `hg pull` would pull."""
    if not choosing.is_selective(ui) or choosing.is_bundle(peer):
        return original(ui, repo, peer, onlyheads, *arguments, **keywords)
    heads = onlyheads or choosing.choose(repo, peer).heads
    if not heads:
        return original(ui, repo, peer, onlyheads, *arguments, **keywords)
    with only_heads(narrowed_for(repo, peer), heads):
        return original(ui, repo, peer, heads, *arguments, **keywords)


def _get(original: Original, *arguments: Any, **keywords: Any) -> Any:
    """Have a subrepository pull everything: it needs a changeset that no bookmark may name."""
    with choosing.everything():
        return original(*arguments, **keywords)
