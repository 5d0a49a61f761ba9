"""What recorded programs come to: which looks, when, and at what."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

from autosync.core.debounce import Debouncer
from autosync.core.events import PathHint, Touch
from autosync.core.model import RelPath
from autosync.core.temporary import DEFAULT_IGNORES

TRACES = Path(__file__).parent / "traces"
SETTLE = 0.05

OLD, NEW, GONE, BETWEEN = "as before", "as after", "gone", "in between"


class Look(NamedTuple):
    """One look: how many milliseconds after the last hint that was due in it, and what was there."""

    after: int
    found: dict[str, str]


@dataclass
class Folder:
    """What stood where, as it was recorded."""

    now: dict[str, str]
    before: dict[str, str]
    after: dict[str, str]
    whole: set[tuple[str, str]] = field(default_factory=set)

    def becomes(self, path: str, state: str | None) -> None:
        if state is None:
            for gone in [p for p in self.now if p == path or p.startswith(path + "/")]:
                del self.now[gone]
        elif state != "dir":
            self.now[path] = state

    def at(self, path: str) -> dict[str, str]:
        """Return what a look at ``path`` finds: one file, or all below a directory."""
        names = [p for p in self.now.keys() | self.before.keys() if p.startswith(path + "/")]
        return {p: self._name(p, self.now.get(p)) for p in names or [path]}

    def _name(self, path: str, state: str | None) -> str:
        if state is None:
            return GONE
        if state == self.after.get(path):
            return NEW
        return OLD if state == self.before.get(path) else BETWEEN


@dataclass
class Replay:
    """A trace, led through a debouncer as a session does it."""

    looks: list[Look] = field(default_factory=list)
    torn: list[tuple[float, str]] = field(default_factory=list)
    temporary: list[tuple[float, str]] = field(default_factory=list)
    lag: dict[str, float] = field(default_factory=dict)
    """Path to the seconds from its last change until a look found it as it is in the end."""


def ignored(path: str) -> bool:
    """Return whether the default ignore rules name ``path``; they are all for the last component."""
    name = path.rpartition("/")[2]
    return any(fnmatchcase(name, pattern.replace("\\", "")) for pattern in DEFAULT_IGNORES)


def parse(text: str) -> PathHint:
    """Read a hint of a trace."""
    touch = next(touch for touch in Touch if text.startswith(touch.value + " "))
    path, _, source = text.removeprefix(touch.value + " ").removesuffix("!").partition(" < ")
    return PathHint(
        path=RelPath(path.encode()),
        touch=touch,
        fresh_source=text.endswith("!"),
        source=RelPath(source.encode()) if source else None,
    )


def replay(name: str) -> Replay:
    """Lead the trace ``name`` through a debouncer, looking at each moment something is due."""
    trace = json.loads((TRACES / f"{name}.json").read_text())
    folder = Folder(dict(trace["before"]), trace["before"], trace["after"])
    folder.whole |= {*trace["before"].items(), *trace["after"].items()}
    debouncer, result = Debouncer(), Replay()
    changed: dict[str, float] = {}
    seen: dict[str, tuple[float, str]] = {}

    def look(now: float) -> None:
        paths = {path.decode() for path in debouncer.due(now)}
        if not paths:
            return
        found = {p: state for path in sorted(paths) for p, state in folder.at(path).items() if not ignored(p)}
        touched = max(at for p, at in changed.items() if p in paths or any(p.startswith(d + "/") for d in paths))
        result.looks.append(Look(round((now - touched) * 1000), found))
        for path, what in found.items():
            seen[path] = (now, what)
            if what == BETWEEN and (path, folder.now[path]) not in folder.whole:
                result.torn.append((now, path))
            if what == BETWEEN and path not in folder.before and path not in folder.after:
                result.temporary.append((now, path))

    for step in trace["steps"]:
        now = step["at"]
        while (deadline := debouncer.deadline()) is not None and deadline < now:
            look(deadline)
        hints = [parse(text) for text in step["hints"]]
        last = {h.path.decode(): h.touch for h in hints if h.touch is not Touch.ATTRIBUTES}
        for path, state in step["states"].items():
            folder.becomes(path, state)
            if state is not None and last.get(path, Touch.CLOSED) in {Touch.CLOSED, Touch.MOVED_IN, Touch.SUBTREE}:
                folder.whole.add((path, state))
        for hint in hints:
            path = hint.path.decode()
            if ignored(path):
                continue
            debouncer.note(hint, now)
            changed[path] = now
        changed |= {path: now for path in step["states"] if not ignored(path) and path not in last}
        look(now)
    while (deadline := debouncer.deadline()) is not None:
        look(deadline)
    assert {p: s for p, s in folder.now.items() if p in trace["after"]} == trace["after"], "the trace is not whole"
    for path in {*trace["after"], *trace["before"]}:
        if path in changed:
            assert seen[path][1] in ({NEW} if path in trace["after"] else {GONE}), f"{path}: {seen[path]}"
            result.lag[path] = seen[path][0] - changed[path]
    return result


EVERY = sorted(path.stem for path in TRACES.glob("*.json"))
LOGS = {"log-kept-open", "log-opened-for-each-line"}

EXPECTED = {
    "vim": [{"notes.txt": NEW}],
    "vim-backupcopy": [{"notes.txt": NEW}],
    "nano": [{"notes.txt": NEW}],
    "emacs": [{"notes.txt": NEW}, {"notes.txt~": NEW}],
    "sed": [{"notes.txt": NEW}],
    "gio": [{"notes.txt": NEW}],
    "libreoffice-style": [{"notes.odt": NEW}],
    "move-file": [{"notes.txt": GONE, "renamed.txt": NEW}],
    "download-beside-a-save": [{"notes.txt": NEW}, {"big.iso": NEW}],
}
"""The snapshots that each trace comes to: what each look finds changed since the last."""


def test_the_corpus_is_complete() -> None:
    bulk = {"git-checkout", "unzip", "tar", "move-directory"}
    assert set(EVERY) == set(EXPECTED) | LOGS | bulk


@pytest.mark.parametrize("name", EVERY)
def test_no_look_meets_a_temporary_file(name: str) -> None:
    assert replay(name).temporary == []


@pytest.mark.parametrize("name", sorted(set(EVERY) - LOGS))
def test_no_look_meets_a_file_that_is_half_written(name: str) -> None:
    assert replay(name).torn == []


@pytest.mark.parametrize("name", EVERY)
def test_in_the_end_everything_was_seen_as_it_is(name: str) -> None:
    replayed = replay(name)
    assert replayed.lag
    assert max(replayed.lag.values()) <= (2.0 if name in LOGS else 0.55)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_snapshots_are_those_that_a_user_expects(name: str) -> None:
    looks = replay(name).looks
    assert news(name) == EXPECTED[name]
    assert all(look.after <= 50 for look in looks)
    assert len(looks) <= len(EXPECTED[name]) + 2  # in vain: a late change of mode, a backup that is gone


def news(name: str) -> list[dict[str, str]]:
    """Return what each look finds other than it was; looks in vain are left out."""
    known = dict.fromkeys(json.loads((TRACES / f"{name}.json").read_text())["before"], OLD)
    found = []
    for look in replay(name).looks:
        new = {p: what for p, what in look.found.items() if what != known.get(p, GONE)}
        found.append(new)
        known |= look.found
    return [new for new in found if new]


@pytest.mark.parametrize("name", ["vim", "vim-backupcopy", "nano", "emacs", "sed", "gio", "libreoffice-style"])
def test_a_save_is_looked_at_the_moment_it_is_complete(name: str) -> None:
    first = next(look for look in replay(name).looks if NEW in look.found.values())
    assert first.after == 0


def test_a_save_does_not_wait_for_a_download() -> None:
    save, download = replay("download-beside-a-save").looks
    assert (save.after, download.after) == (0, 50)


@pytest.mark.parametrize(("name", "most"), [("unzip", 8), ("tar", 8), ("move-directory", 1)])
def test_many_files_come_in_few_looks(name: str, most: int) -> None:
    looks = replay(name).looks
    assert len(looks) <= most
    assert {what for look in looks for what in look.found.values()} <= {NEW, GONE}


def test_a_moved_directory_is_seen_whole() -> None:
    (look,) = replay("move-directory").looks
    names = {path.partition("/")[0] for path in look.found}
    assert names == {"d3", "moved"}
    assert all(what == (GONE if path.startswith("d3") else NEW) for path, what in look.found.items())


def test_a_checkout_shows_each_file_as_it_was_or_as_it_is() -> None:
    """git replaces each file at once; that all of them belong together says its index.lock."""
    looks = replay("git-checkout").looks
    assert {what for look in looks for what in look.found.values()} == {NEW, GONE}


@pytest.mark.parametrize(("name", "most"), [("log-kept-open", 3), ("log-opened-for-each-line", 10)])
def test_a_log_is_looked_at_ever_less_often(name: str, most: int) -> None:
    assert 2 <= len(replay(name).looks) <= most


TEMPORARY = [
    ".notes.txt.swp",
    ".notes.txt.swx",
    "deep/in/.notes.txt.swo",
    "4913",
    ".#notes.txt",
    "#notes.txt#",
    ".~lock.notes.odt#",
    "lu4711x8k2.tmp",
    ".goutputstream-9756Y3",
    ".notes.txt.kate-swp",
    "~$report.docx",
]
LASTING = ["notes.txt~", "notes.txt", "#notes", "49130", ".swp", "lunch.tmp", "flash.swf", "movie.part"]


def test_temporary_names_are_known_and_no_others(tmp_path: Path) -> None:
    """As git itself reads the patterns."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".git/info/exclude").write_text("".join(f"{pattern}\n" for pattern in DEFAULT_IGNORES))
    ask = [
        "git",
        "-c",
        "core.excludesFile=/dev/null",
        "-C",
        str(tmp_path),
        "check-ignore",
        "--no-index",
        "-z",
        "--stdin",
    ]
    asked = "\0".join(TEMPORARY + LASTING)
    said = subprocess.run(ask, input=asked, capture_output=True, text=True, check=True).stdout
    assert said.split("\0")[:-1] == TEMPORARY
    assert [path for path in TEMPORARY + LASTING if ignored(path)] == TEMPORARY
