"""Conflicts of a real git working copy: found, listed, told and resolved, whatever stands there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.apply import WorkingTree
from autosync.backends.git.backend import GitBackend, open_git
from autosync.conflicts.index import ConflictIndex
from autosync.conflicts.listing import describe_conflicts
from autosync.conflicts.news import TOLD, find_conflicts
from autosync.conflicts.resolver import NotRecorded, Resolved, Resolver
from autosync.core import events as ev
from autosync.core.commands import TakeSnapshot
from autosync.core.copies import conflict_name
from autosync.core.model import DeviceId, RelPath, Snapshot, TreeId, Version, WorkspaceId
from autosync.core.plan import Clash, Conflict
from autosync.core.resolution import Ambiguous, Keep
from autosync.errors import AutosyncError, Busy, Missing, TransientError
from autosync.perform import Performer
from autosync.ports import Applied, Operation, Tree
from tests.backends.gitdevice import git

LAPTOP = DeviceId("laptop-00000001")
TIME = 1795256100
MARK = "conflict, {}, 2026-11-21 10.15.00"
HERS, MINE, HIS = (f"a ({MARK.format(name)}).txt" for name in ("desktop", "laptop", "phone"))


class Scene:
    """The laptop's working copy, as its agent has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        git(root.parent, "init", "-q", "-b", "main", str(root))
        git(root, "commit", "-q", "--allow-empty", "-m", "empty")
        self.backend: GitBackend = open_git(os.fsencode(root), workspace=WorkspaceId("ab" * 16), remote=None)
        backend = self.backend
        self.tree = WorkingTree(
            backend.root, backend.metadata, standing=backend.standing, standings=backend.standings, stage=backend.stage
        )
        self.performer = Performer(backend=backend, tree=self.tree, device=LAPTOP, name="laptop")
        self.performer.open()
        self.index = ConflictIndex(backend.changes)
        self.current: Snapshot | None = None

    def close(self) -> None:
        self.tree.close()
        self.backend.close()

    def write(self, **files: str | bytes) -> None:
        for name, content in files.items():
            self.put(name, content)

    def put(self, name: str | bytes, content: str | bytes) -> None:
        full = os.path.join(os.fsencode(self.root), os.fsencode(name))
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)

    def record(self) -> Snapshot:
        event = self.performer.local(TakeSnapshot(paths=None, current=self.current, above=0))
        assert isinstance(event, ev.SnapshotTaken), event
        assert event.snapshot is not None
        assert not event.torn
        self.current = event.snapshot
        return event.snapshot

    def resolver(self, tree: Tree | None = None) -> Resolver:
        return Resolver(backend=self.backend, tree=tree or self.tree, index=self.index, device="laptop")

    def resolve(self, file: str | bytes, keep: Keep) -> Resolved | Ambiguous:
        recorded = self.record()
        return self.resolver().resolve(recorded, RelPath(os.fsencode(file)), keep)

    def files(self) -> dict[str, bytes]:
        found = {}
        for directory, names, files in os.walk(self.root):
            names[:] = [n for n in names if n != ".git"]
            for name in files:
                full = os.path.join(directory, name)
                link = os.path.islink(full)
                found[os.path.relpath(full, self.root)] = (
                    b"-> " + os.fsencode(os.readlink(full)) if link else Path(full).read_bytes()
                )
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "notes")
    yield scene
    scene.close()


CONTENTS = [b"text\n", b"cr\r\nlf\r\n", b"\x00\xff\x00binary", b"", b"no newline"]


@pytest.mark.parametrize("keep", Keep)
def test_each_way_keeps_what_it_says_byte_for_byte(scene: Scene, keep: Keep) -> None:
    for number, content in enumerate(CONTENTS):
        scene.put(f"{number}/a.txt", b"stands " + content)
        scene.put(f"{number}/{HERS}", b"hers " + content)
    expected = {}
    for number, content in enumerate(CONTENTS):
        scene.resolve(f"{number}/a.txt", keep)
        expected[f"{number}/a.txt"] = (b"hers " if keep is Keep.THEIRS else b"stands ") + content
        if keep is Keep.BOTH:
            expected[f"{number}/a (desktop).txt"] = b"hers " + content
    assert scene.files() == expected
    scene.index.follow(scene.record())
    assert scene.index.copies == {}


def test_what_is_let_go_is_in_a_snapshot_that_is_kept(scene: Scene) -> None:
    scene.write(**{"a.txt": "stands", HERS: "hers"})
    scene.resolve("a.txt", Keep.THEIRS)
    before = scene.current
    assert before is not None
    scene.record()
    assert before.id in scene.backend.pins().values()
    kept = {c.path for c in scene.backend.changes(None, before.tree)}
    assert kept == {b"a.txt", HERS.encode()}


