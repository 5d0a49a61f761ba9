"""Runs autosync beside other tools in one run of a harness and prints what each took as ratios.

``python -m benchmarks.side_by_side --harness DIR [--tools …] [--workloads …] [--rounds 1]``: first all workloads on a
wire without delay, then ``save`` again on one that takes ``--delay-ms`` each way.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOOLS = "limit,lsyncd,rsync,git-once,git-loop,hg-loop,unison-poll,syncthing,autosync,autosync-hg"
WORKLOADS = "save,bulk,switch,rename,large,conflict"
OURS = "autosync"

Cells = Mapping[str, Sequence[Mapping[str, Any]]]
"""Tool to what the harness measured in each round."""


def run(harness: Path, *arguments: str) -> dict[str, Any] | None:
    """Return what the harness measured, ``None`` if it failed."""
    with tempfile.TemporaryDirectory(prefix="autosync-bench-") as directory:
        result = Path(directory) / "result.json"
        command = [sys.executable, str(harness / "peers.py"), "--adapter", str(HERE / "side_by_side_adapter.py")]
        if subprocess.run([*command, *arguments, "--json", str(result)], check=False).returncode:
            return None
        measured: dict[str, Any] = json.loads(result.read_text())
        return measured


def show(measured: Mapping[str, Any]) -> None:
    """Print a table for each workload, the quickest tool first."""
    options = measured["options"]
    delay = f", {options['delay_ms']:g} ms of delay each way" if options["delay_ms"] else ""
    workloads = dict.fromkeys(cell["workload"] for cell in measured["cells"])
    for workload in workloads:
        cells: dict[str, list[Mapping[str, Any]]] = {}
        for cell in measured["cells"]:
            if cell["workload"] == workload:
                cells.setdefault(cell["tool"], []).append(cell)
        sys.stdout.write(f"\n{workload}{delay}\n")
        done = {tool: [cell for cell in rounds if cell.get("ok")] for tool, rounds in cells.items()}
        show_table(workload, {tool: rounds for tool, rounds in done.items() if rounds})
        for tool, rounds in cells.items():
            if not done[tool]:
                sys.stdout.write(f"  {tool:12} {rounds[0].get('error', 'failed')}\n")


def show_table(workload: str, cells: Cells) -> None:
    """Print what each tool took, and how many times longer than autosync."""
    if workload == "conflict":
        for tool, rounds in cells.items():
            sys.stdout.write(f"  {tool:12} {rounds[0]['verdict']}\n")
        return
    took = {tool: seconds(rounds) for tool, rounds in cells.items()}
    ours = statistics.median(took[OURS]) if OURS in took else None
    sys.stdout.write(f"  {'':12} {'median':>12} {'p95':>12} {'ratio':>8} {'on the wire':>15}\n")
    for tool, values in sorted(took.items(), key=lambda item: statistics.median(item[1])):
        median, p95 = statistics.median(values), values[min(len(values) - 1, round(0.95 * len(values)))]
        ratio = "" if ours is None else f"{median / ours:.2f}x"
        wire = statistics.median(cell.get("wire_per_save") or cell["wire_bytes"] for cell in cells[tool])
        rewritten = " (written anew)" if any(cell.get("rewrote") for cell in cells[tool]) else ""
        sys.stdout.write(
            f"  {tool:12} {median * 1000:9.1f} ms {p95 * 1000:9.1f} ms {ratio:>8} {wire:>13,.0f} B{rewritten}\n"
        )


def seconds(cells: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return how long each save of all rounds took, or each round, the shortest first."""
    return sorted(s for cell in cells for s in ([ms / 1000 for ms in cell.get("all_ms", ())] or [cell["total_s"]]))


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harness", default=os.environ.get("AUTOSYNC_BENCH_HARNESS"), metavar="DIR")
    parser.add_argument("--rounds", default="1")
    parser.add_argument("--workloads", default=WORKLOADS)
    parser.add_argument("--tools", default=TOOLS)
    parser.add_argument("--delay-ms", default="20", help="one way, for the second run of save; 0: no second run")
    options = parser.parse_args()
    if options.harness is None:
        sys.stdout.write("side by side: not run; give the harness's folder with --harness DIR\n")
        return 0
    if os.geteuid() != 0:
        sys.stdout.write("side by side: not run; its network namespaces need root\n")
        return 0
    harness, both = Path(options.harness), ("--tools", options.tools, "--rounds", options.rounds)
    runs = [(*both, "--workloads", options.workloads)]
    if float(options.delay_ms) and "save" in options.workloads.split(","):
        runs.append((*both, "--workloads", "save", "--delay-ms", options.delay_ms))
    measured = [run(harness, *arguments) for arguments in runs]
    for each in measured:
        if each is not None:
            show(each)
    return 1 if None in measured else 0


if __name__ == "__main__":
    sys.exit(main())
