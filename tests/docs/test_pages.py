"""What the documentation tells its readers to do is done, page by page, and leads to what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Step, follow, steps
from tests.figures import record
from tests.networks import needs_network


def done(machine: str, commands: str) -> Step:
    """What the reader has done before."""
    return Step(machine, commands, stays=False, printed=None)


def going_on(machine: str, commands: str) -> Step:
    """What the reader has running."""
    return Step(machine, commands, stays=True, printed=None)


FOLDER = [done("laptop", "mkdir ~/notes; echo one > ~/notes/todo.txt; autosync init ~/notes --workspace notes")]
AGENT = [*FOLDER, going_on("laptop", "autosync run")]
COMMITS = "printf '    commits: auto\\n    commit-after: 1s\\n' >> ~/.config/autosync/config.yaml"
NAMED = "git config --global user.name Me; git config --global user.email me@example.org"
COMMITTED = "cd ~/notes; until git log --format=%s 2>/dev/null | grep todo; do sleep 0.2; done"
BEFORE: dict[str, Sequence[Step]] = {
    "desktop": [
        *FOLDER,
        done("laptop", f"{COMMITS}; {NAMED}"),
        going_on("laptop", "autosync run"),
        done("laptop", COMMITTED),
    ],
    "headless": [*FOLDER, done("server", "mkdir ~/notes; autosync init ~/notes")],
    "joining": AGENT,
    "mercurial": [done("laptop", "hg init ~/notes")],
    "security": [*AGENT, done("laptop", "autosync invite --once"), going_on("old-laptop", "autosync join")],
    "shared-repositories": [
        *FOLDER,
        done("laptop", f"{NAMED}; cd ~/notes; git add -A; git commit -qm first"),
        done("desktop", "git clone -q ~/../laptop/notes ~/notes"),
        going_on("laptop", "autosync run"),
    ],
    "time-travel": [
        *FOLDER,
        going_on("laptop", "faketime -f -2d autosync run"),
        done("laptop", "cd ~/notes; mkdir docs; echo a > docs/a; autosync sync; echo two > todo.txt; autosync sync"),
    ],
    "web": [*AGENT, done("server", "mkdir ~/notes; autosync init ~/notes"), going_on("server", "autosync run")],
}
"""What the reader of a page has done before he reads it."""
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if steps(path)]


@needs_network
@pytest.mark.timeout(600)  # each command of a page may take as long as anything else that is waited for
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    record("boxes of commands in the documentation run", follow(page, tmp_path, BEFORE.get(page.stem, ())))
