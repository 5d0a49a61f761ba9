"""Keeps directories that were read lately: many as they are stored, a few taken apart."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from autosync.backends.git.objects import Slot, parse_tree

_RAW_LIMIT = 12 << 20
"""Bytes; about 40 for a name, so all directories of 300,000 files fit."""
_PARSED_LIMIT = 120_000
_PARSED_AT_REST = 20_000
"""Names; about 250 bytes each.  A big change needs its directories again and again, a save few."""


class TreeCache:
    """Directories by their hex id, the least recently used let go.  Not for several threads at once."""

    def __init__(self, hash_name: str) -> None:
        self._hash_name = hash_name
        self._raw: OrderedDict[str, bytes] = OrderedDict()
        self._raw_size = 0
        self._parsed: OrderedDict[str, Mapping[bytes, Slot]] = OrderedDict()
        self._parsed_size = 0

    def __contains__(self, oid: str) -> bool:
        return oid in self._raw or oid in self._parsed

    def get(self, oid: str) -> Mapping[bytes, Slot] | None:
        """Return the directory, ``None`` if it is not kept."""
        parsed = self._parsed.get(oid)
        if parsed is not None:
            self._parsed.move_to_end(oid)
            return parsed
        raw = self._raw.get(oid)
        if raw is None:
            return None
        self._raw.move_to_end(oid)
        return self._keep_parsed(oid, parse_tree(raw, self._hash_name))

    def put(self, oid: str, raw: bytes, parsed: Mapping[bytes, Slot] | None = None) -> None:
        """Keep the tree object ``raw``, and what it says if that is known."""
        if oid not in self._raw:
            self._raw[oid] = raw
            self._raw_size += len(raw)
            while self._raw_size > _RAW_LIMIT and len(self._raw) > 1:
                self._raw_size -= len(self._raw.popitem(last=False)[1])
        if parsed is not None:
            self._keep_parsed(oid, parsed)

    def rest(self) -> None:
        """A change is done: let go of what the next small one will not need."""
        self._shrink(_PARSED_AT_REST)

    def _keep_parsed(self, oid: str, parsed: Mapping[bytes, Slot]) -> Mapping[bytes, Slot]:
        if oid not in self._parsed:
            self._parsed[oid] = parsed
            self._parsed_size += len(parsed)
            self._shrink(_PARSED_LIMIT)
        return parsed

    def _shrink(self, limit: int) -> None:
        while self._parsed_size > limit and len(self._parsed) > 1:
            self._parsed_size -= len(self._parsed.popitem(last=False)[1])
