"""Runs many seeds: ``python -m tests.system.torture --seeds 1-50``; the data of those that fail stay."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import traceback
from pathlib import Path

from tests.system.torture.checks import summary
from tests.system.torture.run import torture

KINDS = {"own": (False, False), "apart": (False, True), "same": (True, True)}
"""Whether all work on the same files, and whether the network and the hub fail too."""


def main() -> int:
    """Run the seeds and return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-10", help="the first and the last, as in 1-50")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long the users work in each")
    parser.add_argument(
        "--kind",
        choices=(*KINDS, "all"),
        default="all",
        help="whose files; `apart` adds cuts to `own`",
    )
    parser.add_argument("--vcs", choices=("git", "hg"), default="git", help="what keeps the working copies")
    parser.add_argument("--keep", type=Path, default=Path("torture-failures"), help="where failed runs are left")
    chosen = parser.parse_args()
    first, _, last = chosen.seeds.partition("-")
    failed = 0
    for seed in range(int(first), int(last or first) + 1):
        for kind in KINDS if chosen.kind == "all" else [chosen.kind]:
            name = f"{chosen.vcs}-{seed}-{kind}"
            shared, cut = KINDS[kind]
            place = chosen.keep.absolute() / name
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            began = time.monotonic()
            try:
                outcome = torture(place, seed=seed, shared=shared, cut=cut, seconds=chosen.seconds, vcs=chosen.vcs)
            except Exception:  # whatever it is, the next seed is to run
                failed += 1
                (place / "failure.txt").write_text(traceback.format_exc(), errors="backslashreplace")
                print(f"{name}: FAILED, see {place}", flush=True)
                continue
            took = time.monotonic() - began
            print(
                f"{name}: ok, {outcome.operations} operations, {outcome.commands} {chosen.vcs} commands, "
                f"{outcome.kills} kills, {took:.0f} s; {'; '.join(summary(outcome.verdict))}",
                flush=True,
            )
            shutil.rmtree(place)
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
