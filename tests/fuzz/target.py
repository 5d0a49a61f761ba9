"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
"""One directory for each target: inputs that once broke it, kept for ever."""


class Broken(AssertionError):
    """An input was accepted and is not what its parser promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser under attack.

    ``feed`` returns whether it accepted the bytes.  It lets every exception but the parser's
    deliberate errors through and raises :class:`Broken` if what was accepted does not
    survive being written and read again.  ``seeds`` are sound inputs to begin with.
    """

    name: str
    feed: Callable[[bytes], bool]
    seeds: Callable[[], Sequence[bytes]]

    def regressions(self) -> list[bytes]:
        """Return the inputs of the corpus."""
        directory = CORPUS / self.name
        return [file.read_bytes() for file in sorted(directory.iterdir())] if directory.is_dir() else []


def same(one: object, other: object) -> bool:
    """Return true; raise :class:`Broken` if the two differ."""
    if one != other:
        raise Broken(f"{one!r:.300} became {other!r:.300}")
    return True
