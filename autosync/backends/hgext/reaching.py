"""Reaches a hub, of which nobody is asked anything, and writes what it sends as a bundle of our own form."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from mercurial import bundle2, error, hg, hook, phases, util
from mercurial import ui as uimod
from mercurial.utils import urlutil

from . import harmless
from .history import changegroup_version, write_bundle

SAYS = b"autosync-hub: "
"""What begins a line of our answer; whatever else is printed is hg's, or an extension's."""
_CHUNK = 1 << 16
# Appended to the user's command: where that says otherwise, that counts (ssh(1): the first value wins).
_SSH_OPTIONS = b" -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=3"
_HTTP_TIMEOUT = b"60"
"""Seconds (hg help config.http)."""
_TOLD = frozenset({phases.public, phases.draft})


def say(ui: Any, words: bytes) -> None:
    """Answer, with a line."""
    ui.write(SAYS + words + b"\n")


def reach(ui: Any, repo: Any, remote: bytes, *, push: bool) -> Any:
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
    say(ui, b"at " + urlutil.hidepassword(place))
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


def write_bundle_of(here: Any, peer: Any, tips: Sequence[bytes], common: Sequence[bytes], place: bytes) -> None:
    """Write what leads from ``common`` to ``tips`` to ``place``, in the form of our own bundles."""
    version = changegroup_version(here)
    capabilities = bundle2.getrepocaps(here, role=b"client")
    capabilities[b"changegroup"] = (version,)
    told = {b"HG20", b"bundle2=" + util.urlreq.quote(bundle2.encodecaps(capabilities))}
    question = {
        b"source": b"pull",
        b"heads": list(tips),
        b"common": list(common),
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
            told_heads = [head for head in heads if head[0] in _TOLD]
            write_bundle(
                here.ui, file, stream, told_heads or [(phases.draft, tip) for tip in tips], version=version, count=count
            )


def _chunks(part: Any) -> Iterator[bytes]:
    return iter(lambda: bytes(part.read(_CHUNK)), b"")
