"""Tells from gitattributes(5) whether git stores a file's bytes as they are or converted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from autosync.backends.git.coprocess import QUESTION_LIMIT, Coprocess, Ended
from autosync.backends.git.repository import Repository
from autosync.backends.git.settings import FileSignature, SettingsWatch, file_signature
from autosync.core.model import RelPath

_NAMES = ("text", "eol", "crlf", "filter", "ident", "working-tree-encoding")
_ABSENT = {b"unspecified", b"unset"}


class LineEnds(Enum):
    """What git does with CRLF when it stores a file."""

    KEPT = "kept"
    CONVERTED = "converted"
    CONVERTED_IN_TEXT = "converted in text"  # text=auto, core.autocrlf: if it looks like text


@dataclass(frozen=True, slots=True)
class Conversion:
    """What may make the stored content differ from the file's bytes."""

    line_ends: LineEnds = LineEnds.KEPT
    ident: bool = False
    foreign: bool = False
    """A filter or an encoding: only git can tell."""
    writes_crlf: bool = False
    """A checkout ends the lines in CRLF, if it converts line ends at all."""

    @property
    def is_plain(self) -> bool:
        """Whether a checkout writes any content as it is stored."""
        return not (self.foreign or self.ident or self.writes_crlf)

    def changes(self, *, has_crlf: bool, looks_binary: bool, has_ident: bool) -> bool:
        """Return whether content of that make may be stored as other bytes.

        Without any CRLF line ends stay as they are, whatever the attributes; with one,
        it depends on what is in the index (convert.c, crlf_to_git), which git must say.
        """
        if self.foreign or (self.ident and has_ident):
            return True
        if not has_crlf or self.line_ends is LineEnds.KEPT:
            return False
        return self.line_ends is LineEnds.CONVERTED or not looks_binary

    def changes_checkout(self, content: bytes) -> bool:
        """Return whether a checkout may write other bytes than this stored content."""
        return self.foreign or (self.ident and b"$Id" in content) or (self.writes_crlf and b"\n" in content)

    def changes_content(self, content: bytes) -> bool:
        """Return whether this content may be stored as other bytes."""
        if self == PLAIN:
            return False
        return self.changes(has_crlf=b"\r\n" in content, looks_binary=b"\0" in content, has_ident=b"$Id" in content)


PLAIN = Conversion()


class Attributes:
    """The attributes that convert, through one long-lived `git check-attr`."""

    def __init__(self, repo: Repository, settings: SettingsWatch) -> None:
        self._settings = settings
        self._process = Coprocess(repo.git, "check-attr", "-z", "--stdin", *_NAMES)
        self._seen: tuple[int, tuple[FileSignature, ...]] | None = None

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def refresh(self) -> bool:
        """Notice changed attribute files outside the tree; return whether there were any."""
        self._settings.refresh()
        seen = (self._settings.generation, tuple(map(file_signature, self._settings.attribute_files())))
        changed = self._seen is not None and seen != self._seen
        self._seen = seen
        if changed:
            self.forget()
        return changed

    def forget(self) -> None:
        """A .gitattributes changed: a running process would not notice."""
        self._process.close()

    def conversions(self, paths: Collection[RelPath]) -> dict[RelPath, Conversion]:
        """Return the conversion for each path."""
        found: dict[RelPath, Conversion] = {}
        for chunk in chunks(paths):
            try:
                fields = self._ask(chunk)
            except Ended:  # killed since the last question
                fields = self._ask(chunk)
            values = fields[2::3]
            for number, path in enumerate(chunk):
                found[path] = self._conversion(values[number * len(_NAMES) : (number + 1) * len(_NAMES)])
        return found

    def _ask(self, paths: Sequence[RelPath]) -> list[bytes]:
        self._process.ask(b"".join(path + b"\0" for path in paths))
        return self._process.read_fields(3 * len(_NAMES) * len(paths))

    def _conversion(self, values: Sequence[bytes]) -> Conversion:
        text, eol, crlf, filter_name, ident, encoding = values
        line_ends = self._line_ends(text, eol, crlf)
        writes_crlf = eol == b"crlf" or (eol != b"lf" and self._settings.values.writes_crlf)
        return Conversion(
            line_ends=line_ends,
            writes_crlf=writes_crlf and line_ends is not LineEnds.KEPT,
            ident=ident == b"set",
            foreign=filter_name not in {*_ABSENT, b"set"} or encoding not in _ABSENT,
        )

    def _line_ends(self, text: bytes, eol: bytes, crlf: bytes) -> LineEnds:
        if text == b"unspecified":
            text = crlf  # the old name of the attribute
        if text == b"unset":
            return LineEnds.KEPT
        if text == b"auto":
            return LineEnds.CONVERTED_IN_TEXT
        if text != b"unspecified" or eol in {b"lf", b"crlf"}:
            return LineEnds.CONVERTED
        return LineEnds.CONVERTED_IN_TEXT if self._settings.values.autocrlf else LineEnds.KEPT


def chunks(paths: Collection[RelPath]) -> Iterator[list[RelPath]]:
    """Yield the paths in lists that fit into one question."""
    chunk: list[RelPath] = []
    size = 0
    for path in paths:
        if size + len(path) + 3 > QUESTION_LIMIT and chunk:
            yield chunk
            chunk, size = [], 0
        chunk.append(path)
        size += len(path) + 3
    if chunk:
        yield chunk
