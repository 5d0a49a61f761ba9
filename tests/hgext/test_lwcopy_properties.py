"""Random histories of copies, edits, merges, strips and exchange: a light store holds what a plain one holds."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests import figures
from tests.hgext.lightweight import EXTENSION, Mercurial, mercurials

HERE = Path(__file__).parent
WISH = int(os.environ.get("AUTOSYNC_HISTORIES", "0"))
"""How many histories each Mercurial makes: few, or as many as are asked for."""
FIRST = int(os.environ.get("AUTOSYNC_FIRST_HISTORY", "0"))
"""The seed of the first of them."""


def told(hg: Mercurial, directory: Path, seeds: range, *settings: str) -> list[str]:
    """Return what the histories of these seeds left in the store, step by step."""
    script = [*hg.python, os.fspath(HERE / "histories.py"), hg.place, os.fspath(directory)]
    done = subprocess.run(
        [*script, str(seeds.start), str(seeds.stop), *settings], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.timeout(max(120, 20 * WISH))
@pytest.mark.parametrize("version", ["7.2", "6.9.5", "6.3.2"])
def test_a_light_store_holds_what_a_plain_one_holds(version: str, pytestconfig: pytest.Config) -> None:
    hg = mercurials(pytestconfig)[version]
    seeds = range(FIRST, FIRST + (WISH or 3))
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=fast, prefix="autosync-histories-") as directory:
        plain = told(hg, Path(directory, "plain"), seeds)
        light = told(hg, Path(directory, "light"), seeds, f"extensions.lwcopy={EXTENSION}", "format.lwcopy=yes")
    assert _compared(light) == _compared(plain), "\n".join(light)
    copies = sum(int(line.split()[-1]) for line in light if line.startswith("# light"))
    assert copies > 0
    figures.record("seeds run", len(seeds))
    figures.record("light-weight copies compared", copies)


def _compared(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith("#")]
