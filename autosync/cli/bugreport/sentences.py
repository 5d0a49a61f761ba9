"""Knows every sentence that autosync itself can say, from its source, and finds one again in a text."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_FEWEST = 6
"""Letters that a sentence has to have of its own: less is found in anything."""
_LONGEST = 4000
_LETTER = re.compile(r"[^\W\d_]")
_SLOT = re.compile(r"%(?:\.\d+)?[sdrfgx]|\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The constant parts of a sentence, in order; between two of them, and before an empty one, stands a value."""

    parts: tuple[str, ...]

    @property
    def letters(self) -> int:
        """How many letters are the program's own."""
        return sum(len(_LETTER.findall(part)) for part in self.parts)

    def values_in(self, text: str) -> list[str] | None:
        """Return what stands between the parts if ``text`` is this sentence, else ``None``."""
        first, *others = self.parts
        if not text.startswith(first):
            return None
        if not others:
            return [] if text == first else None
        at, values = len(first), []
        for part in others[:-1]:
            found = text.find(part, at)
            if found < 0:
                return None
            values.append(text[at:found])
            at = found + len(part)
        end = len(text) - len(others[-1])
        if end < at or not text.endswith(others[-1]):
            return None
        return [*values, text[at:end]]


class Sentences:
    """What the source files say; the most telling sentences first."""

    def __init__(self, files: Iterable[Path]) -> None:
        constants: set[str] = set()
        fields: set[str] = set()
        classes = {name for name in dir(builtins) if isinstance(getattr(builtins, name), type)}
        shaped: set[Sentence] = set()
        for file in files:
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    constants.add(node.value)
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    fields.add(node.target.id.replace("_", "-"))
                elif isinstance(node, ast.ClassDef):
                    classes.add(node.name)
                elif isinstance(node, ast.JoinedStr):
                    shaped.add(Sentence(tuple(_parts(node))))
        self.constants = frozenset(constants)
        self.classes = frozenset(classes)
        self.fields = frozenset(fields)
        """Names of fields, as keys of the configuration are written."""
        shaped |= {Sentence(tuple(_SLOT.split(text))) for text in constants if _SLOT.search(text)}
        self._shaped = sorted((s for s in shaped if s.letters >= _FEWEST), key=lambda s: (-s.letters, s.parts))

    def find(self, text: str) -> tuple[Sentence, list[str]] | None:
        """Return the sentence that ``text`` is, the one with the most words of its own, and the values in it."""
        if len(text) > _LONGEST:
            return None
        for sentence in self._shaped:
            values = sentence.values_in(text)
            if values is not None:
                return sentence, values
        return None


def own_sentences() -> Sentences:
    """Return what this installation can say."""
    return Sentences(sorted(Path(__file__).parents[2].rglob("*.py")))


def _parts(node: ast.JoinedStr) -> Iterator[str]:
    """Yield the constant parts of an f-string, one more than it has values."""
    part = ""
    for piece in node.values:
        if isinstance(piece, ast.Constant):
            part += str(piece.value)
        else:
            yield part
            part = ""
    yield part
