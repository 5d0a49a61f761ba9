"""A better message for the last automatic commit: on git and on Mercurial, and followed by the other device."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.system.fleet import Device, Fleet, pair
from tests.system.hgfleet import hg_pair
from tests.system.terminals import Terminal
from tests.waiting import until

FILES = {"a.txt": "1\n", "b.txt": "1\n"}
AUTO = {"commits": "auto", "commit_after": "1s"}


def test_the_message_changes_and_nothing_else(tmp_path: Path) -> None:
    with pair(tmp_path, FILES, **AUTO) as fleet:
        laptop, desktop = fleet.devices
        assert "is not autosync's" in laptop.run("describe", "-m", "x").stderr
        laptop.write("a.txt", "2\n")
        until(lambda: laptop.git("log", "-1", "--format=%s").strip() == "Change a.txt")
        fleet.equal()
        author = laptop.git("log", "-1", "--format=%an %ae %ad %T %P")
        # What he has staged, and the file beside it, stay as they are.
        laptop.ask("pause")
        laptop.write("b.txt", "staged\n")
        laptop.git("add", "b.txt")
        laptop.write("b.txt", "beside\n")
        before = laptop.porcelain().replace(laptop.head(), "")
        done = laptop.run("describe", "-m", "Why it is so\n\nBecause.", str(laptop.root))
        assert (done.returncode, done.stderr) == (0, "")
        assert laptop.git("log", "-1", "--format=%B").startswith("Why it is so\n\nBecause.\n\nBy autosync on laptop, ")
        assert laptop.git("log", "-1", "--format=%an %ae %ad %T %P") == author
        assert laptop.porcelain().replace(laptop.head(), "") == before
        laptop.git("reset", "-q", "--hard")
        laptop.ask("resume")
        until(lambda: desktop.head() == laptop.head(), why=lambda: desktop.log)
        fleet.equal()
        _refuses_what_would_disturb(laptop)
        refused = desktop.run("describe", "-m", "x")
        assert "is not this device's: laptop has made it" in refused.stderr
        assert desktop.head() == laptop.head()


def test_an_agent_that_does_not_know_yet_that_it_is_to_commit_says_so(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        (laptop,) = fleet.clone(fleet.seed(FILES), "laptop")
        fleet.configure([laptop])
        fleet.start(laptop)
        assert "autosync makes no commits" in laptop.run("describe", "-m", "x", str(laptop.root)).stderr
        fleet.configure([laptop], commits="auto")
        refused = laptop.run("describe", "-m", "x").stderr
        assert "The running agent does not know yet" in refused
        assert "systemctl --user restart autosync" in refused


def _refuses_what_would_disturb(laptop: Device) -> None:
    """In the middle of a merge, with the index locked, and with nothing to say, all stays as it was."""
    head = laptop.head()
    lock = laptop.root / ".git/index.lock"
    lock.touch()
    assert "index.lock" in laptop.run("describe", "-m", "x").stderr
    lock.unlink()
    merging = laptop.root / ".git/MERGE_HEAD"
    merging.write_text(head + "\n")
    assert "Not now: a merge is in progress" in laptop.run("describe", "-m", "x").stderr
    merging.unlink()
    assert "The message is empty" in laptop.run("describe", "-m", " \n").stderr
    assert laptop.head() == head


def test_an_editor_opens_and_what_is_pushed_is_refused(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        (laptop,) = fleet.clone(fleet.seed(FILES), "laptop")
        fleet.configure([laptop], remote="origin", **AUTO)
        hidden = fleet.hub.with_name("away")
        fleet.hub.rename(hidden)  # so nothing is pushed
        fleet.start(laptop)
        laptop.write("a.txt", "2\n")
        until(lambda: laptop.git("log", "-1", "--format=%s").strip() == "Change a.txt")
        editor = tmp_path / "editor"
        editor.write_text("#!/bin/sh\nsed -i 's/^Change a.txt$/By hand/' \"$1\"\n")
        editor.chmod(0o755)
        terminal = Terminal(laptop)
        command = (sys.executable, "-m", "autosync", "--config", str(laptop.config), "describe")
        terminal.open("env", f"VISUAL={editor}", f"EDITOR={editor}", *command)
        until(lambda: laptop.git("log", "-1", "--format=%s").strip() == "By hand", why=terminal.screen)
        terminal.ends()
        terminal.close()
        hidden.rename(fleet.hub)
        assert "There is no terminal to open an editor in" in laptop.run("describe").stderr
        laptop.run("sync")
        until(lambda: fleet.git("rev-parse", "main", at=fleet.hub).strip() == laptop.head(), why=lambda: laptop.log)
        head = laptop.head()
        refused = laptop.run("describe", "-m", "too late")
        assert (refused.returncode, "was pushed to the hub already" in refused.stderr) == (1, True)
        assert laptop.head() == head


def test_a_changeset_of_mercurial_is_described_too(tmp_path: Path) -> None:
    with hg_pair(tmp_path, FILES, **AUTO) as fleet:
        laptop, desktop = fleet.devices
        laptop.write("a.txt", "2\n")
        until(lambda: laptop.hg("log", "-r", ".", "-T", "{desc|firstline}") == "Change a.txt", why=lambda: laptop.log)
        fleet.equal()
        assert laptop.run("describe", "-m", "Why caf\u00e9").returncode == 0
        assert laptop.hg("log", "-r", ".", "-T", "{desc|firstline}") == "Why caf\u00e9"
        assert laptop.hg("heads", "-T", "x") == "x"
        until(
            lambda: desktop.hg("log", "-r", ".", "-T", "{node}") == laptop.hg("log", "-r", ".", "-T", "{node}"),
            why=lambda: desktop.log,
        )
        fleet.equal()
