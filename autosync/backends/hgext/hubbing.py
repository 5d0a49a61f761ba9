"""The commands that talk to the hub, each in a process of its own: none asks, waits for a lock or runs our hooks."""

from __future__ import annotations

import re
from typing import Any

from mercurial import discovery, error, exchange, phases, registrar

from . import following, marks
from .reaching import reach, say, write_bundle_of

cmdtable: dict[bytes, Any] = {}
OURS = b"autosync"
"""In the extra of a changeset that an agent made for its user (``backends.hg.committing``)."""
_PHASE = {phases.public: b"public", phases.draft: b"draft"}
_OVERTAKEN = (b"push creates new remote head", b"push creates multiple headed", b"repository changed while")


def fetch(ui: Any, repo: Any, remote: bytes, branch: bytes, place: bytes) -> int:
    """get a branch of the hub as a bundle"""
    named, _, bookmark = branch.partition(b":")
    peer = reach(ui, repo, remote, push=False)
    tip = _tip(peer, named, bookmark)
    if tip is None:
        say(ui, b"none")
        return 0
    here = repo.unfiltered()
    if not here.changelog.hasnode(tip):
        common, _, _ = discovery.findcommonincoming(here, marks.Part(peer, heads=[tip]), heads=[tip])
        write_bundle_of(here, peer, [tip], common, place)
    say(ui, b"tip " + tip.hex().encode())
    return 0


def look(ui: Any, repo: Any, remote: bytes, branch: bytes) -> int:
    """find out whether the hub answers"""
    named, _, bookmark = branch.partition(b":")
    tip = _tip(reach(ui, repo, remote, push=False), named, bookmark)
    say(ui, b"none" if tip is None else b"tip " + tip.hex().encode())
    return 0


def push(ui: Any, repo: Any, remote: bytes, branch: bytes) -> int:
    """push our own changesets of a branch"""
    named, _, bookmark = branch.partition(b":")
    here = repo.unfiltered()
    tip = _ours(here, named, bookmark)
    if tip is None:
        say(ui, b"none")
        return 0
    peer = reach(ui, repo, remote, push=True)
    common, _, _ = discovery.findcommonincoming(here, peer, ancestorsof=[tip.node()])
    outgoing = list(here.revs(b"only(%d, %ln)", tip.rev(), common))
    private = [here[rev] for rev in outgoing if _is_private(here[rev])]
    if private:
        words = _PHASE.get(private[0].phase(), b"secret")
        say(ui, b"private %d %s %s" % (len(private), words, private[0].hex()))
        return 0
    if not _continues(here, peer, tip, named, bookmark):
        say(ui, b"behind")
        return 0
    try:
        _send(here, peer, tip, bookmark)
    except error.PushRaced:
        say(ui, b"behind")
        return 0
    except error.Abort as refused:
        if not any(sign in bytes(refused) for sign in _OVERTAKEN):
            raise
        say(ui, b"behind")
        return 0
    _follow_phases(here, peer, tip)
    say(ui, b"pushed")
    return 0


def _tip(peer: Any, named: bytes, bookmark: bytes) -> bytes | None:
    """Return where the hub's branch is, ``None`` if it has none.

    Heads that a bookmark names are others' branches, if there is any that none does.
    """
    if bookmark:
        return marks.named(peer, [bookmark]).get(bookmark)
    bookmarks = _listed(peer, b"bookmarks")
    heads = _heads(peer, named)
    taken = {_node(node) for node in bookmarks.values()}
    return next(iter([node for node in reversed(heads) if node not in taken] or reversed(heads)), None)


def _heads(peer: Any, named: bytes) -> list[bytes]:
    with peer.commandexecutor() as executor:
        found = executor.callcommand(b"branchmap", {}).result()
    if isinstance(found, dict):  # as it came over a wire
        return list(found.get(named, ()))
    return list(found.branchheads(named, closed=True)) if found.hasbranch(named) else []


def _listed(peer: Any, namespace: bytes) -> dict[bytes, bytes]:
    with peer.commandexecutor() as executor:
        return dict(executor.callcommand(b"listkeys", {b"namespace": namespace}).result())


def _node(hexadecimal: bytes | None) -> bytes | None:
    if hexadecimal is None or not re.fullmatch(rb"[0-9a-f]{40}", hexadecimal):
        return None
    return bytes.fromhex(hexadecimal.decode("ascii"))


def _ours(here: Any, named: bytes, bookmark: bytes) -> Any:
    """Return our own end of the branch, ``None`` if there is none."""
    if bookmark:
        node = here._bookmarks.get(bookmark)
        return None if node is None else here[node]
    current = here[here.dirstate.p1()]
    if current.branch() == named and current.rev() >= 0:
        return current
    node = here.branchtip(named, ignoremissing=True)
    return None if node is None else here[node]


def _is_private(changeset: Any) -> bool:
    """Return whether a changeset is the user's own, and not published by himself."""
    if changeset.phase() == phases.public:
        return False
    return changeset.phase() != phases.draft or OURS not in changeset.extra()


def _continues(here: Any, peer: Any, tip: Any, named: bytes, bookmark: bytes) -> bool:
    """Return whether ``tip`` is, or descends from, what the hub has of the branch."""
    ends = list(marks.named(peer, [bookmark]).values()) if bookmark else _heads(peer, named)
    if not ends:
        return True
    known = [here[node] for node in ends if here.changelog.hasnode(node)]
    return any(here.changelog.isancestorrev(end.rev(), tip.rev()) for end in known)


def _send(here: Any, peer: Any, tip: Any, bookmark: bytes) -> None:
    """Push, with no lock of the user's repository: hg would hold it while it transfers."""

    def refuse(*_args: Any, **_named: Any) -> None:
        raise error.LockUnavailable(0, b"it is not to be waited for", b"lock", b"store")

    here.lock = refuse
    # It looks for the bookmark among all of them, and compares the others with ours, which are not pushed.
    hub = marks.Part(peer, marks=marks.named(peer, [bookmark])) if bookmark else peer
    try:
        done = exchange.push(here, hub, revs=[tip.node()], newbranch=True, bookmarks=[bookmark] if bookmark else [])
    finally:
        del here.lock
    if done.cgresult == 0 or done.bkresult == 2:
        raise error.Abort(b"the hub did not take it")


def _follow_phases(here: Any, peer: Any, tip: Any) -> None:
    """Note that the hub has published what it has got, unless somebody holds the lock: the next pull notes it then."""
    if _listed(peer, b"phases").get(b"publishing") != b"True" or tip.phase() == phases.public:
        return
    try:
        with here.lock(wait=False), here.transaction(b"autosync-push") as transaction:
            phases.advanceboundary(here, transaction, phases.public, [tip.node()])
    except error.LockError:
        here.ui.debug(b"phases are left as they are\n")


_command = registrar.command(cmdtable)
_command(b"autosync-hub-fetch", [], b"")(fetch)
_command(b"autosync-hub-follow", [], b"")(following.follow)
_command(b"autosync-hub-list", [], b"")(following.listed)
_command(b"autosync-hub-subscribe", [], b"")(following.subscribe)
_command(b"autosync-hub-look", [], b"")(look)
_command(b"autosync-hub-push", [], b"")(push)
