"""Brings the bookmarks of a hub that are followed into the user's repository, as ``hg pull -B`` would."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from mercurial import bookmarks as bookmod
from mercurial import discovery, error, scmutil

from . import marks
from .adding import take_in
from .bookmarking import Bookmarks, active
from .landing import replace_all
from .locking import locked
from .reaching import reach, say, write_bundle_of
from .refusal import Declined

_WANT = b"want "
_HEADER = b"selectivepull 1\n"


def follow(ui: Any, repo: Any, remote: bytes, *wanted: bytes) -> int:
    """get the bookmarks of the hub that are followed"""
    peer = reach(ui, repo, remote, push=False)
    exact = [name for name in wanted if not name.endswith(b"*")]
    found = marks.named(peer, exact)
    told = {name: b"absent" for name in exact if name not in found}
    most = 1001
    for pattern in (name for name in wanted if name.endswith(b"*")):
        try:
            found.update(marks.matching(peer, pattern, b"", most)[0])
        except marks.Unlisted:
            told[pattern] = b"unlisted"
    if len(found) >= most:
        say(ui, b"many")
        return 0
    try:
        _bring(repo, peer, found)
        told.update(_move(repo, found))
    except Declined as declined:
        say(ui, b"declined " + declined.reason + b" " + declined.words.encode("utf-8", "replace"))
        return 0
    for name, state in sorted(told.items()):
        node = found.get(name)
        say(ui, b"%s %s %s" % (state, b"-" if node is None else node.hex().encode(), name))
    say(ui, b"done")
    return 0


def listed(ui: Any, repo: Any, remote: bytes, *asked: bytes) -> int:
    """list the bookmarks of the hub that a pattern means, at most so many, after a name"""
    pattern, limit, after = asked
    peer = reach(ui, repo, remote, push=False)
    more = False
    if pattern.endswith(b"*"):
        try:
            rows, more = marks.matching(peer, pattern, after, int(limit))
        except marks.Unlisted:
            say(ui, b"unlisted")
            return 0
    else:
        rows = [row for row in marks.named(peer, [pattern]).items() if row[0] > after]
    for name, node in rows:
        say(ui, b"row %s %s" % (node.hex().encode(), name))
    say(ui, b"more" if more else b"end")
    return 0


def subscribe(ui: Any, repo: Any, deed: bytes, *names: bytes) -> int:
    """add names to the list of the extension selectivepull, or remove them"""
    try:
        with locked(repo):
            lines = (repo.vfs.tryread(b"selectivepull") or _HEADER).splitlines(keepends=True)
            here = [_WANT + name + b"\n" for name in names]
            kept = [line for line in lines[1:] if line not in here]
            new = [*kept, *here] if deed == b"add" else kept
            with repo.vfs(b"selectivepull", b"w", atomictemp=True) as file:
                file.write(b"".join([lines[0], *sorted(new, reverse=True)]))
    except Declined as declined:
        say(ui, b"declined " + declined.reason + b" " + declined.words.encode("utf-8", "replace"))
        return 0
    say(ui, b"done")
    return 0


def _bring(repo: Any, peer: Any, found: Mapping[bytes, bytes]) -> None:
    """Get the changesets that are not here; no lock is held while they travel."""
    here = repo.unfiltered()
    tips = sorted({node for node in found.values() if not here.changelog.hasnode(node)})
    if not tips:
        return
    common, _, _ = discovery.findcommonincoming(here, marks.Part(peer, heads=tips), heads=tips)
    with contextlib.suppress(FileExistsError):  # and none above it: they may have gone away with their disk
        os.mkdir(here.vfs.join(b"autosync"), 0o700)
    with tempfile.NamedTemporaryFile(dir=here.vfs.join(b"autosync")) as bundle:
        place = os.fsencode(bundle.name)
        write_bundle_of(here, peer, tips, common, place)
        take_in(repo, place, tips[-1])


def _move(repo: Any, found: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Let the bookmarks follow, forward only, and return how it stands with each."""
    bookmarks = Bookmarks(repo)
    told, moves = _plan(repo, bookmarks, found)
    if not moves:
        return told
    with locked(repo, store=True, source=bookmarks.source):
        bookmarks = Bookmarks(repo)
        told, moves = _plan(repo, bookmarks, found)
        content = bookmarks.all_moved(moves)
        with repo.transaction(b"autosync-follow") as transaction:
            bookmarks.add_to(transaction, content)
        if bookmarks.source is not None:
            replace_all({bookmarks.places()[-1]: content}, lambda: None)
    return told


def _plan(
    repo: Any, bookmarks: Bookmarks, found: Mapping[bytes, bytes]
) -> tuple[dict[bytes, bytes], Mapping[bytes, bytes]]:
    told, moves = {}, {}
    taken, checked_out, whole = {*repo.branchmap(), *repo.tags()}, active(repo), repo.unfiltered()
    for name, node in found.items():
        here = bookmarks.node(name)
        if _is_taken_for_a_changeset(repo, name):
            told[name] = b"absent"
        elif node not in repo:  # hidden here: its user has rewritten it
            told[name] = b"diverged"
        elif name in taken and name not in bookmarks:  # what was looked up is no bookmark
            told[name] = b"absent"
        elif name == checked_out:
            told[name] = b"checked-out"
        elif here is None or bookmod.validdest(repo, whole[here], whole[node]):
            told[name] = b"current"
            moves[name] = node
        else:
            behind = whole.changelog.isancestor(node, here)
            told[name] = b"current" if behind else b"diverged"
    return told, moves


def _is_taken_for_a_changeset(repo: Any, name: bytes) -> bool:
    """Return whether hg itself would make no bookmark of this name: ``tip``, a number."""
    try:
        scmutil.checknewlabel(repo, name, b"bookmark")
    except error.Abort:
        return True
    return False
