"""What differs between the Mercurials this extension runs in: 6.3, 6.9 and 7.2.

Below ``revlog`` is always a ``mercurial.revlog.revlog``; its ``storage`` is the object that reads and
writes the chunks, which is an inner object of its own since 6.7.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mercurial import extensions, filelog, localrepo, requirements, revlog, transaction
from mercurial.revlogutils import constants
from mercurial.revlogutils import deltas as deltautil

try:
    from mercurial.repo.factory import repository as _repository  # since 7.2
except ImportError:
    from mercurial.hg import repository as _repository

Wrapper = Callable[..., Any]

_STORAGE: Any = getattr(revlog, "_InnerRevlog", revlog.revlog)
_OPENING = inspect.signature(filelog.filelog.__init__).parameters
_FINDING = list(inspect.signature(deltautil.deltacomputer.finddeltainfo).parameters)
_DELTA: Any = getattr(deltautil, "_DeltaInfo", None) or deltautil._deltainfo


def storage(log: Any) -> Any:
    """Return what reads and writes the chunks of a revlog."""
    return getattr(log, "_inner", log)


def raw_chunk(log: Any, rev: int) -> bytes:
    """Return the bytes that are stored for a revision."""
    store = storage(log)
    read = getattr(store, "get_segment_for_revs", None) or store._getsegmentforrevs
    return bytes(read(rev, rev)[1])


def chunk_text(log: Any, rev: int) -> bytes:
    """Return what is stored for a revision, expanded: a text, or a delta."""
    return bytes(storage(log)._chunk(rev))


def open_log(opener: Any, path: bytes, pending: bool) -> Any:
    """Return the revlog of a file for reading, empty if there is none.

    ``pending``: that of a transaction that is open, where a file that has just outgrown its index
    has another name (since 6.6).
    """
    more: dict[str, Any] = {}
    if "radix" in _OPENING:
        more["radix"] = b"data/" + path
    if "writable" in _OPENING:
        more["writable"] = False
    if "try_split" in _OPENING:
        more["try_split"] = pending
    return filelog.filelog(opener, path, **more)._revlog


def path_of(storage: Any) -> bytes:
    """Return the path of the file that a revlog, or the part of it that reads, is of."""
    target = getattr(storage, "target", None)  # which the part that reads is not told in 6.9
    path: bytes = target[1] if target is not None else storage.index_file[len(b"data/") : -len(b".i")]
    return path


def paths(repo: Any) -> list[bytes]:
    """Return the paths of all files that the store has revisions of, sorted."""
    if hasattr(repo.store, "data_entries"):
        entries = repo.store.data_entries()
        return sorted({entry.target_id for entry in entries if entry.is_revlog and entry.is_filelog})
    names = {entry[1] for entry in repo.store.datafiles()}
    return sorted(
        name[len(b"data/") : -len(b".i")] for name in names if name.startswith(b"data/") and name[-2:] == b".i"
    )


def is_share_safe(repo: Any) -> bool:
    """Return whether all that share a store read from it what it needs."""
    return requirements.SHARESAFE_REQUIREMENT in repo.requirements


def opened_again(repo: Any) -> Any:
    """Return a repository object for the same place, with nothing in it that was read before."""
    return _repository(repo.baseui, repo.root).unfiltered()


ROLLS_BACK_CENSORING = hasattr(transaction, "cleanup_undo_files")
"""Whether ``hg rollback`` can undo ``hg censor``: before 6.5 it raises KeyError halfway."""


def forget_undo(repo: Any) -> None:
    """Take away what ``hg rollback`` would bring back, with the files it keeps for that."""
    if hasattr(transaction, "cleanup_undo_files"):  # since 6.5
        transaction.cleanup_undo_files(repo.ui.warn, repo.vfs_map)
        return
    # Location, file, its backup, and whether it is but a cache; after a line with the version.
    lines = repo.svfs.tryread(b"undo.backupfiles").splitlines()[1:]
    backups = [line.split(b"\0") for line in lines]
    for location, _file, backup, _cache in backups:
        if backup:
            (repo.vfs if location == b"plain" else repo.svfs).tryunlink(backup)
    for opener, name in [*repo.undofiles(), (repo.svfs, b"undo.backupfiles")]:
        opener.tryunlink(name)


def is_pending(log: Any) -> bool:
    """Return whether a revlog was opened as one of an open transaction."""
    return bool(getattr(log, "_try_split", False))


def flush(log: Any) -> None:
    """Hand what was added to a revlog to the file system, so that another object can read it."""
    for handle in getattr(storage(log), "_writinghandles", None) or ():
        if handle is not None:
            handle.flush()


def raw_text(log: Any, rev: int) -> bytes:
    """Return the text of a revision as it is stored, which is not checked against the hash."""
    return bytes(log._rawtext(log.node(rev), rev)[1])


def built_text(computer: Any, revinfo: Any, more: tuple[Any, ...]) -> bytes:
    """Return the raw text of a revision that is being added; ``more`` is what finddeltainfo was given."""
    if "fh" in _FINDING:
        return bytes(computer.buildtext(revinfo, more[0]))
    return bytes(computer.buildtext(revinfo))


def target_rev(log: Any, more: tuple[Any, ...], named: dict[str, Any]) -> int:
    """Return the number that the revision being added gets."""
    place = _FINDING.index("target_rev") - 2
    found = named.get("target_rev", more[place] if len(more) > place else None)
    return len(log) if found is None else int(found)


def full_snapshot(rev: int, chunk: bytes, text: bytes) -> Any:
    """Return the delta information for ``chunk`` as a revision that needs no other one of its revlog."""
    known = {
        "distance": len(chunk),
        "deltalen": len(chunk),
        "data": (b"", chunk),
        "base": rev,
        "chainbase": rev,
        "chainlen": 1,
        "compresseddeltalen": len(chunk),
        "snapshotdepth": 0,
    }
    if "u_data" in inspect.signature(_DELTA).parameters:
        known["u_data"] = text
    return _DELTA(**known)


def is_plain_format(log: Any) -> bool:
    """Return whether a revlog has the format of version 1, whose chunks say by themselves how to expand them."""
    return bool(log._format_version == constants.REVLOGV1)


def may_be_copy(log: Any, revinfo: Any) -> bool:
    """Return whether a revision being added can have copy data: its first parent is null then.

    7.2 knows a format where a flag says so instead.
    """
    flagged = getattr(constants, "REVIDX_HASMETA", 0)
    return revinfo.p1 == log.nullid or bool(revinfo.flags & flagged)


def changes_text(flags: int) -> bool:
    """Return whether a revision's flags say that its raw text is not its text (lfs) or is censored."""
    return bool(flags & constants.REVIDX_RAWTEXT_CHANGING_FLAGS)


