"""Run all benchmarks with their defaults: ``python -m benchmarks``; ``make bench`` calls it.

The side-by-side run needs root and a harness, whose folder ``$AUTOSYNC_BENCH_HARNESS`` names.
"""

from __future__ import annotations

import subprocess
import sys

COMMANDS = (
    ["benchmarks.snapshot"],
    ["benchmarks.snapshot", "--vcs", "hg", "--files", "50000"],
    ["benchmarks.switch", "--vcs", "git"],
    ["benchmarks.switch", "--vcs", "hg"],
    ["benchmarks.history"],
    ["benchmarks.worktree", "--vcs", "git"],
    ["benchmarks.worktree", "--vcs", "hg"],
    ["benchmarks.idle"],
    ["benchmarks.fleet"],
    ["benchmarks.announcement"],
    ["benchmarks.scale"],
    ["benchmarks.light_copies"],
    ["benchmarks.many_refs"],
    ["benchmarks.side_by_side"],
)


def main() -> int:
    """Return the worst exit code."""
    return max(subprocess.run([sys.executable, "-m", *command], check=False).returncode for command in COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
