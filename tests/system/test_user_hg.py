"""The user's own hg beside agents that sync all the time: none of it fails or comes out otherwise."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.figures import record
from tests.system.hgfleet import HgDevice, HgFleet
from tests.system.test_user_git import LINES, Writer
from tests.waiting import until

ROUNDS = int(os.environ.get("AUTOSYNC_USER_HG_ROUNDS", "1"))
"""How often the user goes through everything that he does with hg."""
HOOKS = (
    "precommit",
    "commit",
    "pretxncommit",
    "preupdate",
    "update",
    "pretxnopen",
    "pretxnclose",
    "txnclose",
    "prechangegroup",
    "changegroup",
    "incoming",
    "pre-rebase",
    "post-shelve",
)


@dataclass
class Scripted:
    """A user whose every command has its own fixed time, so that two runs make the same changesets."""

    device: HgDevice
    commands: int = 0
    failed: list[str] = field(default_factory=list)

    def hg(self, *arguments: str, ok: Sequence[int] = (0,)) -> None:
        """Run hg; note the command if its exit code is not among ``ok``."""
        self.commands += 1
        date = f"devel.default-date={1_700_000_000 + self.commands} 0"
        code, output, errors = self.device.user.run("--cwd", bytes(self.device.root), "--config", date, *arguments)
        if code not in ok:
            self.failed.append(f"hg {' '.join(arguments)}: {code}: {(output + errors).decode('utf-8', 'replace')}")

    def node(self, revision: str) -> str:
        return self.device.hg("log", "-r", revision, "-T", "{node}")

    def change(self, name: str, line: int, text: str) -> None:
        """Edit one line of a file in place."""
        lines = (self.device.root / name).read_text().splitlines(keepends=True)
        lines[line] = text + "\n"
        self.device.write(name, "".join(lines))


def everything(user: Scripted, number: int) -> None:
    """Do with hg what users do, once; all of it is settled again at the end."""
    start, topic, write = user.node("."), f"topic{number}", user.device.write
    user.hg("bookmark", topic)
    for step in range(3):
        user.change("src/a.txt", step, f"{topic} {step}")
        write(f"src/new{number}-{step}.txt", LINES)
        user.hg("add", f"src/new{number}-{step}.txt")
        user.hg("commit", "-q", "-m", f"{topic}: {step}", "src")
    user.hg("update", "-q", "-r", start)
    user.hg("branch", "-q", f"stable{number}")
    user.change("src/b.txt", 5, f"on stable {number}")
    user.hg("commit", "-q", "-m", f"stable {number}", "src")
    stable = user.node(".")
    user.hg("update", "-q", topic)
    user.hg("rebase", "-q", "-b", ".", "-d", stable)
    _fold(user)
    _conflicts(user, number)
    _shelves(user, number)
    user.hg("commit", "-q", "--amend", "-m", f"{topic}: amended", "src")
    user.hg("bisect", "-q", "--bad", ".")
    user.hg("bisect", "-q", "--good", stable)
    user.hg("bisect", "-q", "--reset")
    user.hg("update", "-q", topic)
    user.hg("mv", "src/b.txt", f"src/moved{number}.txt")
    user.hg("cp", "src/a.txt", f"src/copy{number}.txt")
    user.hg("commit", "-q", "-m", "moved and copied", "src")
    moved = user.node(".")
    user.hg("update", "-q", "-r", stable)
    write(f"src/picked{number}.txt", LINES)
    user.hg("add", f"src/picked{number}.txt")
    user.hg("commit", "-q", "-m", "beside it", "src")
    user.hg("graft", "-q", "-r", moved)
    user.hg("merge", "-q", topic)
    user.hg("commit", "-q", "-m", "joined")
    user.hg("phase", "-q", "--secret", "--force", ".")
    user.hg("phase", "-q", "--draft", ".")
    user.hg("tag", f"v{number}")
    user.hg("mv", f"src/moved{number}.txt", "src/b.txt")
    user.hg("commit", "-q", "-m", "moved back", "src")
    user.change("src/b.txt", 9, "not wanted after all")
    user.hg("revert", "-q", "--no-backup", "src/b.txt")


def _fold(user: Scripted) -> None:
    """Make one changeset of the last two."""
    plan = user.device.home / "plan"
    plan.write_text(f"pick {user.node('.^')[:12]} 0\nroll {user.node('.')[:12]} 1\n")
    user.hg("histedit", "-q", "-r", user.node(".^"), "--commands", str(plan))


def _conflicts(user: Scripted, number: int) -> None:
    """Rebase onto a change of the same line: give it up once, go through with it once."""
    topic, clash = f"topic{number}", f"clash{number}"
    user.hg("update", "-q", "-r", f"{topic}~1")
    user.hg("bookmark", clash)
    user.change("src/a.txt", 0, f"clash {number}")
    user.change("src/a.txt", 2, f"clash {number}")
    user.hg("commit", "-q", "-m", clash, "src")
    for end in ("--abort", "--continue"):
        user.hg("rebase", "-q", "-r", ".", "-d", topic, ok=(1,))
        if end == "--continue":
            user.device.write("src/a.txt", LINES.replace("line 0\n", f"joined {number}\n"))
            user.hg("resolve", "-q", "--mark", "src/a.txt")
        user.hg("rebase", "-q", end)
    user.hg("bookmark", "-q", "-d", clash)
    user.hg("bookmark", "-q", "--force", topic)


def _shelves(user: Scripted, number: int) -> None:
    user.change("src/b.txt", 7, f"put aside {number}")
    user.hg("shelve", "-q", "src")
    user.hg("update", "-q", "-r", "0")
    user.hg("update", "-q", f"topic{number}")
    user.hg("unshelve", "-q")
    user.hg("revert", "-q", "--no-backup", "src/b.txt")
    user.change("src/b.txt", 8, f"kept on the shelf {number}")
    user.hg("shelve", "-q", "-n", f"kept{number}", "src")


def hook(device: HgDevice, log: Path) -> None:
    """Have every hook of a repository write its name to ``log``."""
    lines = [f"{name}.count = echo {name} >> '{log}'\n" for name in HOOKS]
    with (device.root / ".hg/hgrc").open("a") as hgrc:
        hgrc.write("[hooks]\n" + "".join(lines))


def hooks_run(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def users_own(device: HgDevice) -> dict[str, str]:
    """Return what is the user's in a repository."""
    hg, metadata = device.hg, device.root / ".hg"
    history = "{rev} {node} {phase} {branch} {bookmarks} {p1node} {p2node} {desc}\n"
    return {
        "history": hg("log", "--hidden", "-r", "all()", "-T", history),
        "bookmarks": hg("bookmarks", check=False),
        "branches": hg("branches", "--closed"),
        "tags": hg("tags"),
        "shelves": hg("shelve", "--list", "--quiet"),
        "summary": hg("summary").partition("commit: ")[0],
        "status": hg("status", "-C", "src"),
        "backups": str(sorted(path.name for path in (metadata / "strip-backup").iterdir())),
        "files": str(sorted(path.name for path in metadata.iterdir() if path.name != "autosync")),
        "hgrc": (metadata / "hgrc").read_text().replace(f"{device.name}.hooks", ""),
    }


