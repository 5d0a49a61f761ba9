"""What no sound peer sends is refused with words, and leaves nothing behind."""

from __future__ import annotations

import inspect
import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hg_ends import End, ends, served
from hg_repos import commit_all, copy_of, fingerprint, hg, isolate, make_repository, put

from autosync.backends.git import admission
from autosync.backends.git.objects import object_id
from autosync.backends.hg import changegroups, wire
from autosync.backends.hg.headers import Edit, Header, format_header, parse_header
from autosync.backends.hg.marks import encode_marks
from autosync.backends.hg.wire import CONTENT, DELTA, HEADER, HISTORY, MAGIC, Reader, Writer
from autosync.core.model import Base, CommitId, DeviceId, Kind, ObjectId, RelPath, Snapshot, SnapshotId, TreeId, Version
from autosync.errors import Missing, Unsafe
from tests import figures

LINES = b"".join(b"line %d\n" % number for number in range(60))
Records = list[tuple[bytes, bytes, bytes, bytes]]
"""Kind, content, id, and id of what a delta applies to."""


class Pair:
    """A sender and its victim, which must stay as it is."""

    def __init__(self, sender: End, victim: End) -> None:
        self.sender, self.victim = sender, victim
        self.base = sender.base()
        self.common = victim.base()
        victim.tree_of(self.common.commit)
        self.before = self.seen()

    def seen(self) -> dict[bytes, tuple[str, int, int]]:
        found = fingerprint(self.victim.root)
        return {
            name: state for name, state in found.items() if not name.startswith((b"autosync", b"store.sqlite", b"."))
        }

    def refuses(self, wanted: SnapshotId, pack: bytes, *, match: str | None = None, missing: bool = False) -> None:
        """Demand that neither way takes what arrived, and that nothing of it is there afterwards."""
        errors = (Unsafe, Missing) if missing else Unsafe
        with pytest.raises(errors, match=match):
            self.victim.exchange.absorb(wanted, pack)
        with pytest.raises(errors, match=match):
            self.victim.exchange.receive(wanted, io.BytesIO(pack))
        assert self.victim.store.load(wanted) is None
        figures.record("bad inputs refused", 2)

    def unchanged(self) -> None:
        """Demand that nothing of the user's was touched, and that sound snapshots still arrive."""
        assert self.seen() == self.before
        snapshot = self.sender.snap({b"sound": b"sound\n"}, base=self.common, count=77)
        assert (
            self.victim.exchange.receive(
                snapshot.id, io.BytesIO(served(snapshot, self.sender, self.victim.exchange.haves()))
            )
            == snapshot
        )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pytest.MonkeyPatch.context() as patch:
        place = tmp_path_factory.mktemp("hostile")
        for name, value in isolate(place / "home").items():
            patch.setenv(name, value)
        one = make_repository(place / "one", {"a": LINES, "b": b"b\n", "d/c": b"c\n"})
        two = copy_of(one, place / "two")
        put(one, "a", b"one\n" + LINES)
        commit_all(one, "second")
        put(one, "a", b"two\n" + LINES)
        put(one, "new", b"new\n")
        commit_all(one, "third")
        with ends(one, two) as (sender, victim):
            yield Pair(sender, victim)


@pytest.fixture(scope="module")
def snapshot(pair: Pair) -> Snapshot:
    """Return a snapshot on what both have."""
    return pair.sender.snap({b"a": LINES + b"more\n", b"x/y": b"y\n", b"b": None}, base=pair.common)


def taken_apart(pack: bytes) -> Records:
    reader = Reader(io.BytesIO(pack), wire.STREAM)
    return [(record.kind, reader.content(), record.oid, record.base) for record in reader.records()]


def put_together(records: Records) -> bytes:
    out = io.BytesIO()
    writer = Writer(out)
    for kind, content, oid, base in records:
        writer.write(kind, content, oid=oid, base=base)
    writer.end()
    return out.getvalue()


def inline(pair: Pair, snapshot: Snapshot, *known: CommitId) -> bytes:
    packed = pair.sender.exchange.pack(snapshot.id, limit=1 << 20, known=known)
    assert packed is not None
    return packed


def with_header(pack: bytes, wanted: SnapshotId, change: Callable[[Header], bytes]) -> bytes:
    records = taken_apart(pack)
    kind, content, oid, base = records[0]
    return put_together([(kind, change(parse_header(wanted, content)), oid, base), *records[1:]])