def compressed(log: Any, text: bytes) -> bytes:
    """Return the chunk that hg itself stores for a text."""
    header, body = storage(log).compress(text)
    return bytes(header + body)


def wrap(finding: Wrapper, adding: Wrapper, expanding: Wrapper, opening: Wrapper, handing: Wrapper) -> None:
    """Put ours around hg's functions, each of which gets the original first.

    ``finding(orig, computer, revinfo, ...)`` decides how a revision is stored;
    ``adding(orig, log, node, rawtext, transaction, link, ...)`` adds one;
    ``expanding(orig, storage, header)`` returns the object that expands chunks with this header;
    ``opening(orig, log, ...)`` reads a revlog's index;
    ``handing(orig, log, rev)`` hands out the chunk as it is stored (7.2).
    """
    extensions.wrapfunction(deltautil.deltacomputer, "finddeltainfo", finding)
    extensions.wrapfunction(revlog.revlog, "_addrevision", adding)
    extensions.wrapfunction(_STORAGE, "_get_decompressor", expanding)
    extensions.wrapfunction(revlog.revlog, "_load_inner" if _STORAGE is not revlog.revlog else "_loadindex", opening)
    if hasattr(revlog.revlog, "raw_comp_chunk"):
        extensions.wrapfunction(revlog.revlog, "raw_comp_chunk", handing)


def split_compression(chunk: bytes) -> Any:
    """Return header and rest of a chunk of hg's own (7.2)."""
    return revlog._split_compression(chunk)


def wrap_options(wrapper: Wrapper) -> None:
    """Put ``wrapper(orig, ui, requirements, features)`` around what makes the options of a store's opener."""
    try:
        from mercurial.repo import vfs_options  # noqa: PLC0415 - since 7.2
    except ImportError:
        extensions.wrapfunction(localrepo, "resolverevlogstorevfsoptions", wrapper)
    else:
        extensions.wrapfunction(vfs_options, "resolve_revlog_store_vfs_options", wrapper)


def wrap_new_requirements(wrapper: Wrapper) -> None:
    """Put ``wrapper(orig, ui, createopts)`` around what names the requirements of a new repository."""
    try:
        from mercurial.repo import creation  # noqa: PLC0415 - since 7.2
    except ImportError:
        extensions.wrapfunction(localrepo, "newreporequirements", wrapper)
    else:
        extensions.wrapfunction(creation, "new_repo_requirements", wrapper)
