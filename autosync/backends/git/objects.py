"""The formats of git objects: ids, trees and the commits that hold snapshots."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from autosync.core.model import (
    Base,
    CommitId,
    DeviceId,
    Entry,
    Kind,
    ObjectId,
    Snapshot,
    SnapshotId,
    TreeId,
    Version,
)
from autosync.errors import Unsafe

FORMAT = 1
"""The format of the trailers; a reader refuses others."""

TREE_MODE = b"40000"

NESTED = b"160000"
"""The mode of a nested repository's entry."""
_MODES = {Kind.FILE: b"100644", Kind.EXECUTABLE: b"100755", Kind.SYMLINK: b"120000", Kind.NESTED: NESTED}
# 100664 was written by git before 2005; git reads it as 100644 still (canon_mode).
_KINDS = {mode: kind for kind, mode in _MODES.items()} | {b"100664": Kind.FILE}
_OLD_TREE_MODE = b"040000"  # some importers wrote the leading zero; fsck only warns of it

_LARGEST_SNAPSHOT = 64 << 10
_LARGEST_COUNTER = 1 << 53  # what JSON carries without loss
_LATEST_TIME = 1 << 40

_HINT = "The sender's store is damaged or made by hand; nothing of it was used."


class Slot(NamedTuple):
    """One line of a tree object: the mode as it is written, and the raw id."""

    mode: bytes
    oid: bytes


_slot: Callable[[tuple[bytes, bytes]], Slot] = partial(tuple.__new__, Slot)
"""Slot(*pair), without a call in Python for each of a hundred thousand lines."""


def object_id(hash_name: str, kind: bytes, content: bytes) -> bytes:
    """Return the raw id of an object of ``kind`` (``b"blob"``, ``b"tree"``, ``b"commit"``)."""
    digest = hashlib.new(hash_name, b"%s %d\0" % (kind, len(content)), usedforsecurity=False)
    digest.update(content)
    return digest.digest()


def is_tree(slot: Slot | None) -> bool:
    """Return whether the slot holds a directory."""
    return slot is not None and slot.mode in _DIRECTORIES


def entry_of(slot: Slot | None) -> Entry | None:
    """Return the slot as an entry; ``None`` for a directory or nothing."""
    if slot is None or is_tree(slot):
        return None
    return Entry(kind=_KINDS[slot.mode], oid=ObjectId(slot.oid.hex()))


def slot_of(entry: Entry) -> Slot:
    """Return the entry as a line of a tree."""
    return Slot(_MODES[entry.kind], bytes.fromhex(entry.oid))


_LINE = rb"([0-7]{5,6}) ([^\0/]+)\0(.{%d})"
_LINES = {size: re.compile(_LINE % size, re.DOTALL) for size in (20, 32)}
_WHOLE = {size: re.compile(b"(?:" + _LINE % size + b")*", re.DOTALL) for size in (20, 32)}
_DIRECTORIES = {TREE_MODE, _OLD_TREE_MODE}
_TREE_MODES = {mode: mode for mode in (*_KINDS, *_DIRECTORIES)}  # one object for each: trees are many
_DIGEST_SIZES = {"sha1": 20, "sha256": 32}


def parse_tree(raw: bytes, hash_name: str) -> dict[bytes, Slot]:
    """Return name -> slot of a tree object (``<mode> <name> NUL <raw id>``, again and again).

    Raises :class:`Unsafe` for what git would not have written: an unknown mode, a
    name twice or out of order, or ``.``, ``..`` and ``.git``.
    """
    size = _DIGEST_SIZES[hash_name]
    if not _WHOLE[size].fullmatch(raw):
        raise Unsafe("a tree object is malformed", hint=_HINT)
    lines = _LINES[size].findall(raw)
    try:
        tree = {name: _slot((_TREE_MODES[mode], oid)) for mode, name, oid in lines}
    except KeyError as unknown:
        raise Unsafe(f"a tree holds the unknown mode {unknown.args[0].decode()}", hint=_HINT) from None
    if len(tree) != len(lines):
        raise Unsafe("a tree holds one name twice", hint=_HINT)
    order = [name + b"/" if mode in _DIRECTORIES else name for mode, name, _ in lines]
    if order != sorted(order):
        raise Unsafe("a tree's names are out of order", hint=_HINT)
    for name in (b".", b"..", b".git"):
        if name in tree:
            raise Unsafe(f"a tree holds the name {name.decode()}", hint=_HINT)
    return tree


def format_tree(tree: Mapping[bytes, Slot]) -> bytes:
    """Return the tree object; git sorts a directory as if its name ended with "/"."""
    lines = sorted((name + b"/" if is_tree(slot) else name, name, slot) for name, slot in tree.items())
    return b"".join(b"%s %s\0%s" % (slot.mode, name, slot.oid) for _, name, slot in lines)


def commit_tree(raw: bytes, hex_digits: int) -> TreeId:
    """Return the tree that a commit object names."""
    line = raw[: 5 + hex_digits]
    if not line.startswith(b"tree ") or len(line) != 5 + hex_digits:
        raise Unsafe("a commit object is malformed", hint=_HINT)
    return TreeId(line[5:].decode("ascii", "replace"))


