"""Runs autosync beside other tools in one run of a harness and prints the medians as ratios.

``python -m benchmarks.side_by_side --harness DIR [--tools …] [--workloads save] [--rounds 1]``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOOLS = "limit,lsyncd,git-loop,hg-loop,unison-poll,syncthing,autosync,autosync-hg"
_MEASURED = {"save": "all_ms"}


def run(harness: Path, *, tools: str, workloads: str, rounds: str) -> dict[str, Any] | None:
    """Return what the harness measured, ``None`` if it failed."""
    with tempfile.TemporaryDirectory(prefix="autosync-bench-") as directory:
        result = Path(directory) / "result.json"
        command = [sys.executable, str(harness / "peers.py"), "--adapter", str(HERE / "side_by_side_adapter.py")]
        command += ["--tools", tools, "--workloads", workloads, "--rounds", rounds, "--json", str(result)]
        if subprocess.run(command, check=False).returncode:
            return None
        measured: dict[str, Any] = json.loads(result.read_text())
        return measured


def show_ratios(measured: dict[str, Any]) -> None:
    """Print each tool's median and 95th percentile, and how many times longer it takes than autosync."""
    samples: dict[tuple[str, str], list[float]] = {}
    for cell in measured["cells"]:
        field = _MEASURED.get(cell["workload"])
        if cell.get("ok") and field:
            samples.setdefault((cell["workload"], cell["tool"]), []).extend(cell[field])
    for workload in sorted({w for w, _ in samples}):
        ours = samples.get((workload, "autosync"))
        if not ours:
            continue
        sys.stdout.write(f"\n{workload}: median, p95, ratio of the medians to autosync's\n")
        for (kind, tool), values in sorted(samples.items(), key=lambda item: statistics.median(item[1])):
            if kind == workload:
                values.sort()
                median = statistics.median(values)
                p95 = values[min(len(values) - 1, round(0.95 * len(values)))]
                ratio = median / statistics.median(ours)
                sys.stdout.write(f"  {tool:12} {median:9.1f} ms {p95:9.1f} ms {ratio:7.2f}x\n")


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--harness", default=os.environ.get("AUTOSYNC_BENCH_HARNESS"), metavar="DIR")
    parser.add_argument("--rounds", default="1")
    parser.add_argument("--workloads", default="save")
    parser.add_argument("--tools", default=TOOLS)
    options = parser.parse_args()
    if options.harness is None:
        sys.stdout.write("side by side: not run; give the harness's folder with --harness DIR\n")
        return 0
    if os.geteuid() != 0:
        sys.stdout.write("side by side: not run; its network namespaces need root\n")
        return 0
    measured = run(Path(options.harness), tools=options.tools, workloads=options.workloads, rounds=options.rounds)
    if measured is None:
        return 1
    show_ratios(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