def test_what_is_in_no_snapshot_is_not_touched(scene: Scene) -> None:
    scene.write(**{"a.txt": "stands", HERS: "hers"})
    recorded = scene.record()
    for name in ("a.txt", HERS):
        files = scene.files()
        scene.put(name, "edited a moment ago")
        edited = scene.files()
        for keep in Keep:
            with pytest.raises(NotRecorded) as caught:
                scene.resolver().resolve(recorded, RelPath(b"a.txt"), keep)
            assert caught.value.paths == {name.encode()}
        assert scene.files() == edited
        scene.put(name, files[name])
    (pin,) = [name for name, snapshot in scene.backend.pins().items() if name.startswith("keep/")]
    scene.backend.unpin(pin)
    scene.backend.unpin("current")
    with pytest.raises(NotRecorded):
        scene.resolver().resolve(recorded, RelPath(b"a.txt"), Keep.MINE)


class Edited:
    """A tree in which a user saves ``path`` just before a given operation is performed."""

    def __init__(self, scene: Scene, turn: int, path: str) -> None:
        self.scene, self.turn, self.path = scene, turn, path

    def apply(self, operations: list[Operation]) -> Applied:
        if self.turn == 0:
            self.scene.put(self.path, "edited at this moment")
        self.turn -= 1
        return self.scene.tree.apply(operations)

    def sweep(self) -> frozenset[RelPath]:
        return self.scene.tree.sweep()

    def keeps(self) -> bool:
        return self.scene.tree.keeps()


@pytest.mark.parametrize(
    ("keep", "turn", "path", "left"),
    [
        (Keep.MINE, 0, HERS, {"a.txt": b"stands", HERS: b"edited at this moment"}),
        (Keep.MINE, 0, "a.txt", {"a.txt": b"edited at this moment"}),
        (Keep.THEIRS, 0, "a.txt", {"a.txt": b"edited at this moment", HERS: b"hers"}),
        (Keep.THEIRS, 1, HERS, {"a.txt": b"hers", HERS: b"edited at this moment"}),
        (Keep.THEIRS, 1, "a.txt", {"a.txt": b"edited at this moment"}),
        (Keep.BOTH, 0, HERS, {"a.txt": b"stands", HERS: b"edited at this moment"}),
        (
            Keep.BOTH,
            0,
            "a (desktop).txt",
            {"a.txt": b"stands", HERS: b"hers", "a (desktop).txt": b"edited at this moment"},
        ),
    ],
)
def test_an_edit_at_that_moment_stays(scene: Scene, keep: Keep, turn: int, path: str, left: dict[str, bytes]) -> None:
    scene.write(**{"a.txt": "stands", HERS: "hers"})
    recorded = scene.record()
    resolver = scene.resolver(Edited(scene, turn, path))
    if len(left) == 1:
        resolver.resolve(recorded, RelPath(b"a.txt"), keep)
    else:
        with pytest.raises(TransientError) as caught:
            resolver.resolve(recorded, RelPath(b"a.txt"), keep)
        assert caught.value.hint.startswith("It was changed at this moment, so that version stays too.")
    assert scene.files() == left


def test_a_link_and_an_executable_stay_what_they_are(scene: Scene) -> None:
    (scene.root / "a.txt").symlink_to("nowhere")
    scene.put(HERS, "#!/bin/sh\n")
    (scene.root / HERS).chmod(0o755)
    scene.resolve("a.txt", Keep.THEIRS)
    assert scene.files() == {"a.txt": b"#!/bin/sh\n"}
    assert (scene.root / "a.txt").stat().st_mode & 0o111
    (scene.root / HERS).symlink_to("a.txt")
    scene.resolve(HERS, Keep.THEIRS)
    assert scene.files() == {"a.txt": b"-> a.txt"}


ODD = [b"caf\xe9", b"new\nline.txt", b"-rf", b"d/e/x.tar.gz", b"a" * 240 + b".txt", b".x", b" ", b"*?[", "ü ☃".encode()]


@pytest.mark.parametrize("keep", [Keep.THEIRS, Keep.BOTH])
def test_odd_names(scene: Scene, keep: Keep) -> None:
    copies = {name: conflict_name(RelPath(name), device="desktop", time=TIME, taken=lambda _: False) for name in ODD}
    for name, copy in copies.items():
        scene.put(name, "stands")
        scene.put(copy, "hers")
    for name in ODD:
        resolved = scene.resolve(name, keep)
        assert isinstance(resolved, Resolved)
        assert resolved.file == name
    left = {os.fsencode(n): content for n, content in scene.files().items()}
    assert {left.pop(name) for name in ODD} == {b"hers" if keep is Keep.THEIRS else b"stands"}
    assert list(left.values()) == ([] if keep is Keep.THEIRS else [b"hers"] * len(ODD))
    assert not [name for name in left if b"(conflict, " in name]


