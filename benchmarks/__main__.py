"""Run all benchmarks with their defaults: ``python -m benchmarks``; ``make bench`` calls it.

The side-by-side run needs root and a harness, whose folder ``$AUTOSYNC_BENCH_HARNESS`` names.
"""

from __future__ import annotations

import subprocess
import sys

MODULES = ("benchmarks.snapshot", "benchmarks.history", "benchmarks.idle", "benchmarks.side_by_side")


def main() -> int:
    """Return the worst exit code."""
    return max(subprocess.run([sys.executable, "-m", module], check=False).returncode for module in MODULES)


if __name__ == "__main__":
    sys.exit(main())
