"""Runs tests of Mercurial's suite with its own run-tests.py, and tells what came out of each case."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TOLD = re.compile(r"^(?:Skipped|Failed|Errored) (\S+): (.*)$", re.MULTILINE)
_NOT_OURS = ("HG", "PYTHON", "COVERAGE", "CHG")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case: "success", "skip" or "failure", seconds of wall time, and why it did not succeed.

    ``output`` are the lines that a failed case printed, as they would stand in the test; ``None``: it printed none.
    """

    kind: str
    seconds: float
    why: str = ""
    output: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """Where a Mercurial's tests are and how they are run: ``timeout`` in seconds, on ports from ``port`` on."""

    source: Path
    output: Path
    jobs: int = 1
    timeout: int = 1800
    port: int = 20059

    @property
    def light(self) -> Path:
        """The file in which forcing.py counts."""
        return self.output / "light"

    def expected(self, case: str) -> tuple[str, ...]:
        """Return the lines that a case should print."""
        name = case.partition("#")[0]
        place = self.source / "tests" / name
        return read_lines(place if name.endswith(".t") else place.with_name(f"{name}.out"))

    def run(self, tests: Iterable[str], environment: Path, chg: Path | None) -> dict[str, Outcome]:
        """Return the outcome of each case (``test-a.t`` or ``test-a.t#variant``) of tests."""
        self.output.mkdir(parents=True, exist_ok=True)
        report = self.output / "report.json"
        report.unlink(missing_ok=True)
        for left in self.output.glob("*.err"):
            left.unlink()
        command: list[str | Path] = [environment / "bin" / "python", "run-tests.py", "--json", "--nodiff"]
        command += ["--with-hg", environment / "bin" / "hg", "--outputdir", self.output, "--jobs", str(self.jobs)]
        command += ["--timeout", str(self.timeout), "--slowtimeout", str(self.timeout), "--port", str(self.port)]
        command += ["--with-chg", chg] if chg else []
        clean = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
        clean["SUITE_LIGHT"] = os.fspath(self.light)
        done = subprocess.run(
            [*command, *tests],
            cwd=self.source / "tests",
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if not report.exists():
            raise RuntimeError(f"run-tests.py gave no report:\n{done.stdout}")
        outputs = {place.name[: -len(".err")]: read_lines(place) for place in self.output.glob("*.err")}
        return outcomes(report.read_text(encoding="utf-8"), done.stdout, outputs)


def read_lines(place: Path) -> tuple[str, ...]:
    """Return the lines of a file; bytes that are no UTF-8 remain as surrogates."""
    if not place.exists():
        return ()
    return tuple(place.read_text(encoding="utf-8", errors="surrogateescape").splitlines())


def outcomes(report: str, printed: str, outputs: Mapping[str, tuple[str, ...]]) -> dict[str, Outcome]:
    """Return what run-tests.py's report.json and the summary that it printed tell of each case."""
    whys = dict(_TOLD.findall(printed))
    told = json.loads(report.partition("=")[2])
    return {
        case: Outcome(fields["result"], float(fields.get("time", 0)), whys.get(case, ""), outputs.get(case))
        for case, fields in told.items()
    }
