"""What a member with ill will sends is refused whole, at little cost, and what is sound still arrives after it."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from git_repos import git, isolate
from gitdevice import KEY, Device, clone, new_repository
from hostile import (
    FILES,
    KEPT,
    MALLORY,
    MOST_MEMORY,
    WAYS,
    Victim,
    cost_of,
    entry,
    header,
    packed,
    sealed,
    victim,
    zeros,
)

from autosync.backends.git.delta import MOST_INSTRUCTIONS
from autosync.backends.git.refnames import RefNames
from autosync.core.events import Integrated
from autosync.core.model import DeviceId, SnapshotId
from autosync.errors import AutosyncError, Missing, Unsafe
from tests import figures
from tests.system.rogue import DIRECTORY, EXECUTABLE, FILE, LINK, Objects, Tree, below, bomb

MOST_SECONDS = 20.0
"""Of processor time, in our process and in git's."""


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Victim]:
    """A victim that is as good as new at the end."""
    with victim(tmp_path) as found:
        yield found


def in_order(lines: Tree) -> Tree:
    """Return the lines as git sorts them."""
    return sorted(lines, key=lambda line: line[1] + b"/" * (line[0] == DIRECTORY))


def changeset(objects: Objects, tree: bytes, parent: str) -> str:
    """Return the id of a new changeset of the user's."""
    who = "u <u@example.org> 1700000000 +0000"
    text = f"tree {tree.hex()}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nwork\n"
    return objects.add(b"commit", text.encode()).hex()


def refused(attacked: Victim, wanted: SnapshotId, pack: bytes, *, way: str) -> str:
    """Return the title of the refusal; nothing of the pack may be in the store."""
    with pytest.raises(Unsafe) as caught:
        attacked.take(wanted, pack, way=way)
    assert not attacked.backend.store.header(wanted)
    figures.record("bad inputs refused", 1)
    assert caught.value.title.isprintable()
    return caught.value.title


# -- names and modes ---------------------------------------------------------------------------
NAMES: dict[str, bytes] = {
    "dot": b".",
    "dot dot": b"..",
    "git": b".git",
    "upper": b".GIT",
    "trailing space": b".git ",
    "trailing dot": b".git.",
    "ignorable": ".g\u200cit".encode(),
    "ignorable at the end": ".git\u200d".encode(),
    "short name": b"git~1",
    "other short name": b"GIT~12",
    "stream": b".git::$INDEX_ALLOCATION",
    "backslash": b"a\\.git\\config",
    "backslash up": b"a\\..\\b",
    "hg": b".hg",
    "upper hg": b".Hg",
    "hg short name": b"HG~1",
    "hg hashed name": b"hg8b6c~1",
    "hg ignorable": ".\ufeffhg".encode(),
    "long": b"x" * 256,
}


@pytest.mark.parametrize("way", WAYS)
def test_names_that_lead_elsewhere_are_refused(attacked: Victim, way: str) -> None:
    for number, (what, name) in enumerate(NAMES.items(), 1):
        for lines in (
            lambda o, n=name: below(o, n),
            lambda o, n=name: below(o, n, b"config"),
            lambda o, n=name: below(o, b"deep", n, b"config"),
        ):
            objects = Objects()
            tree = objects.tree(in_order([*KEPT, *lines(objects)]))
            wanted = objects.snapshot(tree, base=attacked.head, version={MALLORY: number})
            assert refused(attacked, wanted, packed(objects, without=[KEPT[0][2]]), way=way), what


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", b"104755 100666 120644 0120644 60644 10644 140000 170000".split())
def test_modes_that_no_checkout_makes_are_refused(attacked: Victim, mode: bytes, way: str) -> None:
    objects = Objects()
    tree = objects.tree([(mode, b"x", objects.blob(b"x\n"))])
    refused(attacked, objects.snapshot(tree, base=attacked.head, version={MALLORY: 1}), packed(objects), way=way)