@pytest.mark.parametrize("keep", [Keep.MINE, Keep.THEIRS])
@pytest.mark.parametrize("named", ["d/a.txt", f"d/{HERS}"])
def test_the_only_version_left_gets_the_name(scene: Scene, keep: Keep, named: str) -> None:
    scene.put(f"d/{HERS}", "hers")
    inode = (scene.root / f"d/{HERS}").stat().st_ino
    resolved = scene.resolve(named, keep)
    assert isinstance(resolved, Resolved)
    assert scene.files() == {"d/a.txt": b"hers"}
    assert (scene.root / "d/a.txt").stat().st_ino == inode


def test_of_several_copies_mine_is_the_one_that_bears_this_devices_name(scene: Scene) -> None:
    scene.write(**{"a.txt": "stands", HERS: "hers", MINE: "mine", HIS: "his"})
    resolved = scene.resolve("a.txt", Keep.MINE)
    assert isinstance(resolved, Resolved)
    assert scene.files() == {"a.txt": b"mine"}
    assert len(resolved.dropped) == 3


def test_of_several_copies_both_keeps_all(scene: Scene) -> None:
    second = HERS.replace(".txt", " 2.txt")
    scene.write(**{"a.txt": "stands", HERS: "hers", second: "hers too", HIS: "his"})
    scene.resolve("a.txt", Keep.BOTH)
    assert scene.files() == {
        "a.txt": b"stands",
        "a (desktop).txt": b"hers",
        "a (desktop) 2.txt": b"hers too",
        "a (phone).txt": b"his",
    }


def test_of_several_copies_theirs_has_to_be_named_and_that_one_alone_is_dealt_with(scene: Scene) -> None:
    scene.write(**{"a.txt": "stands", HERS: "hers", HIS: "his"})
    before = scene.files()
    asked = scene.resolve("a.txt", Keep.THEIRS)
    assert isinstance(asked, Ambiguous)
    assert scene.files() == before
    calls = [call for _, ways in asked.ways for call in ways]
    assert [(name.copy.decode(), keep) for name, keep in calls] == [(HERS, Keep.THEIRS), (HIS, Keep.THEIRS)]
    scene.resolve(HIS, Keep.THEIRS)
    assert scene.files() == {"a.txt": b"his", HERS: b"hers"}
    scene.resolve(HERS, Keep.MINE)
    assert scene.files() == {"a.txt": b"his"}


def test_a_folder_is_not_replaced_by_a_file(scene: Scene) -> None:
    scene.write(**{"a.txt/inside": "one", HERS: "hers"})
    with pytest.raises(AutosyncError) as caught:
        scene.resolve("a.txt", Keep.THEIRS)
    assert caught.value.title == "a.txt is a folder, so no copy can replace it"
    assert scene.files() == {"a.txt/inside": b"one", HERS: b"hers"}
    scene.resolve("a.txt", Keep.BOTH)
    assert scene.files() == {"a.txt/inside": b"one", "a (desktop).txt": b"hers"}


def test_a_copied_folder_is_one_conflict(scene: Scene) -> None:
    folder = "sub (conflict, desktop, 2026-11-21 10.15.00)"
    scene.write(**{f"{folder}/x": "x", f"{folder}/deep/y": "y"})
    (current,) = [scene.record()]
    rows = describe_conflicts("notes", scene.backend, scene.index, known=list, current=current)
    assert [(r["file"], r["copy"], r["stands"]["kind"]) for r in rows] == [("sub", folder, None)]
    scene.resolve(folder, Keep.BOTH)
    assert scene.files() == {"sub (desktop)/x": b"x", "sub (desktop)/deep/y": b"y"}
    scene.write(**{f"{folder}/x": "x"})
    scene.resolve("sub", Keep.THEIRS)
    assert scene.files()["sub/x"] == b"x"


def test_what_is_no_conflict_is_told(scene: Scene) -> None:
    scene.write(**{"a.txt": "stands", "b.txt": "b", HERS: "hers"})
    with pytest.raises(AutosyncError) as caught:
        scene.resolve("b.txt", Keep.MINE)
    assert str(caught.value) == "b.txt has no conflict\n  `autosync conflicts` lists the files that have one."
    (scene.root / ".git/rebase-merge").mkdir()
    assert scene.current is not None
    with pytest.raises(Busy, match="so nothing was resolved"):
        scene.resolver().resolve(scene.current, RelPath(b"a.txt"), Keep.MINE)
    assert HERS in scene.files()


