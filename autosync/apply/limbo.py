"""Keeps the files that were replaced or deleted until nobody can write to them any more."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Thread
from time import monotonic, time_ns
from typing import cast

import msgspec

from autosync.apply.rename import ASIDE
from autosync.apply.signature import Signature, has_writer, is_being_written, signature_at
from autosync.core.model import Entry, Kind, ObjectId, RelPath
from autosync.core.safety import unsafe_component
from autosync.durable import make_directory, sync_directory
from autosync.ports import Operation

log = logging.getLogger(__name__)

QUIET = 2.0
"""Seconds without a change after which a file is let go."""

_JOURNAL = b"journal"
_RECOVERED = b"recovered"
_OVER = b".over"
"""Suffix of a batch that is being deleted."""
_MANY = 256
"""Files whose deletion takes long enough for somebody to wait for it: 20 µs each, and much more on a slow disk."""
NEVER: Signature = (0, 0, 0, 0)
"""What no file has."""


@dataclass(slots=True, kw_only=True)
class Kept:
    """One file in limbo, or about to come there.

    ``slot`` is its name below the limbo; it stood at ``path`` as ``entry`` with the
    signature ``was``.  ``placed`` is what was put there instead (``None``: nothing).
    ``entry`` is ``None`` when the content is not known as an entry.
    """

    slot: bytes
    path: RelPath
    entry: Entry | None
    was: Signature
    placed: Signature | None
    seen: Signature
    since: float
    held: bool = False
    """Some process had it open for writing when it came here; none can open it later."""
    late: bool = False
    """What is about to be placed is a late save, which exists nowhere else."""


class Limbo:
    """A directory of batches, each a directory of slots and a journal.

    A slot first holds the new content; once that has changed places with the file, it holds
    the old one.  The journal begins with one line that names all slots and what they are for;
    nothing is replaced before that line is on the disk.  What then happens to a slot otherwise
    than it says is noted before it happens, so that after a kill at any moment it is known what
    the slot holds; after a power cut, which may take the notes, the first line and the content tell.

    A slot of which the journal says nothing, for it is damaged, is never deleted: it goes
    to the directory ``recovered`` beside the limbo.
    """

    def __init__(self, directory: bytes, *, quiet: float = QUIET) -> None:
        make_directory(directory)
        self.directory = directory
        self._quiet = quiet
        self.descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._next = 0
        self._journal: tuple[bytes, int] | None = None  # of the batch that is under way, and its descriptor
        self._intended: dict[bytes, Kept] = {}  # slot -> what the journal of that batch says of it
        self._kept: dict[bytes, dict[bytes, Kept]] = {}  # batch -> slot -> file
        try:
            for batch in os.listdir(directory):
                self._adopt(batch)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the directory; what is kept is found again by the next one."""
        os.close(self.descriptor)

    @contextlib.contextmanager
    def batch(self) -> Iterator[bytes]:
        """Give the name of a new directory for slots; at the end only kept files stay in it."""
        name = b"%d" % self._next
        self._next += 1
        os.mkdir(os.path.join(self.directory, name), 0o700)
        try:
            yield name
        finally:
            if self._journal is not None:
                os.close(self._journal[1])
                self._journal, self._intended = None, {}
            self._clear(name)

    def intend(
        self,
        batch: bytes,
        operations: Sequence[Operation],
        standing: Callable[[RelPath], Signature | None],
    ) -> Sequence[Signature | None]:
        """Write down what the slots of a new batch are for, in order; on return it survives a power cut.

        Call it when the new content is there; ``standing`` returns the signature of what was seen
        at a path.  Returns the signature of what each slot holds.
        """
        held, intended = [], {}
        for number, operation in enumerate(operations):
            slot = b"%s/%d" % (batch, number)
            placed, was = signature_at(self.descriptor, slot), standing(operation.path) or NEVER
            intended[slot] = Kept(
                slot=slot, path=operation.path, entry=operation.expected, was=was, placed=placed, seen=was, since=0
            )
            held.append(placed)
        directory = os.path.join(self.directory, batch)
        journal = os.path.join(directory, _JOURNAL)
        file = os.open(journal + b".new", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _append(file, {"slots": [_plain(kept) for kept in intended.values()]})
            os.fsync(file)
            os.rename(journal + b".new", journal)  # a journal that is there begins with a whole line
            sync_directory(directory)
            sync_directory(self.directory)
        except BaseException:
            os.close(file)
            raise
        self._journal, self._intended = (batch, file), intended  # for the notes that follow
        return held

    def note(self, kept: Kept) -> None:
        """Write down what is going to happen to a slot, unless that is what was intended."""
        if (intended := self._intended.pop(kept.slot, None)) is not None and _says(intended) == _says(kept):
            return
        if self._journal is not None and self._journal[0] == _batch(kept.slot):
            _append(self._journal[1], _plain(kept))
            return
        journal = os.path.join(self.directory, _batch(kept.slot), _JOURNAL)
        file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _append(file, _plain(kept))
        finally:
            os.close(file)

    def keep(self, kept: Kept, file: int | None = None) -> None:
        """Look after a slot that holds an old file, of which ``file`` may be a descriptor, from now on."""
        kept.held = is_being_written(self.descriptor, kept.slot) if file is None else has_writer(file)
        self._take(kept)

    def kept(self) -> list[Kept]:
        """Return the files that are kept."""
        return [kept for slots in self._kept.values() for kept in slots.values()]

    def look(self, kept: Kept) -> Signature | None:
        """Return a kept file's signature now, and restart its time if it changed."""
        now = signature_at(self.descriptor, kept.slot)
        if now is not None and now != kept.seen:
            kept.seen, kept.since = now, monotonic()
        return now

    def is_quiet(self, kept: Kept) -> bool:
        """Return whether nobody can be expected to write to the file any more."""
        return monotonic() - kept.since >= self._quiet and not is_being_written(self.descriptor, kept.slot)

    def over(self) -> Sequence[bytes]:
        """Return the batches of which nothing has changed, and nobody can be expected to write to any file."""
        return [batch for batch, slots in self._kept.items() if all(map(self._is_over, slots.values()))]

    def dismiss(self, batches: Collection[bytes]) -> None:
        """Let go of whole batches; large ones are deleted by a thread of their own, or else at the next start."""
        aside = []
        for batch in batches:
            directory = os.path.join(self.directory, batch)
            if len(self._kept[batch]) >= _MANY:
                os.rename(directory, directory + _OVER)
                aside.append(directory + _OVER)
            else:
                _remove(directory)
            del self._kept[batch]
        if aside:
            Thread(target=lambda: [*map(_remove, aside)], name="limbo", daemon=True).start()

    def _is_over(self, kept: Kept) -> bool:
        return not kept.held and self.look(kept) == kept.was and self.is_quiet(kept)

    def release(self, kept: Kept) -> None:
        """Let go of a file, and of its batch with the last one."""
        batch = _batch(kept.slot)
        del self._kept[batch][kept.slot]
        _remove(os.path.join(self.directory, kept.slot))
        if not self._kept[batch]:
            self._clear(batch)

    def _take(self, kept: Kept) -> None:
        self._kept.setdefault(_batch(kept.slot), {})[kept.slot] = kept

    def _clear(self, batch: bytes) -> None:
        directory = os.path.join(self.directory, batch)
        if not self._kept.get(batch):
            self._kept.pop(batch, None)
            _remove(directory)
            return
        for name in os.listdir(directory):
            if name != _JOURNAL and batch + b"/" + name not in self._kept[batch]:
                _remove(os.path.join(directory, name))

    # -- after a restart ----------------------------------------------------------------------
    def _adopt(self, batch: bytes) -> None:
        """Take over what an agent that was killed has left."""
        if batch.isdigit():
            self._next = max(self._next, int(batch) + 1)
            last = self._read_journal(batch)
            if last is not None:
                self._set_aside(batch, {kept.slot.removesuffix(ASIDE) for kept in last})
                for kept in last:
                    self._adopt_slot(kept)
        self._clear(batch)

    def _set_aside(self, batch: bytes, explained: Collection[bytes]) -> None:
        """Move what the journal does not explain to where nobody deletes it."""
        place = os.path.join(os.path.dirname(self.directory), _RECOVERED)
        for name in os.listdir(os.path.join(self.directory, batch)):
            number = name.removesuffix(ASIDE)
            if number.isdigit() and batch + b"/" + number not in explained:
                make_directory(place)
                target = os.path.join(place, b"%d-%s-%s" % (time_ns(), batch, name))
                os.rename(os.path.join(self.directory, batch, name), target)
                log.warning("the journal of replaced files is damaged: %s may be a file of yours", os.fsdecode(target))

    def _adopt_slot(self, kept: Kept) -> None:
        found = signature_at(self.descriptor, kept.slot)
        aside = signature_at(self.descriptor, kept.slot + ASIDE)
        # A stepwise exchange was cut off before its last step, or in the middle of its second, which links and unlinks.
        if aside is not None and (found is None or self._is_linked(kept.slot)):
            os.rename(kept.slot + ASIDE, kept.slot, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
            found, aside = aside, None
        if kept.late and found is not None and kept.placed is not None and found[0] == kept.placed[0]:
            # Cut off before it changed places with what we had put there: still to be brought back.
            kept.entry, kept.placed, kept.was, kept.late = None, kept.was, NEVER, False
            self._take(kept)
        elif found is not None and (kept.placed is None or found[0] != kept.placed[0]):
            self._take(kept)
        elif aside is not None:  # ... or before its second: the old file has to go back
            kept.slot += ASIDE
            kept.entry, kept.placed, kept.seen = None, None, aside
            kept.was = NEVER
            self._take(kept)

    def _is_linked(self, slot: bytes) -> bool:
        """Return whether what a slot holds stands in the working copy, too: we give nothing else a second name."""
        return os.stat(slot, dir_fd=self.descriptor, follow_symlinks=False).st_nlink > 1

    def _read_journal(self, batch: bytes) -> Sequence[Kept] | None:
        """Return the last word on each slot, ``None`` if no journal was begun and so nothing replaced."""
        try:
            with open(os.path.join(self.directory, batch, _JOURNAL), "rb") as file:
                lines = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return None
        last: dict[bytes, Kept] = {}
        for line in lines:
            # Torn by a power cut, or damaged: nothing that is not ours may be touched for it.
            with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
                said = cast(dict[str, object], json.loads(line))
                slots = cast(list[dict[str, object]], said["slots"]) if "slots" in said else [said]
                last.update({kept.slot: kept for kept in [_parse(batch, slot) for slot in slots]})
        return [*last.values()]


def _append(file: int, line: Mapping[str, object]) -> None:
    content = memoryview(msgspec.json.encode(line) + b"\n")
    while content:  # a disk that fills up takes a part
        content = content[os.write(file, content) :]


def _says(kept: Kept) -> tuple[object, ...]:
    """Return what the journal says of a slot."""
    return kept.path, kept.entry, kept.was, kept.placed, kept.late


def _plain(kept: Kept) -> Mapping[str, object]:
    return {
        "slot": kept.slot.rpartition(b"/")[2].decode("ascii"),
        "path": kept.path.decode("latin-1"),
        "kind": kept.entry.kind.value if kept.entry else None,
        "oid": kept.entry.oid if kept.entry else None,
        "was": kept.was,
        "placed": kept.placed,
        "late": kept.late,
    }


def _parse(batch: bytes, line: dict[str, object]) -> Kept:
    was = _signature(line["was"])
    kind, placed = line["kind"], line["placed"]
    slot, path = str(line["slot"]).encode("ascii"), RelPath(str(line["path"]).encode("latin-1"))
    if slot == _JOURNAL or any(map(unsafe_component, (slot, *path.split(b"/")))):
        raise ValueError("no slot or no path of ours")
    return Kept(
        slot=batch + b"/" + slot,
        path=path,
        entry=None if kind is None else Entry(kind=Kind(kind), oid=ObjectId(str(line["oid"]))),
        was=was,
        placed=None if placed is None else _signature(placed),
        seen=was,
        since=monotonic(),
        late=line.get("late") is True,
    )


def _signature(value: object) -> Signature:
    ino, size, mtime, mode = (int(n) for n in cast(list[int], value))
    return ino, size, mtime, mode


def _batch(slot: bytes) -> bytes:
    return slot.partition(b"/")[0]


def _remove(path: bytes) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        shutil.rmtree(path, ignore_errors=True)
