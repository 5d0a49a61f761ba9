"""Decides which tests of the suite fail because of an extension of ours, with as few runs of each as that takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.hgsuite.differences import judge
from tests.hgsuite.record import Case
from tests.hgsuite.runs import Outcome, Suite, read_lines

SETTLED = frozenset({"passed", "skipped", "explained", "expected", "vanilla"})


@dataclass(frozen=True, slots=True)
class Judge:
    """Runs tests with the extension, and without it only what fails with it and is not explained."""

    suite: Suite
    with_extension: Path
    vanilla: Path
    chg: Path | None
    listed: Path
    """Directory of the expected differences: ``test-a.t.diff``, or ``test-a.t#variant.diff`` for a variant alone."""

    def cases(self, tests: Collection[str]) -> dict[str, Case]:
        """Return the cases of tests.

        chg changes the order of what is printed here and there: what remains open is run again without it.
        """
        found = self._round(tests, self.chg)
        if self.chg and (again := _open(found, "chg")):
            settled = {name for name, case in found.items() if case.state in SETTLED and "chg" not in case.why}
            found |= {name: case for name, case in self._round(again, None).items() if name not in settled}
        return found

    def _round(self, tests: Collection[str], chg: Path | None) -> dict[str, Case]:
        """Return the cases of tests, those that fail compared with what comes without the extension."""
        outcomes = self.suite.run(tests, self.with_extension, chg)
        found = {name: self._case(name, outcome) for name, outcome in outcomes.items()}
        if again := _open(found):
            plain = self.suite.run(again, self.vanilla, chg)
            for name, case in found.items():
                if case.state not in SETTLED and name in plain:
                    found[name] = self._beside(name, case, plain[name])
        return found

    def _case(self, name: str, outcome: Outcome) -> Case:
        if outcome.kind == "success":
            return Case("passed", outcome.seconds)
        if outcome.kind == "skip":
            return Case("skipped", outcome.seconds, outcome.why)
        if outcome.output is None:
            return Case("unexplained", outcome.seconds, outcome.why)
        return self._compared(name, outcome, self.suite.expected(name), "explained")

    def _beside(self, name: str, case: Case, plain: Outcome) -> Case:
        """Return a case that failed with the extension, now that it is known what comes without it."""
        if plain.kind != "failure" or plain.output is None or case.output is None:
            return case
        outcome = Outcome("failure", case.seconds, case.why, case.output)
        return self._compared(name, outcome, plain.output, "vanilla")

    def _compared(self, name: str, outcome: Outcome, expected: tuple[str, ...], state: str) -> Case:
        assert outcome.output is not None
        explained, rest = judge(self._anywhere(expected), self._anywhere(outcome.output))
        if rest and rest == listed_difference(self.listed, name):
            state = "expected"
        elif rest or (not explained and state == "explained"):
            state = "unexplained"
        return Case(state, outcome.seconds, outcome.why, dict(explained), rest, outcome.output)

    def _anywhere(self, lines: Sequence[str]) -> tuple[str, ...]:
        """Return lines with names in place of where this run has its parts."""
        places = {str(self.with_extension): "$HG", str(self.vanilla): "$HG", str(Path(__file__).parent): "$SUITE"}
        for place, name in places.items():
            lines = [line.replace(place, name) for line in lines]
        return tuple(lines)


def listed_difference(listed: Path, name: str) -> str | None:
    """Return the difference that a list has for a case, without its reason (lines that begin with ``# ``)."""
    for place in (listed / f"{name}.diff", listed / f"{name.partition('#')[0]}.diff"):
        if place.exists():
            lines = read_lines(place)
            return "".join(f"{line}\n" for line in lines if not line.startswith("# "))
    return None


def settle(cases: Mapping[str, Case], listed: Path) -> None:
    """Take what has come into the list since a case was run."""
    for name, case in cases.items():
        if case.state == "unexplained" and case.different and case.different == listed_difference(listed, name):
            case.state = "expected"


def _open(cases: dict[str, Case], skipped_for: str = "") -> list[str]:
    """Return the tests with a case that is not settled, or that was skipped for a reason."""
    return sorted(
        {
            name.partition("#")[0]
            for name, case in cases.items()
            if case.state not in SETTLED or (skipped_for and case.state == "skipped" and skipped_for in case.why)
        }
    )


def in_chunks(tests: Iterable[str], size: int) -> Iterable[list[str]]:
    """Yield lists of at most ``size`` tests."""
    left = list(tests)
    while left:
        yield left[:size]
        del left[:size]