# -- the list -------------------------------------------------------------------------------
def test_the_list_follows_the_tree_and_news_is_told_once(scene: Scene) -> None:
    scene.write(**{"a.txt": "stands", HERS: "old"})
    first = scene.record()
    scene.index.begin = first
    scene.put(f"d/{HIS}", "his")
    scene.put("d/plain (copy).txt", "no conflict")
    second = scene.record()
    scene.index.follow(second)
    assert [c.decode() for c in scene.index.copies] == [HERS, f"d/{HIS}"]
    assert [n.copy.decode() for n in scene.index.take_news()] == [f"d/{HIS}"]
    scene.index.follow(second)
    assert scene.index.take_news() == {}
    (scene.root / HERS).unlink()
    (scene.root / f"d/{HIS}").rename(scene.root / "d/a.txt")
    scene.index.follow(scene.record())
    assert (dict(scene.index.copies), scene.index.take_news()) == ({}, {})


def test_a_conflict_whose_copy_gets_another_name_is_told_as_the_same(scene: Scene) -> None:
    scene.write(**{"a.txt": "stands"})
    scene.index.begin = scene.record()

    def told() -> list[tuple[str, str, str]]:
        now = scene.record()
        event = ev.SnapshotTaken(snapshot=now, changed=True)
        found = find_conflicts(
            scene.backend, scene.index, scene.performer.load, device="laptop", before=None, event=event, now=now
        )
        return [((f.copy or b"").decode(), (f.instead_of or b"").decode(), f.text) for f in found]

    scene.put(HERS, "hers")
    assert told() == [(HERS, "", f"a.txt: two versions; the one of desktop is {HERS}")]
    (scene.root / HERS).rename(scene.root / MINE)
    scene.put(f"d/{HIS}", "of another file")
    assert told() == [
        (MINE, HERS, f"a.txt: two versions; the one of laptop is {MINE}, in the place of {HERS}"),
        (f"d/{HIS}", "", f"d/a.txt: two versions; the one of phone is d/{HIS}"),
    ]
    # Of what nobody was told before it was gone, nothing is said.
    (scene.root / MINE).rename(scene.root / HERS)
    scene.index.follow(scene.record())
    (scene.root / HERS).rename(scene.root / HIS)
    assert told() == [(HIS, MINE, f"a.txt: two versions; the one of phone is {HIS}, in the place of {MINE}")]


def test_only_what_changed_is_looked_at_again(scene: Scene) -> None:
    asked: list[tuple[TreeId | None, TreeId | None]] = []

    def changes(old: TreeId | None, new: TreeId | None) -> tuple[object, ...]:
        asked.append((old, new))
        return scene.backend.changes(old, new)

    index = ConflictIndex(changes)  # type: ignore[arg-type]  # which is what they are
    first = scene.record()
    index.follow(first)
    scene.put(HERS, "hers")
    second = scene.record()
    index.follow(second)
    index.follow(second)
    assert asked == [(None, first.tree), (first.tree, second.tree)]
    assert list(index.copies) == [HERS.encode()]


def test_a_state_that_was_pruned_is_done_without(scene: Scene) -> None:
    """What can be seen is listed; what was there already, or went with that state, is no news."""
    gone: set[TreeId | None] = set()

    def changes(old: TreeId | None, new: TreeId | None) -> tuple[object, ...]:
        if {old, new} & gone:
            raise Missing("object 1 is not here", hint="")
        return scene.backend.changes(old, new)

    index = ConflictIndex(changes)  # type: ignore[arg-type]  # which is what they are
    index.begin = scene.record()
    gone.add(index.begin.tree)
    scene.put(HERS, "hers")
    index.follow(second := scene.record())
    assert (list(index.copies), index.take_news()) == ([HERS.encode()], {})
    gone.add(second.tree)
    (scene.root / HERS).unlink()
    scene.put(MINE, "mine")
    index.follow(third := scene.record())
    assert (list(index.copies), list(index.take_news().values())) == ([MINE.encode()], [RelPath(HERS.encode())])
    gone.add(third.tree)
    (scene.root / MINE).unlink()
    scene.put("b.txt", "b")
    index.follow(last := scene.record())
    assert index.copies == {}
    gone.add(last.tree)
    scene.put("c.txt", "c")
    after = scene.record()
    gone.add(after.tree)
    with pytest.raises(Missing):
        index.follow(after)


