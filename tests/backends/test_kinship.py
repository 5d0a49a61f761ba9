"""Whether repositories have a history in common is told by commits, of which others may say anything."""

from __future__ import annotations

from pathlib import Path

from autosync.backends.kinship import best_trace, traces_of
from autosync.config import Vcs
from tests.backends.hg_repos import Vanilla


def test_the_root_of_all_histories_is_no_kinship(tmp_path: Path) -> None:
    hg = Vanilla(bytes(tmp_path))
    try:
        hg("init", ".")
        (tmp_path / "a").write_text("a\n")
        hg("commit", "-A", "-q", "-m", "first")
    finally:
        hg.close()
    (first,) = traces_of(str(tmp_path), Vcs.HG, None)
    # Mercurial has the null changeset in every repository, an empty one too.
    assert best_trace(str(tmp_path), Vcs.HG, None, ["0" * 40, "f" * 40]) is None
    assert best_trace(str(tmp_path), Vcs.HG, None, ["0" * 40, first]) == 1