@pytest.mark.timeout(300)
def test_hg_does_the_same_with_and_without_autosync(tmp_path: Path) -> None:
    with HgFleet(tmp_path / "fleet") as fleet:
        names = ("src/a.txt", "src/b.txt", "here/tracked.txt", "there/tracked.txt")
        source = fleet.seed(dict.fromkeys(names, LINES), hub=False)
        laptop, desktop = fleet.clone_hg(source, "laptop", "desktop")
        plain = HgDevice("plain", tmp_path / "plain", tmp_path / "plain/notes", fleet.environment, user=laptop.user)
        plain.home.mkdir()
        shutil.copytree(laptop.root, plain.root, symlinks=True)
        logs = {device.name: tmp_path / f"{device.name}.hooks" for device in (laptop, desktop, plain)}
        for device in (laptop, desktop, plain):
            hook(device, logs[device.name])
        fleet.configure([laptop, desktop])
        fleet.start(laptop, desktop)
        fleet.equal(laptop, desktop)
        user, alone = Scripted(laptop), Scripted(plain)
        with Writer(laptop.root / "here") as here, Writer(desktop.root / "there") as there:
            for number in range(ROUNDS):
                everything(user, number)
            until(lambda: desktop.activities("applied") and laptop.activities("applied"))
        for number in range(ROUNDS):
            everything(alone, number)
        assert alone.failed == []
        assert user.failed == []
        fleet.equal(laptop, desktop)
        ours, theirs = users_own(laptop), users_own(plain)
        assert {what: (ours[what], theirs[what]) for what in ours if ours[what] != theirs[what]} == {}
        assert hooks_run(logs["laptop"]) == hooks_run(logs["plain"]) != Counter()
        assert hooks_run(logs["desktop"]) == Counter()
        for device in (laptop, desktop):
            verified = device.hg_process("verify", "-q")
            assert verified.returncode == 0, verified
        assert here.saved
        assert there.saved
        record("user commands run", user.commands)
