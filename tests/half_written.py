"""Removes coverage data that a killed process left half written, and says so: `coverage combine` may stop at it."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

_TABLES = ("coverage_schema", "meta", "file", "context", "line_bits", "arc", "tracer")
"""What `coverage.sqldata` of coverage 7 makes, all at once, before it writes anything else."""


def complaint(file: Path) -> str:
    """Return what is wrong with a data file, empty if it can be read to its end."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
            for table in _TABLES:
                database.execute(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608  # names of our own
    except sqlite3.Error as error:
        return str(error)
    return "" if said == "ok" else str(said)


def remove_half_written(directory: Path) -> list[str]:
    """Remove the data files below ``directory`` that cannot be read; return a line about each."""
    removed = []
    for file in sorted(directory.glob(".coverage.*")):
        if not file.name.endswith("-journal") and (wrong := complaint(file)):
            file.unlink()
            removed.append(f"{file.name} is left out, its process was killed while it wrote: {wrong}")
    return removed


if __name__ == "__main__":
    for line in remove_half_written(Path()):
        print(line, file=sys.stderr)
