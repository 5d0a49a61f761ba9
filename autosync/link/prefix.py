"""The part of an answer that is there already, and goes without being sent again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The first ``size`` bytes of an answer, by their SHA-256."""

    size: int
    sha256: bytes


NOTHING = Prefix(size=0, sha256=hashlib.sha256().digest())


class OtherBytes(Exception):
    """An answer does not begin with the bytes that are there."""


class Skipping:
    """Takes the prefix off an answer that comes in pieces, looking whether it is the one."""

    def __init__(self, prefix: Prefix) -> None:
        self._prefix = prefix
        self._left = prefix.size
        self._digest = hashlib.sha256()

    def rest(self, piece: bytes) -> bytes:
        """Return what of ``piece`` comes after the prefix.  Raises :class:`OtherBytes`."""
        if not self._left:
            return piece
        known = piece[: self._left]
        self._digest.update(known)
        self._left -= len(known)
        if not self._left and self._digest.digest() != self._prefix.sha256:
            raise OtherBytes
        return piece[len(known) :]

    def end(self) -> None:
        """Take note that the answer is over.  Raises :class:`OtherBytes` if that is too early."""
        if self._left:
            raise OtherBytes
