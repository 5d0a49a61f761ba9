"""The first record of what travels: what a snapshot is, and in which paths it differs from its base."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autosync.backends.git.admission import (
    DEEPEST,
    LONGEST_NAME,
    LONGEST_PATH,
    MOST_ENTRIES,
    refuse_impossible,
)
from autosync.backends.hg.branches import is_branch
from autosync.backends.hg.nodes import format_version, parse_version, unnamed
from autosync.core.model import Base, CommitId, Kind, ObjectId, RelPath, Snapshot, SnapshotId, TreeId
from autosync.core.safety import unsafe_component
from autosync.errors import Unsafe

FORMAT = b"1"
_SIZE = struct.Struct(">I")
_NODE, _OID = 20, 32
_LETTERS = {Kind.FILE: b"f", Kind.EXECUTABLE: b"x", Kind.SYMLINK: b"l"}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}
_EDIT = re.compile(
    rb"(?P<kind>[fxl])(?P<new>[^\0]+)\0(?P<oid>.{32})"
    rb"|(?P<like>[FXL])(?P<moved>[^\0]+)\0(?P<source>[^\0]*)\0"
    rb"|-(?P<gone>[^\0]+)\0",
    re.DOTALL,
)
_TIME = re.compile(rb"0|[1-9][0-9]{0,12}")
_FIELDS = 9
_HINT = "The sender's autosync may be faulty or hostile; nothing of it was used."


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is at a path instead of what the base has there.

    ``kind`` is ``None`` if nothing is; else the content is either ``oid`` or that of the base's file
    ``source``.
    """

    path: RelPath
    kind: Kind | None
    oid: ObjectId | None = None
    source: RelPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A snapshot without its id, its marks as they are stored, and its edits in path order."""

    snapshot: Snapshot
    marks: bytes
    edits: Sequence[Edit]


def format_header(snapshot: Snapshot, marks: bytes, edits: Iterable[Edit]) -> bytes:
    """Return the header: equal snapshots have equal ones."""
    commit = snapshot.base.commit
    fields = (
        FORMAT,
        bytes.fromhex(snapshot.tree),
        b"" if commit is None else bytes.fromhex(commit),
        (snapshot.base.branch or "").encode("utf-8", "surrogateescape"),
        format_version(snapshot.version),
        b"".join(bytes.fromhex(parent) for parent in snapshot.parents),
        b"%s\0%d" % (snapshot.device.encode("utf-8", "surrogateescape"), snapshot.time),
        marks,
        b"".join(_format_edit(edit) for edit in edits),
    )
    return b"".join(_SIZE.pack(len(field)) + field for field in fields)


def parse_header(wanted: SnapshotId, raw: bytes, *, most: int = MOST_ENTRIES) -> Header:
    """Return what :func:`format_header` wrote; its id is ``wanted``, which is not checked here.

    It may name ``most`` paths.

    Raises :class:`Unsafe` for anything else, and for what no working copy can hold or must not.
    """
    fields = list(_split(raw))
    if len(fields) != _FIELDS:
        raise _bad(f"has {len(fields)} fields")
    form, tree, commit, branch, version, parents, said, marks, edits = fields
    if form != FORMAT:
        raise Unsafe(
            f"A snapshot that arrived has format {form[:20]!r}, this autosync knows {FORMAT.decode()}",
            hint="Update autosync on all devices of this workspace.",
        )
    device, _, time = said.rpartition(b"\0")
    if len(tree) != _OID or len(commit) not in {0, _NODE} or len(parents) % _NODE or not _TIME.fullmatch(time):
        raise _bad("is malformed")
    snapshot = unnamed(
        tree=TreeId(tree.hex()),
        base=Base(commit=CommitId(commit.hex()) if commit else None, branch=_text(branch)),
        version=parse_version(version),
        parents=tuple(SnapshotId(parents[at : at + _NODE].hex()) for at in range(0, len(parents), _NODE)),
        device=_text(device),
        time=int(time),
        claimed=wanted,
    )
    if commit == bytes(_NODE) or not is_branch(snapshot.base.branch or ""):
        raise _bad(f"is on the impossible base {commit.hex()} {branch[:200]!r}")
    refuse_impossible(snapshot)
    return Header(snapshot=snapshot, marks=marks, edits=list(_edits(edits, most)))


def _split(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        if at + _SIZE.size > len(raw):
            raise _bad("is cut off")
        (size,) = _SIZE.unpack_from(raw, at)
        at += _SIZE.size
        if at + size > len(raw):
            raise _bad("is cut off")
        yield raw[at : at + size]
        at += size


def _format_edit(edit: Edit) -> bytes:
    if edit.kind is None:
        return b"-%s\0" % edit.path
    letter = _LETTERS[edit.kind]
    if edit.oid is not None:
        return b"%s%s\0%s" % (letter, edit.path, bytes.fromhex(edit.oid))
    return b"%s%s\0%s\0" % (letter.upper(), edit.path, edit.source or b"")


def _edits(raw: bytes, most: int) -> Iterator[Edit]:
    """Yield what was written by :func:`_format_edit`; a list of files stands for no more files than it names."""
    at = count = 0
    before = b""
    while at < len(raw):
        found = _EDIT.match(raw, at)
        if found is None:
            raise _bad("lists paths in no form of ours")
        at = found.end()
        edit = _edit(found)
        count += 1
        if edit.path <= before or count > most:
            raise _bad(f"lists paths out of order, or more than {most}")
        before = edit.path
        if edit.kind is not None:
            refuse_path(edit.path)
        yield edit


def _edit(found: re.Match[bytes]) -> Edit:
    if found["gone"]:
        return Edit(path=RelPath(found["gone"]), kind=None)
    if found["new"]:
        return Edit(path=RelPath(found["new"]), kind=_KINDS[found["kind"]], oid=ObjectId(found["oid"].hex()))
    return Edit(
        path=RelPath(found["moved"]),
        kind=_KINDS[found["like"].lower()],
        source=RelPath(found["source"] or found["moved"]),
    )


def refuse_path(path: RelPath) -> None:
    """Raise :class:`Unsafe` for a path that must not, or cannot, be written to a working copy."""
    names = path.split(b"/")
    for name in names:
        reason = unsafe_component(name)
        if reason is None and (b"\n" in name or b"\r" in name):
            reason = "a name that hg cannot have"
        if reason is None and len(name) > LONGEST_NAME:
            reason = f"a name of {len(name)} bytes"
        if reason is not None:
            raise Unsafe(f"A snapshot that arrived holds {path[:300]!r}: {reason}", hint=_HINT)
    if len(path) > LONGEST_PATH or len(names) > DEEPEST:
        raise Unsafe(
            f"A snapshot that arrived holds a path of {len(path)} bytes in {len(names)} levels",
            hint="No working copy can hold that. " + _HINT,
        )


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _bad(what: str) -> Unsafe:
    return Unsafe(f"The description of a snapshot that arrived {what}", hint=_HINT)
