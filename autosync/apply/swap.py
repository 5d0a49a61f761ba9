"""Lets a slot of the limbo and a file change places, and undoes it if it was the wrong file."""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import cast

from autosync.apply.limbo import Kept, Limbo
from autosync.apply.obstacle import CHANGED, Obstacle
from autosync.apply.rename import Renames
from autosync.apply.signature import Signature, signature_at
from autosync.core.model import Entry, RelPath

_ROUNDS = 16


class Swapper:
    """Compare-and-swap for files: first the swap, which is atomic, then a look at what came out.

    A file that is not the expected one goes back at once.  Whatever comes out stays in
    the limbo, for a process may still be writing to it; what cannot be looked at for the
    moment is looked at by the next sweep, as what a process writes late.
    """

    def __init__(self, renames: Renames, limbo: Limbo) -> None:
        self._renames = renames
        self._limbo = limbo

    def create(self, slot: bytes, parent: int, name: bytes) -> None:
        """Move the slot to a name that is free; raises :class:`FileExistsError`."""
        self._renames.move(self._limbo.descriptor, slot, parent, name)

    def rename(self, source: tuple[int, bytes], target: tuple[int, bytes], expected: Signature) -> None:
        """Rename ``source`` if it has the signature ``expected``.

        Raises :class:`Obstacle`, and :class:`FileExistsError` if ``target`` exists.
        """
        self._renames.move(*source, *target)
        if not _is(expected, *target):
            with contextlib.suppress(FileExistsError):  # made anew meanwhile: both stay
                self._renames.move(*target, *source)
            raise Obstacle(CHANGED)

    def remove(self, kept: Kept, parent: int, name: bytes) -> None:
        """Move the file into the slot if it has the signature ``kept.was``; raises :class:`Obstacle`."""
        self._limbo.note(kept)
        self._renames.move(parent, name, self._limbo.descriptor, kept.slot)
        out = self._came_out(kept, kept.was)
        if out == kept.was:
            self._limbo.keep(kept)
            return
        try:
            self._renames.move(self._limbo.descriptor, kept.slot, parent, name)
        except FileExistsError:  # the user has made it anew: his own newer file stands
            self._keep_superseded(kept, out, None, None)
        except OSError:
            self._limbo.keep(kept)  # not what it was: the next sweep brings it back
        raise Obstacle(CHANGED)

    def replace(self, kept: Kept, new: Entry | None, parent: int, name: bytes, file: int | None = None) -> None:
        """Let the slot, which holds ``new``, and the file change places if the file has the signature ``kept.was``.

        ``file`` is a descriptor of the file, if there is one already; ``kept.placed`` the signature of
        what the slot holds, if it is known.  Raises :class:`Obstacle` if the file is another.
        """
        kept.placed, kept.late = kept.placed or self._content(kept), new is None
        self._limbo.note(kept)
        try:
            self._renames.exchange(self._limbo.descriptor, kept.slot, parent, name)
        except FileNotFoundError:
            raise Obstacle("it disappeared here meanwhile") from None
        except FileExistsError:
            raise Obstacle(CHANGED) from None
        out = self._came_out(kept, kept.was)
        if out == kept.was:
            self._limbo.keep(kept, file)
            return
        try:
            self._put_back(kept, new, out, parent, name)
        except OSError:
            self._limbo.keep(kept)  # not what it was: the next sweep brings it back
        raise Obstacle(CHANGED)

    def _put_back(self, kept: Kept, new: Entry | None, out: Signature, parent: int, name: bytes) -> None:
        """Undo an exchange that brought out something unexpected.

        Whatever comes out instead of what was put there before is newer still, saved
        in between; so it goes back, until the two agree.
        """
        put = cast(Signature, kept.placed)
        for _ in range(_ROUNDS):
            there, put = put, out
            try:
                self._renames.exchange(self._limbo.descriptor, kept.slot, parent, name)
            except FileNotFoundError:  # deleted meanwhile: but nobody has recorded this content yet
                self._renames.move(self._limbo.descriptor, kept.slot, parent, name)
                return
            out = self._came_out(kept, there)
            if out == there:
                self._keep_superseded(kept, out, new if out == kept.placed else None, put)
                return
        self._limbo.keep(kept)

    def _keep_superseded(self, kept: Kept, out: Signature, entry: Entry | None, placed: Signature | None) -> None:
        """Keep what nobody misses, unless it is written to later."""
        superseded = Kept(
            slot=kept.slot, path=kept.path, entry=entry, was=out, placed=placed, seen=out, since=monotonic()
        )
        with contextlib.suppress(OSError):  # after a kill it may come back, then, as a copy that nobody needs
            self._limbo.note(superseded)
        self._limbo.keep(superseded)

    def _came_out(self, kept: Kept, expected: Signature) -> Signature:
        """Return the signature of what came into the slot, ``expected`` if that cannot be seen now."""
        try:
            return self._content(kept)
        except OSError:
            return expected

    def _content(self, kept: Kept) -> Signature:
        found = signature_at(self._limbo.descriptor, kept.slot)
        if found is None:
            raise FileNotFoundError(2, "a file in limbo is gone", kept.slot)
        return found


def _is(expected: Signature, directory: int, name: bytes) -> bool:
    try:
        return signature_at(directory, name) == expected
    except OSError:
        return False


def kept_file(slot: bytes, path: RelPath, entry: Entry | None, was: Signature, placed: Signature | None = None) -> Kept:
    """Return the record of a file that is about to come into ``slot``, in exchange for what is ``placed``."""
    return Kept(slot=slot, path=path, entry=entry, was=was, placed=placed, seen=was, since=monotonic())
