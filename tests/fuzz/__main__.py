"""Runs fuzz targets with atheris: ``python -m tests.fuzz [--seconds 60] [target…]``."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import figures
from tests.fuzz.target import CORPUS

ROOT = Path(__file__).parents[2]
NAMES = (
    *("announcement", "beacon", "bundle", "config", "conflict-name", "control", "delta", "hello", "inline", "journal"),
    *("name", "pack", "pack-index", "request", "sealed", "server-lines", "snapshot", "state", "synced-settings"),
    *("tree", "wire", "xmpp"),
)
"""Listed here, because the targets must not be imported before atheris can instrument them."""
LONGEST_SECONDS, LARGEST_MB = 10, 1024
"""An input that takes longer, or more memory, counts as a crash."""
_OPTIONS = (f"-timeout={LONGEST_SECONDS}", f"-rss_limit_mb={LARGEST_MB}", "-print_final_stats=1", "-max_len=4096")
_STATUS = re.compile(r"cov: (\d+)")
_DONE = re.compile(r"stat::number_of_executed_units: *(\d+)")
_STARTING = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How the fuzzing of one target ended: ``crash`` is empty, or the input and the end of what was said."""

    name: str
    executions: int
    coverage: int
    crash: str


def fuzz(names: Sequence[str], *, seconds: int, jobs: int, place: Path) -> list[Result]:
    """Run the targets, ``jobs`` at a time, and write inputs that break one to ``place/found``."""
    (place / "found").mkdir()
    options = [*_OPTIONS, f"-max_total_time={seconds}"]
    asked = {"place": str(place), "names": list(names), "jobs": jobs, "options": options}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.drive", json.dumps(asked)],
        cwd=ROOT,
        capture_output=True,
        timeout=_STARTING + (seconds + _STARTING / 10) * math.ceil(len(names) / jobs),
        check=False,
    )
    return [_result(place, name, done.stderr.decode("utf-8", "replace")) for name in names]


def _result(place: Path, name: str, said: str) -> Result:
    log = place / f"{name}.log"
    text = log.read_text("utf-8", "replace") if log.exists() else said
    executed = _DONE.search(text)
    found = [(file.name, file.read_bytes()) for file in place.glob(f"found/{name}-*")]
    telling = "\n".join(line for line in text.splitlines() if not line.startswith(("INFO: ", "#")))
    return Result(
        name=name,
        executions=int(executed[1]) if executed else 0,
        coverage=max((int(n) for n in _STATUS.findall(text)), default=0),
        crash="" if executed and not found else f"{found}\n{telling[-3000:]}",
    )


def main(arguments: Sequence[str]) -> int:
    """Fuzz, print a line for each target, and return 1 if any was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long each target runs (default: 60)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many run at a time")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"one of: {', '.join(NAMES)}")
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(NAMES):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    # In memory where that can be: many targets write files.
    place = Path(tempfile.mkdtemp(prefix="autosync-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    results = fuzz(options.targets or NAMES, seconds=options.seconds, jobs=options.jobs, place=place)
    for result in results:
        print(f"{result.name:16} {result.executions:>10,} executions, coverage {result.coverage:,}")
        figures.record("fuzz executions", result.executions)
    broken = [result for result in results if result.crash]
    for result in broken:
        print(f"\n{result.name} is broken: {result.crash}")
    if broken:
        print(f"\nThe inputs are in {place}/found: mend the cause, then keep them below {CORPUS}/<target>.")
        return 1
    shutil.rmtree(place)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
