"""Writes stored content as files, as a checkout would."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from autosync.backends.hg.content import Content, Spooled
from autosync.backends.hg.repository import answered
from autosync.backends.hg.server import Server
from autosync.backends.hgext.contents import SMALL
from autosync.backends.hgext.frames import Value
from autosync.core.model import Entry, Kind, ObjectId, RelPath
from autosync.errors import Unsafe

_RULES = RelPath(b".hgeol")
_AT_ONCE = 8 << 20
"""Bytes of content that are given to hg at a time."""


class Staging:
    """The way from entries to files; ``open`` returns the content of a file as hg stores it.

    Where the user's filters (hg help config, "decode") or the eol extension convert it, his hg does,
    all other content is written by ourselves.
    """

    def __init__(self, server: Server, *, open: Callable[[ObjectId], Content]) -> None:
        self._server = server
        self._open = open

    def stage(self, entries: Sequence[tuple[RelPath, Entry]], directory: bytes) -> None:
        """Write the content of each entry to the file (or symlink) ``directory/<index>``.

        Raises :class:`Missing` for content that is not here, :class:`Unsafe` for an entry that is
        no file, and :class:`OSError`.
        """
        files = [path for path, entry in entries if entry.kind in {Kind.FILE, Kind.EXECUTABLE}]
        if not entries:
            return
        rules = next((self._open(entry.oid).whole() for path, entry in entries if path == _RULES), None)
        filtered = set(self._server.ask("filtered", {b"paths": files, b"rules": rules}).texts(b"paths"))
        size = 0
        waiting: list[tuple[bytes, RelPath, Kind, Content]] = []
        for index, (path, entry) in enumerate(entries):
            target = os.path.join(directory, b"%d" % index)
            if entry.kind is Kind.NESTED:
                raise Unsafe(f"{_show(path)} is a nested repository", hint="Its files are left to the user.")
            content = self._open(entry.oid)
            if entry.kind is Kind.SYMLINK:
                _link(target, content.whole())
            elif path in filtered:
                if content.size > SMALL:
                    self._convert([(target, path, entry.kind, content)], rules)
                    continue
                waiting.append((target, path, entry.kind, content))
                size += content.size
                if size > _AT_ONCE:
                    self._convert(waiting, rules)
                    waiting, size = [], 0
            else:
                _write(target, content.parts(), entry.kind)
        self._convert(waiting, rules)

    def _convert(self, files: Sequence[tuple[bytes, RelPath, Kind, Content]], rules: bytes | None) -> None:
        """Write files as the user's filters make them."""
        if not files:
            return
        spooled = Spooled(os.path.dirname(files[0][0])) if len(files) == 1 else None
        question: dict[bytes, Value] = {
            b"files": [[path, content.value()] for _, path, _, content in files],
            b"rules": rules,
            b"into": None if spooled is None else spooled.place,
        }
        converted = self._server.ask("decode", question).items(b"contents")
        for (target, _, kind, _), content in zip(files, converted, strict=True):
            _write(target, answered(content, spooled).parts(), kind)


def _link(target: bytes, content: bytes) -> None:
    if not content or b"\0" in content:
        raise Unsafe(f"{_show(content[:100])} cannot be the target of a link", hint="Nothing of it was used.")
    os.symlink(content, target)


def _write(target: bytes, parts: Iterable[bytes], kind: Kind) -> None:
    mode = 0o777 if kind is Kind.EXECUTABLE else 0o666
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(file, view) :]
    finally:
        os.close(file)


def _show(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