MODULES = {
    "name": b'[submodule "../../.git/modules/x"]\n\tpath = x\n\turl = ../x\n',
    "url": b'[submodule "x"]\n\tpath = x\n\turl = -u./payload\n',
    "path": b'[submodule "x"]\n\tpath = -u./payload\n\turl = ../x\n',
    "newline": b'[submodule "x"]\n\tpath = x\n\turl = "https://host%0a/x"\n',
    "update": b'[submodule "x"]\n\tpath = x\n\turl = ../x\n\tupdate = !touch pwned\n',
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", MODULES)
def test_submodule_settings_that_run_commands_are_refused(attacked: Victim, what: str, way: str) -> None:
    for name in (b".gitmodules", b".GITMODULES", b"GITMOD~1"):
        objects = Objects()
        tree = objects.tree(in_order([(FILE, name, objects.blob(MODULES[what])), *KEPT]))
        wanted = objects.snapshot(tree, base=attacked.head, version={MALLORY: 1})
        refused(attacked, wanted, packed(objects), way=way)


@pytest.mark.parametrize("way", WAYS)
def test_sound_submodule_settings_arrive(attacked: Victim, way: str) -> None:
    objects = Objects()
    text = b'[submodule "x"]\n\tpath = x\n\turl = ../x\n'
    tree = objects.tree(in_order([(FILE, b".gitmodules", objects.blob(text)), *KEPT]))
    wanted = objects.snapshot(tree, base=attacked.head, version=attacked.version())
    ended = attacked.integrate(attacked.take(wanted, packed(objects), way=way))
    assert isinstance(ended, Integrated)
    assert ended.complete
    with open(os.path.join(attacked.root, b".gitmodules"), "rb") as file:
        assert file.read() == text


@pytest.mark.parametrize("way", WAYS)
def test_attributes_from_others_run_nothing(attacked: Victim, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter is named by the tree, what it runs by the user's own settings only."""
    trap = attacked.outside / "ran"
    objects = Objects()
    command = f'[filter "evil"]\n\tsmudge = touch {trap}\n\tclean = touch {trap}\n\tprocess = touch {trap}\n'
    lines = [
        (FILE, b".gitattributes", objects.blob(b"* filter=evil diff=evil merge=evil text\n")),
        (FILE, b".gitconfig", objects.blob(command.encode())),
        (FILE, b".lfsconfig", objects.blob(command.encode())),
        (EXECUTABLE, b"post-checkout", objects.blob(f"#!/bin/sh\ntouch {trap}\n".encode())),
        (FILE, b"x.c", objects.blob(b"x\n")),
        *KEPT,
    ]
    wanted = objects.snapshot(objects.tree(in_order(lines)), base=attacked.head, version=attacked.version())
    monkeypatch.chdir(os.fsdecode(attacked.root))
    ended = attacked.integrate(attacked.take(wanted, packed(objects), way=way))
    assert isinstance(ended, Integrated)
    attacked.backend.read(None, None)
    assert not trap.exists()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [b".gitattributes", b".gitignore", b".autosync", b".mailmap"])
def test_a_link_in_place_of_settings_leads_nowhere(attacked: Victim, name: bytes, way: str) -> None:
    objects = Objects()
    tree = objects.tree(in_order([(LINK, name, objects.blob(os.fsencode(attacked.outside / "new"))), *KEPT]))
    wanted = objects.snapshot(tree, base=attacked.head, version=attacked.version())
    ended = attacked.integrate(attacked.take(wanted, packed(objects), way=way))
    assert isinstance(ended, Integrated)
    assert os.path.islink(os.path.join(attacked.root, name))


@pytest.mark.parametrize("way", WAYS)
def test_names_that_are_odd_but_legal_arrive_as_they_are(attacked: Victim, way: str) -> None:
    names = [
        *(b"new\nline", b"\x1b]0;pwned\x07", b"\x01\x7f", b"\xff\xfe"),
        *(b"-rf", b"--upload-pack=touch pwned", b" ", b'"q"', b"..."),
    ]
    objects = Objects()
    lines = in_order([*KEPT, *((FILE, name, objects.blob(name)) for name in names)])
    wanted = objects.snapshot(objects.tree(lines), base=attacked.head, version=attacked.version())
    ended = attacked.integrate(attacked.take(wanted, packed(objects), way=way))
    assert isinstance(ended, Integrated)
    assert ended.complete
    for name in names:
        with open(os.path.join(attacked.root, name), "rb") as file:
            assert file.read() == name
    assert attacked.backend.read(None, None).tree == ended.current.tree


@pytest.mark.parametrize("way", WAYS)
def test_a_file_below_a_link_is_not_written_through_it(attacked: Victim, way: str) -> None:
    """In one snapshot the name is there twice, in two the directory takes the link's place."""
    target = os.fsencode(attacked.outside)
    objects = Objects()
    inner = objects.tree([(FILE, b"x", objects.blob(b"pwned\n"))])
    tree = objects.tree([*KEPT, (LINK, b"l", objects.blob(target)), (DIRECTORY, b"l", inner)])
    refused(attacked, objects.snapshot(tree, base=attacked.head, version={MALLORY: 1}), packed(objects), way=way)
    for build in (
        lambda o: (LINK, b"l", o.blob(target)),
        lambda o: (DIRECTORY, b"l", o.tree([(FILE, b"x", o.blob(b"pwned\n"))])),
    ):
        objects = Objects()
        tree = objects.tree(in_order([*KEPT, build(objects)]))
        wanted = objects.snapshot(tree, base=attacked.head, version=attacked.version())
        ended = attacked.integrate(attacked.take(wanted, packed(objects), way=way))
        assert isinstance(ended, Integrated)
        assert ended.complete
    assert os.listdir(attacked.outside) == []


# -- packs -----------------------------------------------------------------------------------------
def sound(attacked: Victim, *, count: int = 1) -> tuple[SnapshotId, Objects]:
    """Return a snapshot that would be taken."""
    objects = Objects()
    tree = objects.tree(in_order([*KEPT, (FILE, b"new", objects.blob(b"%d\n" % count))]))
    return objects.snapshot(tree, base=attacked.head, version={MALLORY: count}), objects


def another_trailer(pack: bytes) -> bytes:
    return pack[:-1] + bytes([pack[-1] ^ 1])


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "cut off": lambda pack: pack[: len(pack) // 2],
    "without its end": lambda pack: pack[:-20],
    "wrong checksum": another_trailer,
    "something after it": lambda pack: pack + b"x",
    "one pack after another": lambda pack: pack + pack,
    "other version": lambda pack: sealed_again(pack[:4] + struct.pack(">I", 9) + pack[8:-20]),
    "too many objects": lambda pack: sealed_again(pack[:8] + struct.pack(">I", 1 << 31) + pack[12:-20]),
    "damaged inside": lambda pack: sealed_again(pack[:20] + bytes([pack[20] ^ 0xFF]) + pack[21:-20]),
    "no pack at all": lambda _: b"GET / HTTP/1.1\r\n\r\n" * 50,
}


def sealed_again(body: bytes) -> bytes:
    return body + hashlib.sha1(body).digest()  # noqa: S324 - git's


@pytest.mark.parametrize("way", WAYS)
def test_spoiled_packs_are_refused(attacked: Victim, way: str) -> None:
    wanted, objects = sound(attacked)
    for spoil in SPOILED.values():
        with pytest.raises((Unsafe, Missing)):
            attacked.take(wanted, spoil(packed(objects)), way=way)
        figures.record("bad inputs refused", 1)


@pytest.mark.parametrize("way", WAYS)
def test_what_builds_on_objects_elsewhere_is_missing(attacked: Victim, way: str) -> None:
    wanted, objects = sound(attacked)
    instructions = zlib.compress(b"\x05\x05\x90\x05")
    outside = header(7, 4) + b"\x77" * 20 + instructions
    blob = next(oid for oid, loose in objects.made.items() if loose.kind == b"blob")
    others = [entry(loose) for oid, loose in objects.made.items() if oid != blob]
    for pack in (sealed(outside, *others), packed(objects, without=[blob])):
        with pytest.raises(Missing):
            attacked.take(wanted, pack, way=way)
        figures.record("bad inputs refused", 1)
    objects = Objects()
    wanted = objects.snapshot(objects.tree(KEPT), base="7" * 40, version={MALLORY: 1})
    with pytest.raises((Missing, Unsafe)):
        attacked.take(wanted, packed(objects), way=way)


@pytest.mark.parametrize("way", WAYS)
def test_a_snapshot_cannot_be_smuggled_in_with_another(attacked: Victim, way: str) -> None:
    """Nobody would look at it again: it would be here already when it is announced."""
    wanted, objects = sound(attacked)
    smuggled = objects.snapshot(objects.tree(bomb(objects)), base=attacked.head, version={"../x": 1 << 52})
    assert "do not belong to" in refused(attacked, wanted, packed(objects), way=way)
    assert attacked.backend.load(smuggled) is None


@pytest.mark.parametrize("way", WAYS)
def test_a_changeset_cannot_be_smuggled_in_as_a_later_base(attacked: Victim, way: str) -> None:
    wanted, objects = sound(attacked)
    changeset(objects, objects.tree(bomb(objects)), attacked.head)
    assert "do not belong to" in refused(attacked, wanted, packed(objects), way=way)


@pytest.mark.parametrize("way", WAYS)
def test_a_base_that_no_working_copy_can_hold_is_refused(attacked: Victim, way: str) -> None:
    objects = Objects()
    tree = objects.tree(bomb(objects))
    base = changeset(objects, tree, attacked.head)
    wanted = objects.snapshot(tree, base=base, version={MALLORY: 1})
    assert "new entries" in refused(attacked, wanted, packed(objects), way=way)


def test_a_base_that_is_here_is_looked_at_as_well(attacked: Victim) -> None:
    """However it came here: a changeset that is not of the user's is not trusted for being in the store."""
    store, objects = attacked.backend.store, Objects()
    tree = objects.tree(bomb(objects))
    base = changeset(objects, tree, attacked.head)
    for loose in objects.made.values():
        store.put(loose.kind, loose.content)
    store.flush()
    for way in WAYS:
        objects = Objects()
        wanted = objects.snapshot(tree, base=base, version={MALLORY: 1})
        assert "new entries" in refused(attacked, wanted, packed(objects), way=way)


@pytest.mark.parametrize("way", WAYS)
def test_metadata_in_a_base_is_never_written(attacked: Victim, way: str) -> None:
    objects = Objects()
    tree = objects.tree(in_order([*below(objects, b".hg", b"hgrc"), *KEPT]))
    base = changeset(objects, tree, attacked.head)
    wanted = objects.snapshot(tree, base=base, version={MALLORY: 1})
    try:
        attacked.integrate(attacked.take(wanted, packed(objects), way=way))
    except Unsafe:
        figures.record("bad inputs refused", 1)
    assert not os.path.lexists(os.path.join(attacked.root, b".hg"))


# -- bombs -----------------------------------------------------------------------------------------
def deep(objects: Objects, levels: int) -> Tree:
    lines: Tree = [(FILE, b"x", objects.blob(b"x\n"))]
    for _ in range(levels):
        lines = [(DIRECTORY, b"d", objects.tree(lines))]
    return lines


def wide(objects: Objects, count: int, *, per: int) -> Tree:
    blob = objects.blob(b"x\n")
    inner = objects.tree([(FILE, b"%06d" % n, blob) for n in range(per)])
    return [(DIRECTORY, b"%06d" % n, inner) for n in range(count // per)]


def crossed(objects: Objects, size: int) -> tuple[Tree, Tree]:
    """Return two trees of few objects that differ in ``size`` ** 3 entries."""

    def leaf(mark: bytes) -> bytes:
        return objects.tree([(FILE, b"%04d" % n, objects.blob(mark if n == 0 else mark[:1])) for n in range(size)])

    new, old = [leaf(b"n%d" % n) for n in range(size)], [leaf(b"o%d" % n) for n in range(size)]
    every = objects.tree([(DIRECTORY, b"%04d" % n, oid) for n, oid in enumerate(new)])
    turned = [objects.tree([(DIRECTORY, b"%04d" % m, old[(n + m) % size]) for m in range(size)]) for n in range(size)]
    return [(DIRECTORY, b"%04d" % n, every) for n in range(size)], [
        (DIRECTORY, b"%04d" % n, oid) for n, oid in enumerate(turned)
    ]


def tree_bomb(lines: Callable[[Objects], Tree]) -> Callable[[Victim], tuple[SnapshotId, bytes]]:
    def build(attacked: Victim) -> tuple[SnapshotId, bytes]:
        objects = Objects()
        wanted = objects.snapshot(objects.tree(lines(objects)), base=attacked.head, version={MALLORY: 1})
        return wanted, packed(objects)

    return build


def crossed_bomb(attacked: Victim) -> tuple[SnapshotId, bytes]:
    objects = Objects()
    new, old = crossed(objects, 85)
    base = changeset(objects, objects.tree(old), attacked.head)
    return objects.snapshot(objects.tree(new), base=base, version={MALLORY: 1}), packed(objects)


def deflate_bomb(code: int, stated: int, size: int) -> Callable[[Victim], tuple[SnapshotId, bytes]]:
    def build(attacked: Victim) -> tuple[SnapshotId, bytes]:
        objects = Objects()
        tree = objects.tree([(FILE, b"a", b"\x11" * 20)])
        wanted = objects.snapshot(tree, base=attacked.head, version={MALLORY: 1})
        return wanted, sealed(header(code, stated) + zeros(size), *map(entry, objects.made.values()))

    return build


def number(value: int) -> bytes:
    """Return a size as a delta states it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def delta_bomb(instructions: bytes, target: int) -> Callable[[Victim], tuple[SnapshotId, bytes]]:
    def build(attacked: Victim) -> tuple[SnapshotId, bytes]:
        objects = Objects()
        tree = objects.tree([(FILE, b"a", b"\x11" * 20)])
        wanted = objects.snapshot(tree, base=attacked.head, version={MALLORY: 1})
        whole = number(4) + number(target) + instructions
        bombed = header(7, len(whole)) + KEPT[0][2] + zlib.compress(whole, 9)
        return wanted, sealed(bombed, *map(entry, objects.made.values()))

    return build


BOMBS: dict[str, Callable[[Victim], tuple[SnapshotId, bytes]]] = {
    "300 levels": tree_bomb(lambda o: deep(o, 300)),
    "1,900 levels": tree_bomb(lambda o: deep(o, 1900)),
    "10,000 levels": tree_bomb(lambda o: deep(o, 10_000)),
    "10 ** 10 files": tree_bomb(lambda o: bomb(o, depth=10)),
    "2 ** 5,000 files": tree_bomb(lambda o: bomb(o, depth=5000, width=2)),
    "600,000 files in directories": tree_bomb(lambda o: wide(o, 600_000, per=2000)),
    "a million files in one directory": tree_bomb(
        lambda _: [(FILE, b"%07d" % n, b"\x11" * 20) for n in range(1_000_000)]
    ),
    "600,000 differences between directories": crossed_bomb,
    "a commit of 650 MB": deflate_bomb(1, 650 << 20, 650 << 20),
    "a tree of 650 MB": deflate_bomb(2, 650 << 20, 650 << 20),
    "a file of 100 MB": deflate_bomb(3, 100 << 20, 100 << 20),
    "a tree of 2 ** 60 bytes": deflate_bomb(2, 1 << 60, 1 << 20),
    "a file that is larger than it says": deflate_bomb(3, 1 << 10, 100 << 20),
    "64 KiB copied 16,000 times": delta_bomb(b"\x80" * 16_000, 0x10000 * 16_000),
    "a million copies of two bytes": delta_bomb(b"\x90\x02" * 1_000_000, 2_000_000),
    "ten million inserts": delta_bomb(b"\x01x" * 10_000_000, 10_000_000),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_costs_little(attacked: Victim, what: str, way: str) -> None:
    wanted, pack = BOMBS[what](attacked)
    cost = cost_of(lambda: attacked.integrate(attacked.take(wanted, pack, way=way)))
    assert cost.refusal
    assert cost.memory < MOST_MEMORY, f"{cost.memory >> 20} MB"
    assert cost.seconds < MOST_SECONDS
    figures.record("bad inputs refused", 1)


def test_a_delta_of_too_many_steps_is_refused_for_that(attacked: Victim) -> None:
    wanted, pack = delta_bomb(b"\x90\x02" * (MOST_INSTRUCTIONS + 1), 2 * MOST_INSTRUCTIONS + 2)(attacked)
    assert "more than 250000 instructions" in refused(attacked, wanted, pack, way="inline")


# -- a hostile hub ---------------------------------------------------------------------------------
def test_names_that_a_hub_makes_up_are_passed_over(tmp_path: Path) -> None:
    laptop = new_repository(tmp_path / "laptop", FILES)
    hub = tmp_path / "hub.git"
    git(os.fsencode(tmp_path), "clone", "-q", "--bare", laptop, hub)
    device = Device(laptop, str(hub))
    try:
        snapshot = device.snap({"a.txt": b"new\n"})
        device.exchange.push(DeviceId("laptop-00000001"), snapshot.id)
        folder = next(line for line in refs(hub) if line.startswith("refs/autosync/")).rpartition("/")[0]
        strange = ["%1b%5b31m", "%2e%2e%2fx", "-x", "--upload-pack=x", "%0a", "a%00b", "x" * 200, "\u2028x", "\x9bx"]
        lines = [f"create {folder}/{name} {snapshot.id}\n" for name in strange]
        git(os.fsencode(hub), "update-ref", "--stdin", input="".join(lines).encode())
        assert device.exchange.list_hub() == {"laptop-00000001": snapshot.id}
        names = RefNames(lambda: (KEY,))  # a member that has turned bad, rather than the hub
        ghosts = [names.make(DeviceId(f"ghost-{n:08x}"), snapshot.id) for n in range(2000)]
        many = "".join(f"create {folder}/{ghost} {snapshot.id}\n" for ghost in ghosts)
        git(os.fsencode(hub), "update-ref", "--stdin", input=many.encode())
        assert len(device.exchange.list_hub()) == 512
    finally:
        device.close()
    figures.record("bad inputs refused", len(strange) + 2000 - 511)


def refs(hub: Path) -> list[str]:
    return git(os.fsencode(hub), "for-each-ref", "--format=%(refname)").decode().split()


BRANCHES = [
    *("--upload-pack=touch pwned", "-c", "+refs/heads/main", "HEAD", ""),
    *("refs/heads/-x", "refs/heads/../x", "refs/heads/a\nb", "refs/heads/x:refs/heads/y", "refs/heads/*"),
]


@pytest.mark.parametrize("branch", BRANCHES)
def test_no_branch_name_becomes_an_option_or_a_refspec(tmp_path: Path, branch: str) -> None:
    laptop = new_repository(tmp_path / "laptop", FILES)
    hub = tmp_path / "hub.git"
    git(os.fsencode(tmp_path), "clone", "-q", "--bare", laptop, hub)
    device = Device(laptop, str(hub))
    try:
        for ask in (device.exchange.push_branch, device.exchange.fetch_branch):
            with pytest.raises(AutosyncError, match="is no branch"):
                ask(branch)
            figures.record("bad inputs refused", 1)
    finally:
        device.close()


def test_a_hubs_branch_that_no_working_copy_can_hold_is_refused(tmp_path: Path) -> None:
    laptop = new_repository(tmp_path / "laptop", FILES)
    hub = clone(laptop, tmp_path / "hub")
    objects = Objects()
    head = git(os.fsencode(hub), "rev-parse", "HEAD").decode().strip()
    tip = changeset(objects, objects.tree(bomb(objects)), head)
    git(os.fsencode(hub), "index-pack", "--stdin", input=packed(objects))
    git(os.fsencode(hub), "update-ref", "refs/heads/main", tip)
    device = Device(laptop, str(hub))
    try:
        with pytest.raises(Unsafe, match="new entries"):
            device.exchange.fetch_branch("refs/heads/main")
        assert device.store.header(tip) is None
        assert device.leftovers() == []
    finally:
        device.close()
    figures.record("bad inputs refused", 1)