def merged(scene: Scene, *parents: Snapshot, device: str, tree: TreeId | None = None, count: int = 9) -> Snapshot:
    """Record what a merge of two devices has made of what stands here."""
    base = scene.record()
    snapshot = scene.backend.record(
        tree=tree or base.tree,
        base=base.base,
        version=Version.of({LAPTOP: count, DeviceId("desktop-00000001"): count}),
        parents=tuple(sorted(p.id for p in parents)),
        device=device,
        time=TIME,
    )
    scene.performer.keep(snapshot)
    return snapshot


def test_the_list_says_who_made_what_stands_there_if_that_is_known(scene: Scene) -> None:
    scene.write(**{"a.txt": "stands"})
    first = scene.record()
    scene.write(**{HERS: "hers", f"x/{MINE}": "mine", "b.txt": "b"})
    second = scene.record()

    def stands() -> list[tuple[str | None, str | None]]:
        current = scene.record()
        rows = describe_conflicts("notes", scene.backend, scene.index, known=scene.performer.known, current=current)
        return [(row["stands"]["kind"], row["stands"]["device"]) for row in rows]

    assert stands() == [("file", None), (None, None)]
    merged(scene, first, second, device="desktop+laptop")
    assert stands() == [("file", "laptop"), (None, None)]
    scene.put("a.txt", "edited since")
    assert stands() == [("file", None), (None, None)]


def test_clashes_that_leave_no_copy_are_told(scene: Scene) -> None:
    scene.write(**{"a.txt": "a"})
    now = scene.record()
    conflicts = tuple(
        Conflict(path=RelPath(b"a.txt"), clash=clash, winner="desktop")
        for clash in (Clash.DELETED, Clash.RENAMED, Clash.CONTENT)
    )
    event = ev.Integrated(theirs=now.id, current=now, complete=True, conflicts=conflicts)
    found = find_conflicts(
        scene.backend, scene.index, scene.performer.load, device="laptop", before=None, event=event, now=now
    )
    assert [(f.path, f.copy, f.device, f.text) for f in found] == [
        (b"a.txt", None, "desktop", "a.txt: deleted on one device, changed on desktop; the changed version stays"),
        (b"a.txt", None, "desktop", "a.txt: renamed on two devices; the name that desktop gave it stays"),
        (b"a.txt", None, "desktop", "a.txt: both sides changed the content; the version of desktop stays"),
    ]


def test_of_many_conflicts_at_once_the_rest_is_counted(scene: Scene) -> None:
    scene.index.begin = before = scene.record()
    for number in range(TOLD + 3):
        scene.put(f"{number:02}/{HERS}", "hers")
    now = scene.record()
    event = ev.SnapshotTaken(snapshot=now, changed=True)
    found = find_conflicts(
        scene.backend, scene.index, scene.performer.load, device="laptop", before=before, event=event, now=now
    )
    assert [f.path.decode() for f in found] == [*(f"{number:02}/a.txt" for number in range(TOLD)), ""]
    assert found[0].text == f"00/a.txt: two versions; the one of desktop is 00/{HERS}"
    assert found[-1].text == "3 more files in two versions; `autosync conflicts` lists them"


def test_who_deleted_a_file_is_told_that_it_came_back(scene: Scene) -> None:
    scene.write(**{"a.txt": "a", "b.txt": "b"})
    with_both = scene.record()
    (scene.root / "a.txt").unlink()
    first = scene.record()
    scene.put("b.txt", "b2")
    before = scene.record()
    other = merged(scene, with_both, device="desktop")
    for parents, device, expected in (
        ((before, other), "laptop", [b"a.txt"]),
        ((first, other), "laptop", [b"a.txt"]),  # the other device merged what was here a moment earlier
        ((before, other), "desktop", []),
        ((with_both, other), "laptop", []),
        ((before,), "laptop", []),
    ):
        theirs = merged(scene, *parents, device="desktop+laptop", tree=with_both.tree)
        event = ev.Integrated(theirs=theirs.id, current=theirs, complete=True)
        found = find_conflicts(
            scene.backend, scene.index, scene.performer.load, device=device, before=before, event=event, now=theirs
        )
        assert [f.path for f in found] == expected
        told = Conflict(path=RelPath(b"a.txt"), clash=Clash.DELETED, winner="desktop")
        event = ev.Integrated(theirs=theirs.id, current=theirs, complete=True, conflicts=(told,))
        again = find_conflicts(
            scene.backend, scene.index, scene.performer.load, device=device, before=before, event=event, now=theirs
        )
        assert [f.path for f in again] == [b"a.txt"]
