"""Run the benchmarks: ``python -m benchmarks [--harness DIR]``; ``make bench`` calls it.

The side-by-side runs need root (network namespaces) and the harness's folder, given with
``--harness`` or in ``$AUTOSYNC_BENCH_HARNESS``; the others run anywhere.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = "limit,lsyncd,git-loop,unison-poll,syncthing,autosync"


def main() -> int:
    """Run everything that can run here; return the worst exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--harness", default=os.environ.get("AUTOSYNC_BENCH_HARNESS"), metavar="DIR")
    parser.add_argument("--rounds", default="1")
    parser.add_argument("--workloads", default="save")
    parser.add_argument("--tools", default=TOOLS)
    options = parser.parse_args()
    worst = 0
    for module in ("benchmarks.snapshot", "benchmarks.idle"):
        worst = max(worst, subprocess.run([sys.executable, "-m", module], check=False).returncode)
    if options.harness is None:
        sys.stdout.write("side by side: not run, give the harness's folder with --harness DIR\n")
        return worst
    if os.geteuid() != 0:
        sys.stdout.write("side by side: not run, network namespaces need root\n")
        return worst
    harness = Path(options.harness) / "peers.py"
    command = [sys.executable, str(harness), "--adapter", str(HERE / "side_by_side_adapter.py")]
    command += ["--tools", options.tools, "--workloads", options.workloads, "--rounds", options.rounds]
    return max(worst, subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main())
