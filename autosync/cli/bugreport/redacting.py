"""Takes out of texts and values whatever is not autosync's own: the same thing gets the same name everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping

from autosync.cli.bugreport.sentences import Sentences

KINDS: Mapping[str, str] = {
    "path": "path",
    "root": "path",
    "file": "path",
    "copy": "path",
    "source": "path",
    "key-file": "path",
    "state-dir": "path",
    "ca-file": "path",
    "place": "path",
    "name": "workspace",
    "workspace": "workspace",
    "device": "device",
    "peer": "device",
    "address": "address",
    "host": "address",
    "listen": "address",
    "jid": "account",
    "members": "account",
    "id": "id",
    "snapshot": "id",
    "tree": "id",
    "base": "id",
    "branch": "branch",
    "remote": "remote",
}
"""What a value under a key is called; anything else is just a text."""
_ENUMERATED = ("phase", "state", "vcs", "kind", "mode", "level", "reason", "direction", "backend", "commits")
_LEVELS = ("pull-lock", "log-level", "arrived", "conflict", "held", "connection", "halt", "hook", "commit")
WORDS = frozenset((*_ENUMERATED, *_LEVELS, "what"))
"""Keys of values of which autosync has a list: shown if it is one of these."""
TEXTS = frozenset({"detail", "hint", "title", "says", "waiting-for", "problem", "message", "why", "text", "dispute"})
"""Keys of sentences."""
SECRET = frozenset({"password", "password-command", "line", "certificate"})
"""Keys of what is not even given another name."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_FIGURE = re.compile(r"[^\W\d_]|-?\d{1,5}|\d{1,5}(?:\.\d{1,3})? (?:bytes|[kMGT]?B|s|min|h|d)")
"""What is shown in any place: a letter (of a plural), a number that tells nothing, a size, a time."""
_DEPTH = 4


class Redactor:
    """Gives other names, the same for the same thing as long as it lives."""

    def __init__(self, sentences: Sentences) -> None:
        self._sentences = sentences
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def name(self, value: str, kind: str = "text") -> str:
        """Return the other name of ``value``; of a path each part has its own."""
        if "/" in value and "\n" not in value:
            return "/".join(self._single(part, "part") if part else "" for part in value.split("/"))
        return self._single(value, kind)

    def text(self, text: str, depth: int = 0) -> str:
        """Return a text with autosync's own words alone; what others may have put into it has another name."""
        if text in self._names:  # somebody's name, even if it is a word of ours too
            return self._names[text]
        if not text or _FIGURE.fullmatch(text):
            return text
        if depth < _DEPTH:
            if "\n" in text:
                return "\n".join(self.text(line, depth + 1) for line in text.split("\n"))
            if text in self._sentences.constants and " " in text:
                return text
            found = self._sentences.find(text)
            if found is not None:
                sentence, values = found
                shown = [self.text(value, depth + 1) for value in values]
                return "".join(a + b for a, b in zip(sentence.parts, [*shown, ""], strict=True))
        return self.name(text)

    def template(self, template: str) -> str:
        """Return a template of a log line if it is autosync's own, else one that shows nothing of it."""
        return template if template in self._sentences.constants else " ".join(["%s"] * template.count("%"))

    def word(self, text: str) -> str:
        """Return ``text`` if it is a word of autosync's own, and nobody's name."""
        return text if text in self._sentences.constants and text not in self._names else self.text(text)

    def class_name(self, name: str) -> str:
        """Return the name of a class if it is autosync's or Python's own."""
        return name if name in self._sentences.classes and name not in self._names else self.text(name)

    def value(self, value: object, key: str = "") -> object:
        """Return a value as JSON has it, without what is not autosync's own; ``key`` is what it stands under."""
        if key in SECRET:
            for secret in value if isinstance(value, list | tuple) else [value]:
                self._single(str(secret), "secret")  # should it turn up anywhere else
            return None if value is None else "(set)"
        if isinstance(value, Mapping):
            return {self._key(str(k)): self.value(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(each, key) for each in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        text = str(value)
        if key in WORDS:
            return self.word(text)
        if key in TEXTS:
            return self.text(text)
        return text if _TIME.fullmatch(text) else self.name(text, KINDS.get(key, "text")) if text else ""

    def _key(self, key: str) -> str:
        return key if key in self._sentences.constants or key in self._sentences.fields else self.name(key)

    def _single(self, value: str, kind: str) -> str:
        if value not in self._names:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._names[value] = f"{kind}{self._counts[kind]}"
        return self._names[value]
