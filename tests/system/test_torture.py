"""Three users at work while agents, git or hg, and the network break: all end equal and nothing that was saved is gone.

``AUTOSYNC_TORTURE_SEED`` and ``AUTOSYNC_TORTURE_SECONDS`` choose another run and a longer one.
Many seeds, with the data of those that fail left in a directory:

    nice python -m tests.system.torture --seeds 1-50 --seconds 20 --vcs hg --keep /tmp/torture
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.figures import record
from tests.system.torture.run import torture

SECONDS = float(os.environ.get("AUTOSYNC_TORTURE_SECONDS", "8"))


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize(
    ("shared", "cut", "seed"),
    [(False, False, 20), (True, True, 21)],
    ids=["own files", "the same files, and the network is cut"],
)
@pytest.mark.parametrize("vcs", ["git", "hg"])
def test_nothing_is_lost_whatever_happens(tmp_path: Path, vcs: str, shared: bool, cut: bool, seed: int) -> None:
    seed = int(os.environ.get("AUTOSYNC_TORTURE_SEED", seed))
    outcome = torture(tmp_path / "fleet", seed=seed, shared=shared, cut=cut, seconds=SECONDS, vcs=vcs)
    assert outcome.operations > 30
    assert outcome.kills > 0
    record("kills survived", outcome.kills)
    record("operations by users", outcome.operations)
