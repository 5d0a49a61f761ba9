"""Refuses what git would take and a working copy, or the rest of autosync, could not bear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autosync.backends.git.objects import Slot, is_tree, parse_snapshot
from autosync.core.announcement import MAX_BRANCH, fits, is_device_id
from autosync.core.model import Snapshot, SnapshotId
from autosync.core.safety import folded, unsafe_component
from autosync.errors import Unsafe

MOST_ENTRIES = 500_000
"""Files and directories that a snapshot may add to its base."""
MOST_IN_HISTORY = 2_000_000
"""Files and directories that a changeset may add to what is checked out here."""
MOST_WORK = 8_000_000
"""Lines of directories that are compared, a directory itself counting as :data:`_DIRECTORY` lines."""
LARGEST_DIRECTORY = 64 * MOST_ENTRIES
"""Bytes of one tree object."""
DEEPEST = 256
"""Directories above one file; beyond a few hundred the tools that walk a tree give up."""
LONGEST_NAME = 255
"""Bytes of one name (NAME_MAX)."""
LONGEST_PATH = 4000
"""Bytes below the root; PATH_MAX is 4096."""
VERSION_SHARE = 0.75
"""Of the room that an announcement has for a version; the rest is for the states that are made from it."""
HIGHEST_COUNTER = 1 << 40
"""No device has ever recorded so many states; beyond it a device could not count on."""
LONGEST_MAKER = 4096
"""Characters of the names of all devices whose states one snapshot has merged."""
LATEST_TIME = 253_402_300_799
"""9999-12-31 23:59:59: people cannot be shown what comes later."""

_HINT = "The sender's autosync may be faulty or hostile; nothing of it was used."
_SYMLINK = b"120000"
_DIRECTORY = 32


def parse_arriving(wanted: SnapshotId, raw: bytes) -> Snapshot:
    """Return the snapshot that the commit object ``raw`` from outside holds.

    Raises :class:`Unsafe` for one that could not be announced again, so that whoever took
    it would fall silent.
    """
    snapshot = parse_snapshot(wanted, raw)
    refuse_impossible(snapshot)
    return snapshot


def refuse_impossible(snapshot: Snapshot) -> None:
    """Raise :class:`Unsafe` for a snapshot that could not be announced again."""
    wanted = snapshot.id
    counters = snapshot.version.counters
    if not fits(snapshot.version, share=VERSION_SHARE):
        raise Unsafe(f"snapshot {wanted} speaks of {len(counters)} devices, which is too many", hint=_HINT)
    for device, count in counters:
        if not is_device_id(device) or count > HIGHEST_COUNTER:
            raise Unsafe(f"snapshot {wanted} has the impossible version {device[:40]!r}: {count}", hint=_HINT)
    if len((snapshot.base.branch or "").encode("utf-8", "surrogateescape")) > MAX_BRANCH:
        raise Unsafe(f"snapshot {wanted} is on a branch whose name is too long", hint=_HINT)
    if not snapshot.device.isprintable() or len(snapshot.device) > LONGEST_MAKER:
        raise Unsafe(f"snapshot {wanted} was made by a device whose name is too long or not printable", hint=_HINT)
    if snapshot.time > LATEST_TIME:
        raise Unsafe(f"snapshot {wanted} was made {snapshot.time} s after 1970, which nobody has seen yet", hint=_HINT)


def refuse_name(name: bytes, mode: bytes) -> None:
    """Raise :class:`Unsafe` for a name that must not, or cannot, be written to a working copy."""
    reason = unsafe_component(name)
    if reason is None and mode == _SYMLINK and folded(name) == ".gitmodules":
        reason = "a symbolic link where git reads its own settings"  # CVE-2018-11235
    if reason is None and len(name) > LONGEST_NAME:
        reason = f"a name of {len(name)} bytes"
    if reason is not None:
        raise Unsafe(f"A snapshot that arrived holds {name[:300]!r}: {reason}", hint=_HINT)


@dataclass(slots=True)
class _Directory:
    """What a directory adds: entries, the longest path below it in bytes, and the directories in one another."""

    entries: int = 0
    longest: int = 0
    depth: int = 1
    below: list[tuple[int, tuple[str, str]]] = field(default_factory=list)
    """Length of the name, and the directory."""


def refuse_history(read: Callable[[str], Mapping[bytes, Slot]], root: str, here: str, empty: str) -> None:
    """Look at how much the tree ``root`` of a changeset has beyond ``here``, what is checked out in this place.

    Any name is taken: public history may hold what only some file systems take for
    something else; it is refused when it would be written.  Raises :class:`Unsafe`.
    """
    refuse_extent(read, root, here, empty, check=lambda _name, _mode: None, most=MOST_IN_HISTORY)


def refuse_extent(
    read: Callable[[str], Mapping[bytes, Slot]],
    root: str,
    base: str,
    empty: str,
    *,
    check: Callable[[bytes, bytes], None] = refuse_name,
    most: int = MOST_ENTRIES,
) -> None:
    """``check`` every name that the tree ``root`` has beyond ``base``, and look at how much they are together.

    ``read`` returns a directory by its id, ``empty`` is the id of one without entries.
    Each pair of directories is compared once, however often it occurs: a few small objects
    can stand for more files than there are atoms.  Raises :class:`Unsafe`.
    """
    known: dict[tuple[str, str], _Directory] = {}
    seen: dict[tuple[str, str], _Directory] = {}
    waiting = [(root, base)] if root != base else []
    work = entries = 0
    while waiting:
        pair = waiting[-1]
        if pair in known:
            waiting.pop()
            continue
        found = seen.get(pair)
        if found is None:
            found, lines = _look(read, *pair, empty, check)
            seen[pair] = found
            work += lines + _DIRECTORY
            entries += found.entries  # each pair occurs at one path at least, so there are that many
            if work > MOST_WORK or entries > most:
                raise _too_much(f"more than {min(entries, most)} new entries")
        if unknown := [child for _, child in found.below if child not in known]:
            waiting += unknown
            continue
        waiting.pop()
        for length, child in found.below:
            found.entries += known[child].entries
            found.longest = max(found.longest, length + 1 + known[child].longest)
            found.depth = max(found.depth, 1 + known[child].depth)
        if found.entries > most or found.longest > LONGEST_PATH or found.depth > DEEPEST:
            raise _too_much(f"{found.entries} new entries in {found.depth} levels and paths of {found.longest} bytes")
        known[pair] = found


def _too_much(what: str) -> Unsafe:
    return Unsafe(f"A snapshot that arrived holds {what}", hint="No working copy can hold that. " + _HINT)


def _look(
    read: Callable[[str], Mapping[bytes, Slot]],
    tree: str,
    like: str,
    empty: str,
    check: Callable[[bytes, bytes], None],
) -> tuple[_Directory, int]:
    """Return what ``tree`` adds to ``like``, and how many lines were compared."""
    found = _Directory()
    before = read(like) if like != empty else {}
    after = read(tree) if tree != empty else {}
    for name, slot in after.items():
        old = before.get(name)
        if slot == old:
            continue
        check(name, slot.mode)
        found.entries += 1
        found.longest = max(found.longest, len(name))
        if is_tree(slot):
            found.below.append((len(name), (slot.oid.hex(), old.oid.hex() if old and is_tree(old) else empty)))
    return found, len(before) + len(after)
