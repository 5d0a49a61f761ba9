"""The commands that talk to the hub, each in a process of its own: none asks, waits for a lock or runs our hooks."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from mercurial import bundle2, discovery, error, exchange, hg, hook, phases, registrar, util
from mercurial import ui as uimod
from mercurial.utils import urlutil

from . import harmless
from .history import changegroup_version, write_bundle

cmdtable: dict[bytes, Any] = {}
SAYS = b"autosync-hub: "
"""What begins a line of our answer; whatever else is printed is hg's, or an extension's."""
OURS = b"autosync"
"""In the extra of a changeset that an agent made for its user (``backends.hg.committing``)."""
_CHUNK = 1 << 16
# Appended to the user's command: where that says otherwise, that counts (ssh(1): the first value wins).
_SSH_OPTIONS = b" -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=3"
_HTTP_TIMEOUT = b"60"
"""Seconds (hg help config.http)."""
_PHASE = {phases.public: b"public", phases.draft: b"draft"}
_OVERTAKEN = (b"push creates new remote head", b"push creates multiple headed", b"repository changed while")


def fetch(ui: Any, repo: Any, remote: bytes, branch: bytes, place: bytes) -> int:
    """get a branch of the hub as a bundle"""
    named, _, bookmark = branch.partition(b":")
    peer = _reach(ui, repo, remote, push=False)
    tip = _tip(peer, named, bookmark)
    if tip is None:
        _say(ui, b"none")
        return 0
    here = repo.unfiltered()
    if not here.changelog.hasnode(tip):
        common, _, _ = discovery.findcommonincoming(here, peer, heads=[tip])
        _write(here, peer, tip, common, place)
    _say(ui, b"tip " + tip.hex().encode())
    return 0


def look(ui: Any, repo: Any, remote: bytes, branch: bytes) -> int:
    """find out whether the hub answers"""
    named, _, bookmark = branch.partition(b":")
    tip = _tip(_reach(ui, repo, remote, push=False), named, bookmark)
    _say(ui, b"none" if tip is None else b"tip " + tip.hex().encode())
    return 0


def push(ui: Any, repo: Any, remote: bytes, branch: bytes) -> int:
    """push our own changesets of a branch"""
    named, _, bookmark = branch.partition(b":")
    here = repo.unfiltered()
    tip = _ours(here, named, bookmark)
    if tip is None:
        _say(ui, b"none")
        return 0
    peer = _reach(ui, repo, remote, push=True)
    common, _, _ = discovery.findcommonincoming(here, peer, ancestorsof=[tip.node()])
    outgoing = list(here.revs(b"only(%d, %ln)", tip.rev(), common))
    private = [here[rev] for rev in outgoing if _is_private(here[rev])]
    if private:
        words = _PHASE.get(private[0].phase(), b"secret")
        _say(ui, b"private %d %s %s" % (len(private), words, private[0].hex()))
        return 0
    if not _continues(here, peer, tip, named, bookmark):
        _say(ui, b"behind")
        return 0
    try:
        _send(here, peer, tip, bookmark)
    except error.PushRaced:
        _say(ui, b"behind")
        return 0
    except error.Abort as refused:
        if not any(sign in bytes(refused) for sign in _OVERTAKEN):
            raise
        _say(ui, b"behind")
        return 0
    _follow_phases(here, peer, tip)
    _say(ui, b"pushed")
    return 0


def _say(ui: Any, words: bytes) -> None:
    ui.write(SAYS + words + b"\n")


def _reach(ui: Any, repo: Any, remote: bytes, *, push: bool) -> Any:
    """Return the hub, of which nobody is asked anything."""
    for each in (ui, repo.ui, repo.baseui):
        each.setconfig(b"ui", b"interactive", b"no", b"autosync")
        each.setconfig(b"ui", b"ssh", _patient_ssh(ui.config(b"ui", b"ssh")), b"autosync")
        if not ui.hasconfig(b"http", b"timeout"):
            each.setconfig(b"http", b"timeout", _HTTP_TIMEOUT, b"autosync")
    uimod.ui.makeprogress = _signs_of_life
    hook.hook = _hooks_of_others(repo)
    found = urlutil.get_push_paths(repo, ui, [remote]) if push else urlutil.get_pull_paths(repo, ui, [remote])
    path = next(iter(found))
    place = (push and getattr(path, "pushloc", None)) or path.loc
    _say(ui, b"at " + urlutil.hidepassword(place))
    return hg.peer(repo, {}, place)


def _patient_ssh(given: bytes) -> bytes:
    """Return the user's command for ssh with the options of OpenSSH that keep it from asking and from waiting."""
    try:
        words = shlex.split(os.fsdecode(given))
    except ValueError:
        return given
    program = next((word for word in words if not re.match(r"\w+=", word)), "")
    if os.path.basename(program) != "ssh" or set(given) & set(b";|&#"):
        return given
    return given + _SSH_OPTIONS


