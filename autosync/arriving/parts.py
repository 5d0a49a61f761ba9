"""Keeps what has come of an answer that was cut, so that another attempt goes on from there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

import msgspec

from autosync.core.model import SnapshotId
from autosync.durable import make_directory
from autosync.errors import Unreachable, Unsafe
from autosync.link.prefix import Prefix
from autosync.link.wire import Wish

SPOOL = 1 << 18
"""Bytes of an answer that are held in memory; of a longer one a file is made, which outlives the agent."""
WORTH_KEEPING = 1 << 14
"""Bytes for which another attempt goes on with an answer that was cut: on the slowest way they took seconds."""
LONGEST = 16 << 30
"""Bytes of an answer; backends take no more of one either."""
MAX_PARTS = 4
MAX_BYTES = 16 << 30
"""Bytes of all parts that are kept beside the one that is being used."""
MAX_AGE = 14 * 86400.0
"""Seconds after which nobody goes on with a part."""
_PART, _QUESTION = b".part", b".json"
_READ = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What was asked; another holder of the same store may give the same answer."""

    want: SnapshotId
    have: tuple[str, ...]


class Part:
    """The beginning of the answer about ``want`` for one who has ``have``; written to as a file is.

    In memory at first and then in ``place``, a directory.
    """

    def __init__(self, place: bytes, want: SnapshotId, have: Sequence[str], *, longest: int = LONGEST) -> None:
        self.want = want
        self.have = tuple(have)
        self.size = 0
        self._longest = longest
        self._name = os.path.join(place, os.fsencode(want))
        self._file: BinaryIO = io.BytesIO()
        self._using = threading.Lock()
        """Held while another thread reads: a descriptor that is closed meanwhile may stand for another file at once."""
        self._in_memory = True
        self._digest = hashlib.sha256()

    @property
    def wish(self) -> Wish:
        """What is to be asked for: the rest."""
        return Wish(want=self.want, have=self.have, begun=Prefix(size=self.size, sha256=self._digest.digest()))

    def write(self, content: bytes) -> int:
        """Add to it.  Raises :class:`OSError`, or :class:`Unsafe` beyond ``longest`` bytes."""
        if self.size + len(content) > self._longest:
            raise Unsafe(
                f"The answer about snapshot {self.want} does not end: it has more than {self._longest} bytes",
                hint="The source may be faulty or hostile; nothing of it was kept. Another source will be tried.",
            )
        if self._in_memory and self.size + len(content) > SPOOL:
            self._move_to_disk()
        view = memoryview(content)
        while view:  # an unbuffered file may take a part
            written = self._file.write(view)
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]
        return len(content)

    def whole(self) -> BinaryIO:
        """Return it as a file to be read from the beginning, in any thread, until it is kept or dropped."""
        with self._using:
            self._demand_open()
            self._file.seek(0)
        return cast(BinaryIO, self)  # which has all that is needed of one

    def read(self, size: int = -1) -> bytes:
        """Return what follows.  Raises :class:`Unreachable` once it has been let go of, as when the agent ends."""
        with self._using:
            self._demand_open()
            return self._file.read(size)

    def begin_anew(self, have: Sequence[str]) -> None:
        """Forget all that has come; the next answer is to be for one who has ``have``."""
        self.drop()
        self.have = tuple(have)
        self.size, self._digest = 0, hashlib.sha256()
        self._file, self._in_memory = io.BytesIO(), True

    def keep(self) -> None:
        """Let go of what has come and leave it for the next attempt, if it is worth one."""
        if self._in_memory and self.size >= WORTH_KEEPING:
            try:
                self._move_to_disk()
            except OSError:
                self.drop()
        self._close()

    def drop(self) -> None:
        """Delete it."""
        self._close()
        _delete(self._name)

    def _demand_open(self) -> None:
        if self._file.closed:
            raise Unreachable(f"The transfer of snapshot {self.want} was ended", hint="It is gone on with later.")

    def _close(self) -> None:
        with self._using:
            self._file.close()

    def _move_to_disk(self) -> None:
        make_directory(os.path.dirname(self._name))
        # The question first: a part without one is of no use, and deleted at the next start.
        _write(self._name + _QUESTION, msgspec.json.encode(_Question(want=self.want, have=self.have)))
        file = open(_private(self._name + _PART, os.O_TRUNC), "w+b", buffering=0)  # noqa: SIM115  # see keep
        held, self._file = cast(io.BytesIO, self._file).getbuffer(), file
        self._in_memory = False
        rest = memoryview(held)
        while rest:
            rest = rest[self._file.write(rest) :]

    @classmethod
    def reopen(cls, place: bytes, want: SnapshotId) -> Part | None:
        """Return what an earlier attempt has left of the answer about ``want``, ``None`` if it is of no use."""
        name = os.path.join(place, os.fsencode(want))
        try:
            with open(name + _QUESTION, "rb") as file:
                question = msgspec.json.decode(file.read(_READ), type=_Question)
            part = cls(place, want, question.have)
            part._file = open(_private(name + _PART), "r+b", buffering=0)  # noqa: SIM115  # see keep
        except (OSError, msgspec.MsgspecError):
            _delete(name)
            return None
        part._in_memory = False
        while content := part._file.read(_READ):
            part._digest.update(content)
            part.size += len(content)
        return part


class Parts:
    """All parts in the directory ``place``, of which nobody else may know."""

    def __init__(self, place: bytes, clock: Callable[[], float] = time.time) -> None:
        self._place = place
        self._clock = clock

    def begin(self, want: SnapshotId, have: Callable[[], Sequence[str]]) -> Part:
        """Return what is here of the answer about ``want``, else the beginning of a new one for who has ``have``."""
        part = Part.reopen(self._place, want)
        if part is None:
            self.tidy()  # or a long run would leave one for each state that was never finished
            part = Part(self._place, want, have())
        return part

    def largest(self, but: SnapshotId, least: int) -> SnapshotId | None:
        """Return of which snapshot other than ``but`` most has come, ``None`` if that is less than ``least`` bytes."""
        sizes = [(info.st_size, name) for name, info in self._listed() if name != os.fsencode(but)]
        size, name = max(sizes, default=(0, b""))
        return SnapshotId(os.fsdecode(name)) if size >= least else None

    def tidy(self) -> None:
        """Delete what nobody will go on with: what is old, what is too much, and what is not whole."""
        left = MAX_BYTES
        listed = sorted(self._listed(), key=lambda found: -found[1].st_mtime)
        kept = set()
        for name, info in listed[:MAX_PARTS]:
            left -= info.st_size
            if left >= 0 and self._clock() - info.st_mtime < MAX_AGE:
                kept.add(name)
        with contextlib.suppress(FileNotFoundError):
            for entry in os.listdir(self._place):
                if os.path.splitext(entry)[0] not in kept:
                    os.unlink(os.path.join(self._place, entry))

    def _listed(self) -> Iterator[tuple[bytes, os.stat_result]]:
        with contextlib.suppress(FileNotFoundError):
            for entry in os.listdir(self._place):
                if entry.endswith(_PART):
                    with contextlib.suppress(FileNotFoundError):
                        yield entry[: -len(_PART)], os.stat(os.path.join(self._place, entry))


def _private(path: bytes, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (flags and flags | os.O_CREAT), 0o600)


def _write(path: bytes, content: bytes) -> None:
    with open(_private(path, os.O_TRUNC), "wb") as file:
        file.write(content)


def _delete(name: bytes) -> None:
    for ending in (_PART, _QUESTION):
        with contextlib.suppress(OSError):  # nothing hangs on it: what is left is tidied up some other time
            os.unlink(name + ending)
