"""``autosync gc``: with the agent and without it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from autosync.control import call
from autosync.errors import AutosyncError
from tests.system.commandline import Home
from tests.waiting import PATIENCE, until

KEYS = [
    *("name", "path", "snapshots-before", "snapshots-after", "bytes-before", "bytes-after", "shared-bytes"),
    *("oldest", "quota", "over-quota"),
]


def started(home: Home) -> Any:
    (home.path / "notes").mkdir()
    (home.path / "notes/todo").write_text("milk\n")
    home.run("--config", home.config, "init", "notes")
    text = home.config.read_text().replace("remote: none", "remote: none\n    history: {quota: 1m}")
    home.configured(f"state-dir: {home.path / 'state'}\nlisten: none\n" + text)
    return home.start("--config", home.config, "run")


def recorded(home: Home) -> str | None:
    """Return the tree that the agent has recorded, once it is up and at rest."""
    try:
        (workspace,) = call(str(home.path / "state"), "status")["workspaces"]
    except AutosyncError:
        return None
    return workspace["tree"] if workspace["phase"] == "watching" else None


def saved(home: Home, wanted: str) -> None:
    """Save the file and wait until the agent has recorded that."""
    until(lambda: recorded(home))
    (workspace,) = call(str(home.path / "state"), "status")["workspaces"]
    (home.path / "notes/todo").write_text(wanted)
    until(lambda: recorded(home) not in (None, workspace["tree"]))


def gc(home: Home, *options: str | Path) -> dict[str, Any]:
    done = home.run("--config", home.config, "gc", "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    (row,) = answer["workspaces"]
    assert list(row) == KEYS
    assert (row["name"], row["path"], row["quota"], row["over-quota"]) == (
        "notes", str(home.path / "notes"), 1 << 20, False,
    )  # fmt: skip
    assert answer["dry-run"] is ("--dry-run" in options)
    return row


def test_gc_says_the_same_with_the_agent_and_without(home: Home) -> None:
    agent = started(home)
    try:
        for number in range(3):
            saved(home, f"milk {number}\n")
        rehearsed = gc(home, "--dry-run")
        assert rehearsed["bytes-after"] is None
        done = gc(home, home.path / "notes")
        assert done["snapshots-before"] == done["snapshots-after"] >= 2
        assert 0 < done["bytes-after"] <= done["bytes-before"]
        assert done["oldest"].startswith("20")
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.communicate(timeout=PATIENCE)
    alone = gc(home)
    assert (alone["snapshots-after"], alone["oldest"]) == (done["snapshots-after"], done["oldest"])
    shown = home.run("--config", home.config, "gc")
    head, row = shown.stdout.splitlines()
    assert head.split() == ["WORKSPACE", "SNAPSHOTS", "SIZE", "SHARED", "QUOTA", "OLDEST"]
    assert row.startswith(f"notes      {alone['snapshots-after']} -> {alone['snapshots-after']}")
    assert " 1.0 MB " in row


def test_gc_refuses_a_folder_that_is_not_kept(home: Home) -> None:
    (home.path / "other").mkdir()
    home.configured("paths: []\n")
    done = home.run("--config", home.config, "gc", "other")
    assert done.returncode == 1
    assert "other is not in a working copy of" in done.stderr
    assert home.run("--config", home.config, "gc").stdout == "No paths.\n"
