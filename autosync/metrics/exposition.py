"""Writes metrics in Prometheus' text format, version 0.0.4.

See https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Family:
    """All samples of one name: ``kind`` is what they are, ``text`` what they say, in words."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    samples: dict[Labels, float] = field(default_factory=dict, init=False)

    def add(self, value: float | None, labels: Mapping[str, object] | None = None) -> None:
        """Add a sample; ``None`` is not known, and left out.  Of two with the same labels the last one counts."""
        if value is not None:
            self.samples[tuple((name, str(text)) for name, text in (labels or {}).items())] = float(value)


def write(families: Iterable[Family]) -> bytes:
    """Return the text of ``families``; those without samples are left out."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines.append(f"# HELP {family.name} {_escape(family.text)}")
            lines.append(f"# TYPE {family.name} {family.kind}")
            lines += [_sample(family.name, labels, value) for labels, value in family.samples.items()]
    # A file's or a device's name need not be text: what is none is shown as a number.
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def _sample(name: str, labels: Labels, value: float) -> str:
    shown = int(value) if value.is_integer() and abs(value) < 1 << 53 else value
    inside = ",".join(f'{label}="{_quote(text)}"' for label, text in labels)
    return f"{name}{{{inside}}} {shown}" if inside else f"{name} {shown}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quote(text: str) -> str:
    # Only \n ends a line for Prometheus; but a carriage return, or one of Unicode's own, does for other readers.
    shown = "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)
    return _escape(shown).replace('"', '\\"')
