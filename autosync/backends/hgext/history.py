"""Writes changesets, with their phases, to a bundle that another hg can take in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mercurial import bundle2, bundlerepo, changegroup, discovery, error, phases

from .bundling import VERSION
from .changesets import find
from .frames import Value
from .refusal import MISSING, UNSAFE, Declined, words
from .wholetexts import whole

_LFS_VERSION = b"03"
"""Of the changegroup where files may be stored elsewhere: only this one can say so."""
_LFS = b"lfs"
_LONGEST_PATH = 4000
"""Bytes below the root; PATH_MAX is 4096."""
_DEEPEST = 256
"""Directories above one file."""


@contextmanager
def standing_on(repo: Any, place: bytes | None) -> Iterator[Any]:
    """Give the repository with what the bundle in the file ``place`` holds on top of it, nothing of which is stored.

    Raises :class:`Declined` for what is read from a bundle that is damaged, or whose base is not here.
    """
    if place is None:
        yield repo
        return
    try:
        overlay = bundlerepo.makebundlerepository(repo.baseui, repo.root, place)
        try:
            yield overlay.unfiltered()
        finally:
            overlay.close()
    except (Declined, OSError):
        raise
    except error.LookupError as lost:
        raise Declined(MISSING, f"the history that was kept builds on what is not here: {words(lost)}") from None
    except Exception as broken:
        # hg's own readers of a damaged bundle fail in ways of which there is no list.
        raise Declined(UNSAFE, f"the history that was kept cannot be read: {words(broken)}") from None


def write_history(repo: Any, tip: bytes, common: Sequence[bytes], place: bytes, most: int) -> dict[bytes, Value]:
    """Write ``tip`` and its ancestors, but not those of ``common``, to the file ``place``; return how many they are.

    What is not here of ``common`` does not count.  Nothing is written for none, nor for more than ``most``.
    No lock is taken.  Raises :class:`Declined` if ``tip`` is not here.
    """
    here = repo.unfiltered()
    known = [node for node in common if is_here(here, node)]
    revisions = here.revs(b"only(%d, %ln)", find(here, tip).rev(), known)
    count = len(revisions)
    if 0 < count <= most:
        wanted = discovery.outgoing(here, commonheads=known, ancestorsof=[tip])
        stream = changegroup.makestream(whole(here), wanted, VERSION, b"bundle")
        phase = here._phasecache.phase
        heads = [(phase(here, rev), here.changelog.node(rev)) for rev in revisions]
        with open(place, "wb") as file:
            write_bundle(repo.ui, file, stream, heads, version=VERSION, count=count)
    return {b"count": count}


def write_bundle(
    ui: Any, file: Any, stream: Iterable[bytes], heads: Sequence[tuple[int, bytes]], *, version: bytes, count: int
) -> None:
    """Write a changegroup of ``count`` changesets, and phases, as a bundle in the one form that is taken.

    Everything is secret in it until its phase is told: so hg itself writes what it keeps from a strip
    (repair.backupbundle).
    """
    bundle = bundle2.bundle20(ui, {})
    part = bundle.newpart(b"changegroup", data=iter(stream))
    part.addparam(b"version", version)
    part.addparam(b"nbchanges", b"%d" % count, mandatory=False)
    part.addparam(b"targetphase", b"%d" % phases.secret, mandatory=False)
    bundle.newpart(b"phase-heads", data=b"".join(phases._fphasesentry.pack(*head) for head in sorted(heads)))
    for chunk in bundle.getchunks():
        file.write(chunk)


def changegroup_version(repo: Any) -> bytes:
    """Return the version of the changegroups that this repository gets from a hub."""
    return _LFS_VERSION if _LFS in repo.requirements else VERSION


def verify(overlay: Any, tip: bytes, *, files: int, work: int) -> dict[bytes, Value]:
    """Read every revision of the bundle on top of a repository: hg compares each with its node.

    Raises :class:`Declined`: ``MISSING`` if it builds on what is not here, or is not whole, ``UNSAFE`` if
    anything is not what its node says, if all texts together have more than ``work`` bytes, or if ``tip`` has more than
    so many ``files`` or one that no working copy can hold.
    """
    left = _read_all(overlay.changelog, work)
    left = _read_all(overlay.manifestlog.getstorage(b""), left)
    overlay.file(b".hgtags")  # any file: it finds where all of them begin
    for path in list(overlay._cgfilespos):
        left = _read_all(overlay.file(path), left)
    for rev in range(overlay.changelog.repotiprev + 1, len(overlay.changelog)):
        context = overlay[rev]
        manifest = context.manifest()
        for path in context.files():
            if path in manifest:
                overlay.file(path).rev(manifest[path])
    manifest = find(overlay, tip).manifest()
    if len(manifest) > files:
        raise Declined(UNSAFE, f"changeset {tip.hex()} has {len(manifest)} files")
    for path in manifest:
        if len(path) > _LONGEST_PATH or path.count(b"/") >= _DEEPEST:
            raise Declined(UNSAFE, f"changeset {tip.hex()} has a file of {len(path)} bytes in its name")
    return {}


def border(overlay: Any, tip: bytes) -> bytes:
    """Return the latest ancestor of ``tip`` that is in the repository itself, zeros if none is."""
    last = overlay.changelog.repotiprev
    here = [rev for rev in overlay.changelog.ancestors([find(overlay, tip).rev()], inclusive=True) if rev <= last]
    return bytes(overlay.changelog.node(max(here, default=-1)))


def _read_all(log: Any, work: int) -> int:
    """Return what is left of ``work`` when all that is new in a log has been read."""
    if not hasattr(log, "repotiprev"):  # in 6.3, manifests themselves have it
        log = log._revlog
    for rev in range(log.repotiprev + 1, len(log)):
        work -= len(log.revision(rev))
        if work < 0:
            raise Declined(UNSAFE, "the history unpacks to more than is accepted")
    return work


def is_here(repo: Any, node: bytes) -> bool:
    """Return whether a changeset, of which a peer may have told, is in the repository.

    The node of the working directory is none, and one that ``hasnode`` fails at.
    """
    return node != repo.nodeconstants.wdirid and bool(repo.changelog.hasnode(node))


def absent(repo: Any, nodes: Sequence[bytes]) -> dict[bytes, Value]:
    """Return those of ``nodes`` that are no changesets of the repository, hidden ones included."""
    here = repo.unfiltered()
    return {b"absent": [node for node in nodes if node == repo.nullid or not is_here(here, node)]}


def heads(repo: Any, most: int) -> dict[bytes, Value]:
    """Return what is checked out and the heads of the history, the latest first, each once."""
    found = [node for node in repo.dirstate.parents() if node != repo.nullid]
    found += [node for node in reversed(repo.heads()) if node not in found]
    return {b"heads": [node for node in found if node != repo.nullid][:most]}
