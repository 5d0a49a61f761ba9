"""Notes what `autosync worktree add` is about to make: after a kill in the middle of it, the next run takes it away."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Sequence

from autosync.backends.git.linking import GitLink
from autosync.backends.hg.linking import HgLink
from autosync.backends.linking import Link, Spot
from autosync.config import Config, Vcs
from autosync.errors import AutosyncError
from autosync.store import StateDirectory


def link_to(
    spot: Spot, vcs: Vcs, branch: str | None, *, others: Sequence[bytes] = (), made: str = "", start: str = ""
) -> Link:
    """Return the working copy that is to be made; see :class:`GitLink` and :class:`HgLink`."""
    if vcs is Vcs.HG:
        return HgLink(spot, branch, others=others, made=made, start=start)
    return GitLink(spot, branch, made=made, start=start)


@contextlib.contextmanager
def journal(state_dir: str, link: Link, key: str) -> Iterator[None]:
    """Keep a note that ``link`` and the new key file ``key`` (or none) are being made, for the time of the block.

    If the block fails it has to leave nothing.  Raises :class:`AutosyncError` if that did not work.
    """
    place = _place(state_dir, link.spot.dest)
    StateDirectory(state_dir)
    with _locked(place, link.spot.dest) as file:
        spot = link.spot
        facts = {"source": spot.source, "dest": spot.dest, "hg": spot.hg, "vcs": link.vcs.value, **link.facts()}
        os.truncate(file, 0)
        os.pwrite(file, json.dumps({**facts, "key": key}).encode(), 0)
        os.fsync(file)
        try:
            yield
        except BaseException as error:
            if os.path.isdir(spot.dest) and os.listdir(spot.dest):
                raise _left(link, key, "could not be made, nor taken away again") from error
            os.unlink(place)
            raise
        os.unlink(place)


def take_away(config: Config, dest: str) -> None:
    """Take away what a killed run has left at ``dest``, if it has.

    Raises :class:`AutosyncError` if there may be something of the user's in it, or if one is at work there.
    """
    place = _place(config.state_dir, dest)
    if not os.path.exists(place):
        return
    with _locked(place, dest) as file:
        noted = _noted(os.pread(file, 1 << 16, 0))
        if noted is not None and all(os.path.realpath(path.path) != dest for path in config.paths):
            link, key = noted
            if not link.is_untouched():
                raise _left(link, key, "was being made when the command was killed, and there are files in it")
            link.unmake()
            if key and all(path.key_file != key for path in config.paths):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(key)
        os.unlink(place)


def _noted(content: bytes) -> tuple[Link, str] | None:
    """Return what was being made, ``None`` if nothing was begun."""
    try:
        facts = json.loads(content)
        hg = facts["hg"]
        spot = Spot(source=facts["source"], dest=facts["dest"], hg=None if hg is None else tuple(hg))
        link = link_to(spot, Vcs(facts["vcs"]), facts["branch"], made=facts["made"], start=facts["start"])
        return link, str(facts["key"])
    except (ValueError, KeyError, TypeError):  # killed while it was noted
        return None


def _left(link: Link, key: str, what: str) -> AutosyncError:
    lines = [*link.by_hand(), *([f"rm -f {shlex.quote(key)}"] if key else [])]
    return AutosyncError(
        f"{link.spot.dest} {what}",
        hint=f"Save what you need of it. Then this takes it away: {' ; '.join(lines)}",
    )


@contextlib.contextmanager
def _locked(place: str, dest: str) -> Iterator[int]:
    file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AutosyncError(
                f"{dest} is being made by another `autosync worktree add`",
                hint="Wait for that, or choose another DEST.",
            ) from None
        yield file
    finally:
        os.close(file)


def _place(state_dir: str, dest: str) -> str:
    name = hashlib.sha256(os.fsencode(dest)).hexdigest()[:16]
    return os.path.join(state_dir, f"worktree-{name}.unfinished")