def _hooks_of_others(ours: Any) -> Any:
    """Return what runs hooks: those of a hub that is a repository of this machine, and none of ``ours``."""

    def run(ui: Any, repo: Any, *args: Any, **named: Any) -> Any:
        if repo is None or repo.root == ours.root:
            return False
        return harmless.run_hooks(ui, repo, *args, **named)

    return run


def _signs_of_life(ui: Any, *_args: Any, **_named: Any) -> Any:
    """Return a progress bar of which only that it moves is seen: whoever waits for us knows that we live."""
    return _Progress(ui)


class _Progress:
    """What hg tells of its progress."""

    total: int | None = None

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._told = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, *_args: Any, **_named: Any) -> None:
        """Give a sign, if none was given for a second."""
        now = time.monotonic()
        if now - self._told > 1:
            self._told = now
            self._ui.ferr.write(b".")
            self._ui.ferr.flush()

    increment = complete = update


def _tip(peer: Any, named: bytes, bookmark: bytes) -> bytes | None:
    """Return where the hub's branch is, ``None`` if it has none.

    Heads that a bookmark names are others' branches, if there is any that none does.
    """
    bookmarks = _listed(peer, b"bookmarks")
    if bookmark:
        return _node(bookmarks.get(bookmark))
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


def _write(here: Any, peer: Any, tip: bytes, common: list[bytes], place: bytes) -> None:
    """Write what leads from ``common`` to ``tip`` to ``place``, in the form of our own bundles."""
    version = changegroup_version(here)
    capabilities = bundle2.getrepocaps(here, role=b"client")
    capabilities[b"changegroup"] = (version,)
    told = {b"HG20", b"bundle2=" + util.urlreq.quote(bundle2.encodecaps(capabilities))}
    question = {
        b"source": b"pull",
        b"heads": [tip],
        b"common": common,
        b"bundlecaps": told,
        b"cg": True,
        b"phases": b"heads" in bundle2.bundle2caps(peer).get(b"phases", ()),
    }
    with peer.commandexecutor() as executor:
        answer = executor.callcommand(b"getbundle", question).result()
    count = 0
    heads: list[tuple[int, bytes]] = []
    with tempfile.TemporaryFile(dir=here.vfs.join(b"autosync")) as changes:
        for part in answer.iterparts():
            if part.type == b"changegroup":
                if part.params.get(b"version", b"01") != version:
                    raise error.Abort(b"the hub answers with a changegroup of another version")
                count = int(part.params.get(b"nbchanges", b"0"))
                progress = _Progress(here.ui)
                for chunk in _chunks(part):
                    changes.write(chunk)
                    progress.update()
            elif part.type == b"phase-heads":
                heads = [(phase, node) for phase, nodes in phases.binarydecode(part).items() for node in nodes]
        changes.seek(0)
        with open(place, "wb") as file:
            stream = iter(lambda: changes.read(_CHUNK), b"")
            told_heads = [head for head in heads if head[0] in _PHASE]
            write_bundle(here.ui, file, stream, told_heads or [(phases.draft, tip)], version=version, count=count)


def _chunks(part: Any) -> Iterator[bytes]:
    return iter(lambda: bytes(part.read(_CHUNK)), b"")


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
    if bookmark:
        there = _node(_listed(peer, b"bookmarks").get(bookmark))
        ends = [] if there is None else [there]
    else:
        ends = _heads(peer, named)
    if not ends:
        return True
    known = [here[node] for node in ends if here.changelog.hasnode(node)]
    return any(here.changelog.isancestorrev(end.rev(), tip.rev()) for end in known)


def _send(here: Any, peer: Any, tip: Any, bookmark: bytes) -> None:
    """Push, with no lock of the user's repository: hg would hold it while it transfers."""

    def refuse(*_args: Any, **_named: Any) -> None:
        raise error.LockUnavailable(0, b"it is not to be waited for", b"lock", b"store")

    here.lock = refuse
    try:
        done = exchange.push(here, peer, revs=[tip.node()], newbranch=True, bookmarks=[bookmark] if bookmark else [])
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
_command(b"autosync-hub-look", [], b"")(look)
_command(b"autosync-hub-push", [], b"")(push)
