"""Keeps what is known of each case of a run, so that a later run goes on where this one ended."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path


@dataclass(slots=True)
class Case:
    """One case: its ``state`` (see ``STATES``), why, how many differences each class explains, and the rest.

    ``output`` is what it printed if it did not pass; it is not kept.
    """

    state: str
    seconds: float = 0.0
    why: str = ""
    explained: dict[str, int] = field(default_factory=dict)
    different: str = ""
    output: tuple[str, ...] | None = field(default=None, repr=False)


STATES = {
    "passed": "passed",
    "skipped": "skipped",
    "explained": "passed but for explained differences",
    "expected": "differs as the list of expected differences says",
    "vanilla": "fails in the same way without the extension",
    "unexplained": "FAILED with the extension only",
}


@dataclass(slots=True)
class Record:
    """The cases of all tests that have been run, and the number of light revisions that each test wrote."""

    place: Path
    tests: dict[str, dict[str, Case]] = field(default_factory=dict)
    light: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, place: Path) -> Record:
        """Return the record that is in a file; an empty one if there is none."""
        if not place.exists():
            return cls(place)
        told = json.loads(place.read_text(encoding="utf-8"))
        tests = {test: {name: Case(**case) for name, case in cases.items()} for test, cases in told["tests"].items()}
        return cls(place, tests, told["light"])

    def write(self) -> None:
        """Replace the file, which is whole at any moment."""
        tests = {
            test: {name: asdict(replace(case, output=None)) for name, case in cases.items()}
            for test, cases in self.tests.items()
        }
        text = json.dumps({"tests": tests, "light": self.light}, indent=1, sort_keys=True)
        new = self.place.with_suffix(".new")
        new.write_text(text + "\n", encoding="utf-8")
        os.replace(new, self.place)

    def cases(self) -> dict[str, Case]:
        """Return all cases by their names."""
        return {name: case for cases in self.tests.values() for name, case in cases.items()}
