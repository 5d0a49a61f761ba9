"""What a working copy has for itself and what others of the same store have too, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Category(Enum):
    """Whether a part of a working copy can be shared at all."""

    NEVER = "never"
    OPTIONAL = "optional"  # the user decides
    ALWAYS = "always"


class Known(Enum):
    """By what another working copy of a store is known."""

    STORE = "store"  # it is the one that the store lies in, or the store lists it
    CONFIGURATION = "configuration"
    NEIGHBOURS = "neighbours"  # it lies beside one that is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another working copy of the same store: ``at`` is the branch or bookmark it is on, empty if it is on none."""

    root: bytes
    at: str
    known: Known
    missing: bool = False
    """Its folder is gone: it was deleted or moved, or its disk is not mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a working copy.

    ``path`` is where it lies, ``locks`` the files that stand for the locks which whoever changes it takes,
    in this order (``*`` is any name); both are absolute.  ``shared`` tells that others of the store have it too,
    ``companions`` which ones.
    """

    name: str
    category: Category
    path: bytes
    locks: tuple[bytes, ...] = ()
    shared: bool
    companions: tuple[bytes, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """One working copy: ``kind`` is what its version control calls it, ``store`` the directory that is shared."""

    root: bytes
    kind: str
    store: bytes
    others: tuple[Other, ...]
    parts: tuple[Part, ...]
