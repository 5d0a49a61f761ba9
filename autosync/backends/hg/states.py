"""Joins the tree of a working copy's files and its marks into one id."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

from autosync.backends.git.objects import object_id
from autosync.backends.hg.marks import Marks, encode_marks, parse_marks, writable
from autosync.backends.hg.objects import Kind, Objects, raw_id
from autosync.core.model import RelPath, TreeId
from autosync.errors import Missing

_HASH = "sha256"
_KEPT = 1024
_KEPT_MARKS = 8
_AGAIN = "It is asked for again from the other devices."


class States:
    """States by their hex id, each the raw ids of the files' tree and of the blob of the marks; for any thread.

    ``empty`` is that of no files and no marks, which needs no store.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._lock = objects.database.lock
        self._nothing = (object_id(_HASH, b"tree", b""), object_id(_HASH, b"blob", b""))
        self.empty = TreeId(object_id(_HASH, b"state", b"".join(self._nothing)).hex())
        self._known: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()
        self._used: dict[str, float] = {}
        self._marks: OrderedDict[bytes, Mapping[RelPath, bytes]] = OrderedDict()

    def parts(self, state: TreeId | None) -> tuple[bytes, bytes]:
        """Return the raw ids of the files' tree and of the marks.  Raises :class:`Missing`."""
        if state is None or state == self.empty:
            return self._nothing
        with self._lock:
            known = self._known.get(state)
            if known is None:
                content = self._objects.read(Kind.STATE, raw_id(state))
                if content is None:
                    raise Missing(f"state {state} is not here", hint=_AGAIN)
                known = (content[:32], content[32:])
            self._keep(state, known)
            return known

    def join(self, tree: bytes, marks: bytes) -> TreeId:
        """Return the state of a files' tree with these marks, both by their raw ids."""
        if (tree, marks) == self._nothing:
            return self.empty
        with self._lock:
            state = TreeId(self._objects.put(Kind.STATE, tree + marks).hex())
            self._keep(state, (tree, marks))
            return state

    def marks(self, oid: bytes) -> Mapping[RelPath, bytes]:
        """Return marks by the raw id of their blob.  Raises :class:`Missing`, and :class:`Unsafe` for forged ones."""
        with self._lock:
            known = self._marks.get(oid)
            if known is None:
                content = b"" if oid == self._nothing[1] else self._objects.read(Kind.BLOB, oid)
                if content is None:
                    raise Missing(f"marks {oid.hex()} are not here", hint=_AGAIN)
                known = MappingProxyType(parse_marks(content))
            self._keep_marks(oid, known)
            return known

    def put_marks(self, marks: Marks) -> bytes:
        """Keep marks, but those of added files that no device may write; return the raw id of their blob.

        Raises :class:`Unsafe` for what hg does not make.
        """
        content = encode_marks(writable(marks))
        checked = MappingProxyType(parse_marks(content))
        if not checked:
            return self._nothing[1]
        with self._lock:
            oid = self._objects.put(Kind.BLOB, content)
            self._keep_marks(oid, checked)
            return oid

    def in_use(self, since: float) -> list[bytes]:
        """Return the raw ids of those that were asked for since then (seconds since the epoch)."""
        with self._lock:
            return [bytes.fromhex(state) for state, used in self._used.items() if used > since]

    def _keep(self, state: str, parts: tuple[bytes, bytes]) -> None:
        self._known[state] = parts
        self._known.move_to_end(state)
        self._used[state] = self._objects.clock()
        if len(self._known) > _KEPT:
            del self._used[self._known.popitem(last=False)[0]]

    def _keep_marks(self, oid: bytes, marks: Mapping[RelPath, bytes]) -> None:
        self._marks[oid] = marks
        self._marks.move_to_end(oid)
        if len(self._marks) > _KEPT_MARKS:
            self._marks.popitem(last=False)