def test_any_damage_on_the_way_is_found(pair: Pair, snapshot: Snapshot) -> None:
    whole = inline(pair, snapshot)
    for place in range(len(whole)):
        pair.refuses(snapshot.id, whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
    for end in range(0, len(whole), 7):
        pair.refuses(snapshot.id, whole[:end])
    for more in (b"x", b"\0" * 100, whole):
        pair.refuses(snapshot.id, whole + more)
    pair.unchanged()


def test_any_lie_of_a_sender_is_found(pair: Pair, snapshot: Snapshot) -> None:
    """The same, by one who gives the right checksum for it."""
    records = taken_apart(inline(pair, snapshot))
    chosen = random.Random(4)
    for _ in range(200):
        forged = list(records)
        which = chosen.randrange(len(forged))
        parts = [bytearray(part) for part in forged[which][1:]]
        part = chosen.choice([part for part in parts if part])
        part[chosen.randrange(len(part))] ^= 1 << chosen.randrange(8)
        forged[which] = (forged[which][0], bytes(parts[0]), bytes(parts[1]), bytes(parts[2]))
        pair.refuses(snapshot.id, put_together(forged), missing=True)
    pair.unchanged()


def test_what_is_sent_is_what_was_announced(pair: Pair, snapshot: Snapshot) -> None:
    other = pair.sender.snap({b"a": b"other\n"}, base=pair.common, count=2)
    pair.refuses(other.id, inline(pair, snapshot), match="is snapshot")
    records = taken_apart(inline(pair, snapshot))
    stranger = (CONTENT, b"stranger\n", object_id("sha256", b"blob", b"stranger\n"), b"")
    pair.refuses(snapshot.id, put_together([*records, stranger]), match="does not belong to it")
    pair.refuses(snapshot.id, put_together([*records, records[-1]]), match="does not belong to it")
    pair.refuses(snapshot.id, put_together(records[1:]), match="where it cannot be")
    pair.refuses(snapshot.id, put_together([*records[1:], records[0]]), match="where it cannot be")
    pair.refuses(snapshot.id, put_together([records[0], *records]), match="where it cannot be")
    pair.refuses(snapshot.id, put_together([]), match="where it cannot be")
    pair.refuses(snapshot.id, put_together(records[:-1]), missing=True)
    for wrong in ("", "zz", snapshot.id.upper(), snapshot.id[:-1], snapshot.id + "\n"):
        with pytest.raises(Unsafe, match="is no id of 40 hex digits"):
            pair.victim.exchange.absorb(SnapshotId(wrong), inline(pair, snapshot))


NAMES = [
    b".hg/hgrc",
    b".HG/hgrc",
    b"d/.hg/hgrc",
    b".hg",
    b".h\xe2\x80\x8cg/hgrc",
    b"hg~1/hgrc",
    b"HG8B6C~2/hgrc",
    b".hg. /hgrc",
    b".hg::$INDEX_ALLOCATION/hgrc",
    b".git/hooks/post-checkout",
    b"d/.GIT/config",
    b"git~1",
    b"../outside",
    b"d/../../outside",
    b"./a",
    b"d//c",
    b"/etc/passwd",
    b"d/",
    b"a\\..\\b",
    b"line\nbreak",
    b"carriage\rreturn",
    b"n" * 256,
    b"/".join([b"d" * 200] * 21),
    b"/".join([b"d"] * 257),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_must_not_be_written(pair: Pair, snapshot: Snapshot, name: bytes) -> None:
    oid = ObjectId(object_id("sha256", b"blob", b"evil").hex())
    for edit in (
        Edit(path=RelPath(name), kind=Kind.FILE, oid=oid),
        Edit(path=RelPath(name), kind=Kind.SYMLINK, oid=oid),
        Edit(path=RelPath(name), kind=Kind.EXECUTABLE, source=RelPath(b"a")),
    ):
        header = format_header(snapshot, b"", [edit])
        evil = (CONTENT, b"evil", bytes.fromhex(oid), b"")
        pair.refuses(snapshot.id, put_together([(HEADER, header, b"", b""), *([evil] if edit.oid else [])]))
    marks = encode_marks({RelPath(name): b"a"})
    if len(name) < 256 and name.count(b"/") < 20:
        pair.refuses(
            snapshot.id,
            with_header(inline(pair, snapshot), snapshot.id, lambda h: format_header(h.snapshot, marks, h.edits)),
        )


def test_descriptions_that_cannot_be(pair: Pair, snapshot: Snapshot) -> None:
    pack = inline(pair, snapshot)

    def described(**changed: object) -> Callable[[Header], bytes]:
        return lambda header: format_header(replace(header.snapshot, **changed), header.marks, header.edits)  # type: ignore[arg-type]

    commit = snapshot.base.commit
    branches = [
        "",
        "a:b:c",
        "12",
        "tip",
        ".",
        "null",
        "line\nbreak",
        "default:",
        ":mark",
        " a",
        "-x",
        "b" * 1100,
        "a\0b",
        "\udcff",
    ]
    lies = [
        *(described(base=Base(commit=commit, branch=branch)) for branch in branches),
        described(base=Base(commit=CommitId("0" * 40), branch="default")),
        described(version=Version(((DeviceId("two-00000002"), 1), (DeviceId("one-00000001"), 1)))),
        described(version=Version.of({DeviceId("one\nx"): 1})),
        described(version=Version.of({DeviceId("one-00000001"): 1 << 50})),
        described(version=Version.of({DeviceId(f"d-{n:08x}"): 1 for n in range(2000)})),
        described(device="\x1b[2J"),
        described(device="x" * 5000),
        described(time=1 << 42),
        described(tree=TreeId("1" * 64)),
        described(parents=(SnapshotId("1" * 40),)),
        described(device="another"),
        lambda header: format_header(header.snapshot, b"x", header.edits),
        lambda header: format_header(header.snapshot, b"b\0a\0", header.edits),
        lambda header: format_header(header.snapshot, header.marks, reversed(header.edits)),
        lambda header: format_header(header.snapshot, header.marks, [*header.edits, header.edits[-1]]),
        lambda header: format_header(header.snapshot, header.marks, header.edits[:-1]),
        lambda header: format_header(
            header.snapshot,
            header.marks,
            sorted(
                [*header.edits, Edit(path=RelPath(b"a/b"), kind=Kind.FILE, source=RelPath(b"a"))], key=lambda e: e.path
            ),
        ),
        lambda header: format_header(
            header.snapshot,
            header.marks,
            sorted(
                [*header.edits, Edit(path=RelPath(b"z"), kind=Kind.FILE, source=RelPath(b"no such"))],
                key=lambda e: e.path,
            ),
        ),
        lambda header: format_header(header.snapshot, header.marks, header.edits)[:-1],
        lambda header: format_header(header.snapshot, header.marks, header.edits) + bytes(4),
        lambda header: bytes(9) + format_header(header.snapshot, header.marks, header.edits),
        lambda header: format_header(header.snapshot, header.marks, header.edits).replace(
            b"\0\0\0\x011", b"\0\0\0\x019", 1
        ),
    ]
    for lie in lies:
        pair.refuses(snapshot.id, with_header(pack, snapshot.id, lie), missing=True)
    pair.unchanged()


def bomb(size: int, content: bytes = b"\0") -> bytes:
    """Return a header that takes next to nothing, and unpacks to ``size`` bytes."""
    packer = zlib.compressobj(9)
    parts = [MAGIC, packer.compress(struct.pack(">cQ", HEADER, size))]
    parts += [packer.compress(content * (1 << 20)) for _ in range(size // len(content) >> 20)]
    return b"".join([*parts, packer.flush()])


def test_bombs_cost_little(pair: Pair, snapshot: Snapshot) -> None:
    claimed = wire.STREAM.header + 1
    pair.refuses(snapshot.id, bomb(claimed), match="more than the")
    with pytest.raises(Unsafe, match="more than the"):
        pair.victim.exchange.absorb(snapshot.id, bomb(8 << 20))
    records = taken_apart(inline(pair, snapshot))
    noise = (HISTORY, os.urandom(wire.INLINE.packed + (1 << 16)), b"", b"")
    with pytest.raises(Unsafe, match="more than the"):
        pair.victim.exchange.absorb(snapshot.id, put_together([records[0], noise, *records[1:]]))
    header = records[0]
    base = object_id("sha256", b"blob", LINES)
    new = next(oid for kind, _, oid, _ in records[1:] if kind == DELTA)
    # A few bytes that copy the same part again and again, and one that says it makes gigabytes.
    copies = b"\xb0\x00\x01" * 200_000
    size = len(LINES)
    for made, body in ((256 * 200_000, copies), (1 << 40, b""), (1 << 20, b"\xb0\xff\xff"), (10, b"\x00")):
        change = _varint(size) + _varint(made) + body
        forged = [header, (DELTA, change, new, base), *(each for each in records[1:] if each[2] != new)]
        pair.refuses(snapshot.id, put_together(forged))
    pair.unchanged()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def test_too_many_files_are_refused(snapshot: Snapshot) -> None:
    assert inspect.signature(parse_header).parameters["most"].default == admission.MOST_ENTRIES == 500_000
    edits = [Edit(path=RelPath(b"f%d" % n), kind=Kind.FILE, source=RelPath(b"a")) for n in range(3)]
    assert parse_header(snapshot.id, format_header(snapshot, b"", edits), most=3).edits == edits
    with pytest.raises(Unsafe, match="more than 2"):
        parse_header(snapshot.id, format_header(snapshot, b"", edits), most=2)


# -- history ------------------------------------------------------------------------------------


def streamed(pair: Pair, snapshot: Snapshot) -> Records:
    """Return what the sender serves of a snapshot on changesets that the victim lacks."""
    return taken_apart(served(snapshot, pair.sender, [pair.common.commit or ""]))


@pytest.fixture(scope="module")
def later(pair: Pair) -> Snapshot:
    """Return a snapshot on changesets that only the sender has."""
    return pair.sender.snap({b"a": b"later\n"}, base=pair.base)


def with_history(records: Records, bundle: bytes) -> bytes:
    return put_together(
        [(kind, bundle if kind == HISTORY else content, oid, base) for kind, content, oid, base in records]
    )


def history_of(records: Records) -> bytes:
    return next(content for kind, content, _, _ in records if kind == HISTORY)


def test_any_damage_of_history_is_found(pair: Pair, later: Snapshot) -> None:
    """Also with the right checksum: nothing of it counts as here afterwards."""
    records = streamed(pair, later)
    bundle = history_of(records)
    assert later.base.commit is not None
    words = range(len(bundle) - 56, len(bundle) - 8)  # phases are the sender's word
    refused = 0
    for place in {*range(0, len(bundle), 9), *range(120)}.difference(words):
        damaged = bundle[:place] + bytes([bundle[place] ^ 1 << place % 8]) + bundle[place + 1 :]
        with pair.victim.histories.scratch() as file:
            file.write(damaged)
            with pytest.raises((Unsafe, Missing)):
                pair.victim.histories.admit(later.base.commit, file, changegroups.FEW)
        refused += 1
    for end in range(0, len(bundle), 97):
        pair.refuses(later.id, with_history(records, bundle[:end]))
    figures.record("bad inputs refused", refused)
    assert pair.victim.store.bundle(later.base.commit) is None
    pair.unchanged()


PHASES = struct.Struct(">i20s")


def rewritten(bundle: bytes, old: bytes, new: bytes) -> bytes:
    assert bundle.count(old) >= 1
    assert len(old) == len(new)
    return bundle.replace(old, new)


def test_history_says_nothing_of_what_is_here(pair: Pair, later: Snapshot) -> None:
    """A phase of the victim's own changeset, say: to tell that it is public would publish it."""
    records = streamed(pair, later)
    bundle = history_of(records)
    assert later.base.commit is not None
    assert pair.common.commit is not None
    tip, own = bytes.fromhex(later.base.commit), bytes.fromhex(pair.common.commit)
    start, end = bundle[:-80], bundle[-80:]
    for phases in (rewritten(end, tip, own), rewritten(end, PHASES.pack(1, tip), PHASES.pack(7, tip))):
        pair.refuses(later.id, with_history(records, start + phases), match="tells the phase")
    pair.refuses(
        later.id, with_history(records, bundle.replace(b"targetphase2", b"targetphase0")), match="begins with the part"
    )
    pair.refuses(
        later.id, with_history(records, bundle.replace(b"version02", b"version01")), match="begins with the part"
    )
    pair.refuses(
        later.id, with_history(records, bundle.replace(b"CHANGEGROUP", b"changegroup")), match="begins with the part"
    )
    pair.refuses(
        later.id, with_history(records, bundle.replace(b"PHASE-HEADS", b"OBSMARKERS!")), match="goes on with the part"
    )
    pair.refuses(later.id, with_history(records, bundle + b"x"), match="after its end")
    pair.refuses(later.id, with_history(records, b"HG10UN" + bundle), match="not of the form")
    compressed = b"HG20" + struct.pack(">I", 14) + b"Compression=ZS" + zlib.compress(bundle[8:])
    pair.refuses(later.id, with_history(records, compressed), match="not of the form")
    assert pair.victim.store.bundle(later.base.commit) is None
    pair.unchanged()


def test_history_holds_what_was_announced_alone(pair: Pair, later: Snapshot, tmp_path: Path) -> None:
    records = streamed(pair, later)
    assert later.base.commit is not None
    root = copy_of(pair.sender.root, tmp_path / "more")
    commits = hg(root, "log", "-r", "all()", "-T", "{node}\n").decode().split()
    put(root, "a", b"stranger\n")
    stranger = commit_all(root, "stranger")
    hg(root, "update", "-q", "-r", commits[1])
    put(root, "b", b"another branch\n")
    commit_all(root, "another branch")
    with ends(root) as (other,):
        common = [CommitId(commits[0])]
        with other.histories.outgoing(CommitId(stranger.hex()), common, most=100) as found:
            assert found is not None
            pair.refuses(later.id, with_history(records, found[0].read()), match="does not end with changeset")
        with other.histories.outgoing(CommitId(commits[1]), common, most=100) as found:
            assert found is not None
            pair.refuses(later.id, with_history(records, found[0].read()), match="does not end with changeset")
        with other.histories.outgoing(later.base.commit, [CommitId(commits[1])], most=100) as found:
            assert found is not None
            lacking = with_history(records, found[0].read())
        with pytest.raises(Missing, match=f"builds on changeset {commits[1]}"):
            pair.victim.exchange.receive(later.id, io.BytesIO(lacking))
    assert pair.victim.store.bundle(later.base.commit) is None
    pair.unchanged()


def _chunk(content: bytes) -> bytes:
    return struct.pack(">i", len(content) + 4 if content else 0) + content


def _made(tip: bytes, groups: list[bytes]) -> bytes:
    """Return a bundle in our form around a changegroup of these groups."""
    header = (
        b"\x0bCHANGEGROUP"
        + bytes(4)
        + bytes([1, 2, 7, 2, 9, 1, 11, 1])
        + b"version02"
        + b"nbchanges1"
        + b"targetphase2"
    )
    body = b"".join([*groups, bytes(4)])
    pieces = b"".join(_piece(body[at : at + 32768]) for at in range(0, len(body), 32768))
    phases = b"\x0bPHASE-HEADS" + struct.pack(">I", 1) + b"\0\0"
    told = PHASES.pack(1, tip)
    return b"".join(
        [b"HG20" + bytes(4), _piece(header), pieces, bytes(4), _piece(phases), _piece(told), bytes(4), bytes(4)]
    )


def _piece(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


def _revision(node: bytes, base: bytes, link: bytes, *hunks: tuple[int, int, bytes]) -> bytes:
    delta = b"".join(struct.pack(">III", start, end, len(data)) + data for start, end, data in hunks)
    return _chunk(node + bytes(40) + base + link + delta)


def test_history_that_costs_more_than_it_weighs(pair: Pair, later: Snapshot) -> None:
    """Revisions that are each a byte away from a large one have to be put together one by one."""
    records = streamed(pair, later)
    assert later.base.commit is not None
    tip = bytes.fromhex(later.base.commit)
    null = bytes(20)
    changes = _revision(tip, null, tip, (0, 0, b"x" * 100)) + bytes(4)
    large = _revision(b"\1" * 20, null, tip, (0, 0, b"m" * 1_000_000))
    many = b"".join(_revision(struct.pack(">20s", b"%d" % n), b"\1" * 20, tip, (0, 1, b"n")) for n in range(1000))
    pair.refuses(
        later.id, with_history(records, _made(tip, [changes, large + many + bytes(4)])), match="revisions where"
    )
    files = [_chunk(b"f%d" % n) + large + bytes(4) for n in range(4)]
    with pair.victim.histories.scratch() as file:
        file.write(_made(tip, [changes, bytes(4), *files]))
        with pytest.raises(Unsafe, match="unpacks to more than the 3000000 bytes"):
            pair.victim.histories.admit(later.base.commit, file, replace(changegroups.FEW, made=3_000_000))
    for group in (
        [bytes(4), bytes(4)],
        [changes[:-4] * 2 + bytes(4), bytes(4)],
        [_revision(tip, null, null, (0, 0, b"x")) + bytes(4), bytes(4)],
        [changes, _revision(b"\2" * 20, null, null, (0, 0, b"x")) + bytes(4)],
        [changes, _revision(b"\2" * 20, null, tip, (5, 2, b"x")) + bytes(4)],
        [changes, _revision(b"\2" * 20, null, tip, (0, 9, b"x")) + bytes(4)],
        [changes, bytes(4), _chunk(b"f") + bytes(4), _chunk(b"f") + bytes(4)],
        [changes, bytes(4), _chunk(b"f" * 5000) + bytes(4)],
        [changes, struct.pack(">i", -7)],
        [changes, struct.pack(">i", 3)],
        [changes, _chunk(b"short"), bytes(4)],
        [changes, bytes(4), bytes(4), b"more"],
    ):
        pair.refuses(later.id, with_history(records, _made(tip, group)), match="The history that arrived")
    pair.refuses(later.id, with_history(records, _made(tip, [changes, bytes(4)])), match="cannot be read")
    assert pair.victim.store.bundle(later.base.commit) is None
    pair.unchanged()
