"""Refuses what git would take and a working copy, or the rest of autosync, could not bear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autosync.backends.git.objects import Slot, is_tree, parse_snapshot
from autosync.core.announcement import MAX_BRANCH, fits, is_device_id
from autosync.core.model import Snapshot, SnapshotId
from autosync.core.safety import folded, unsafe_component
from autosync.errors import Unsafe

MOST_ENTRIES = 2_000_000
"""Files and directories that a snapshot may add to its base."""
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


def parse_arriving(wanted: SnapshotId, raw: bytes) -> Snapshot:
    """Return the snapshot that the commit object ``raw`` from outside holds.

    Raises :class:`Unsafe` for one that could not be announced again, so that whoever took
    it would fall silent.
    """
    snapshot = parse_snapshot(wanted, raw)
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
    return snapshot


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
    """What a directory adds: entries and the longest path below it in bytes."""

    entries: int = 0
    longest: int = 0
    below: list[tuple[int, tuple[str, str]]] = field(default_factory=list)
    """Length of the name, and the directory."""


def refuse_nothing(name: bytes, mode: bytes) -> None:
    """Take any name: public history may hold what only some file systems take for something else."""


def refuse_extent(
    read: Callable[[str], Mapping[bytes, Slot]],
    root: str,
    base: str,
    empty: str,
    *,
    check: Callable[[bytes, bytes], None] = refuse_name,
) -> None:
    """``check`` every name that the tree ``root`` has beyond ``base``, and look at how much they are together.

    ``read`` returns a directory by its id, ``empty`` is the id of one without entries.
    Each directory is read once, however often it occurs: a few small objects can stand
    for more files than there are atoms.  Raises :class:`Unsafe`.
    """
    known: dict[tuple[str, str], _Directory] = {}
    seen: dict[tuple[str, str], _Directory] = {}
    waiting = [(root, base)]
    while waiting:
        pair = waiting[-1]
        if pair in known:
            waiting.pop()
            continue
        found = seen.get(pair) or seen.setdefault(pair, _look(read, *pair, empty, check))
        if unknown := [child for _, child in found.below if child not in known]:
            waiting += unknown
            continue
        waiting.pop()
        for length, child in found.below:
            found.entries += known[child].entries
            found.longest = max(found.longest, length + 1 + known[child].longest)
        if found.entries > MOST_ENTRIES or found.longest > LONGEST_PATH:
            raise Unsafe(
                f"A snapshot that arrived holds {found.entries} new entries and paths of {found.longest} bytes",
                hint="No working copy can hold that. " + _HINT,
            )
        known[pair] = found


def _look(
    read: Callable[[str], Mapping[bytes, Slot]],
    tree: str,
    like: str,
    empty: str,
    check: Callable[[bytes, bytes], None],
) -> _Directory:
    found = _Directory()
    before = read(like) if like != empty else {}
    for name, slot in read(tree).items() if tree != empty else ():
        old = before.get(name)
        if slot == old:
            continue
        check(name, slot.mode)
        found.entries += 1
        found.longest = max(found.longest, len(name))
        if is_tree(slot):
            found.below.append((len(name), (slot.oid.hex(), old.oid.hex() if old and is_tree(old) else empty)))
    return found