def format_snapshot(
    *, tree: TreeId, base: Base, version: Version, parents: tuple[SnapshotId, ...], device: str, time: int
) -> bytes:
    """Return the commit object of a snapshot: equal arguments give equal bytes.

    Only the base is a parent to git; the snapshots it continues are named in a
    trailer, so that they can expire.
    """
    name = _quoted(device)
    lines = [f"tree {tree}"]
    if base.commit is not None:
        lines.append(f"parent {base.commit}")
    lines += [f"{role} autosync <{name}@autosync> {time} +0000" for role in ("author", "committer")]
    lines += ["", "autosync snapshot", "", f"Autosync-Format: {FORMAT}", f"Autosync-Device: {name}"]
    if base.branch is not None:
        lines.append(f"Autosync-Branch: {_quoted(base.branch)}")
    lines.append("Autosync-Version: " + " ".join(f"{_quoted(d)}={n}" for d, n in version.counters))
    lines.append("Autosync-Parents: " + " ".join(parents))
    return "\n".join(lines).encode("ascii") + b"\n"


_SNAPSHOT = re.compile(
    rb"tree (?P<tree>[0-9a-f]+)\n"
    rb"(?:parent (?P<base>[0-9a-f]+)\n)?"
    rb"author autosync <(?P<device>[!-~]*)@autosync> (?P<time>[0-9]{1,13}) \+0000\n"
    rb"committer [^\n]*\n\nautosync snapshot\n\n"
    rb"Autosync-Format: %d\n"
    rb"Autosync-Device: [^\n]*\n"
    rb"(?:Autosync-Branch: (?P<branch>[!-~]+)\n)?"
    rb"Autosync-Version: (?P<version>[ -~]*)\n"
    rb"Autosync-Parents: (?P<parents>[0-9a-f ]*)\n" % FORMAT
)
_OTHER_FORMAT = re.compile(rb"\n\nautosync snapshot\n\nAutosync-Format: ([0-9]{1,6})\n")


def parse_snapshot(snapshot: SnapshotId, raw: bytes) -> Snapshot:
    """Return the snapshot that the commit object ``raw`` holds.

    Raises :class:`Unsafe` unless it is exactly what :func:`format_snapshot` writes for
    what it says: whatever reaches the rest of the program has been in that form.
    """
    found = _SNAPSHOT.fullmatch(raw) if len(raw) <= _LARGEST_SNAPSHOT else None
    if found is None:
        other = _OTHER_FORMAT.search(raw)
        if other and int(other[1]) != FORMAT:
            raise Unsafe(
                f"snapshot {snapshot} has format {int(other[1])}, this autosync knows {FORMAT}",
                hint="Update autosync on all devices of this workspace.",
            )
        raise Unsafe(f"{snapshot} is no snapshot", hint=_HINT)
    parsed = Snapshot(
        id=snapshot,
        tree=TreeId(found["tree"].decode()),
        base=Base(
            commit=CommitId(found["base"].decode()) if found["base"] else None,
            branch=_unquoted(found["branch"]) if found["branch"] else None,
        ),
        version=_version(found["version"]),
        parents=tuple(SnapshotId(parent) for parent in found["parents"].decode().split()),
        device=_unquoted(found["device"]),
        time=int(found["time"]),
    )
    again = format_snapshot(
        tree=parsed.tree,
        base=parsed.base,
        version=parsed.version,
        parents=parsed.parents,
        device=parsed.device,
        time=parsed.time,
    )
    ids = [parsed.tree, *parsed.parents, *([parsed.base.commit] if parsed.base.commit else [])]
    if again != raw or any(len(name) != len(snapshot) for name in ids) or parsed.time > _LATEST_TIME:
        raise Unsafe(f"snapshot {snapshot} is not in canonical form", hint=_HINT)
    if parsed.base.branch is not None and not is_branch(parsed.base.branch):
        raise Unsafe(f"snapshot {snapshot} names the impossible branch {parsed.base.branch!r}", hint=_HINT)
    return parsed


def _version(text: bytes) -> Version:
    counters: dict[DeviceId, int] = {}
    for part in text.split():
        device, _, count = part.partition(b"=")
        if not re.fullmatch(rb"[1-9][0-9]{0,15}", count) or int(count) > _LARGEST_COUNTER:
            raise Unsafe("a snapshot's version is malformed", hint=_HINT)
        counters[DeviceId(_unquoted(device))] = int(count)
    return Version.of(counters)


def is_branch(name: str) -> bool:
    """Return whether ``name`` is the full name of a possible branch (git-check-ref-format(1))."""
    if not name.startswith("refs/heads/") or name == "refs/heads/HEAD" or len(name) > 4096:
        return False
    if re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|\Z)|[/.]\Z", name):
        return False
    return not name.removeprefix("refs/heads/").startswith("-")


def _quoted(text: str) -> str:
    return quote(text, safe="/+", errors="surrogateescape")


def _unquoted(text: bytes) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")
