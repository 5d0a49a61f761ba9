"""Stored content becomes files as a checkout would write them, and texts are merged the same everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hg_repos import DEBIAN, copy_of, isolate, make_repository, rel, versions
from hgdesk import Desk, desks

from autosync.backends.hg.merging import merge_text
from autosync.core.model import Entry, Kind, ObjectId
from autosync.errors import Unsafe

LINES = [b"%d\n" % number for number in range(40)]


@pytest.fixture(params=["7.2", "6.9.5", "6.3.2"])
def by(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return versions(request.config.cache.mkdir("hg"))[request.param]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_repository(tmp_path_factory.mktemp("start") / "r", {"a": b"a\n"})


@pytest.fixture
def desk(start: bytes, tmp_path: Path) -> Iterator[Desk]:
    with desks(DEBIAN, copy_of(start, tmp_path / "r")) as (found,):
        yield found


def stage(desk: Desk, place: Path, files: dict[str, tuple[Kind, bytes]]) -> list[tuple[bytes, bool]]:
    """Return content (of a link: its target) and executable bit of each file as it was staged."""
    place.mkdir()
    entries = [Entry(kind=kind, oid=desk.store.put(content)) for kind, content in files.values()]
    desk.staging.stage(list(zip(rel(*files), entries, strict=True)), os.fsencode(place))
    found = []
    for index in range(len(files)):
        name = place / str(index)
        content = os.fsencode(os.readlink(name)) if name.is_symlink() else name.read_bytes()
        found.append((content, not name.is_symlink() and os.access(name, os.X_OK)))
    return found


class TestStaging:
    def test_every_kind(self, desk: Desk, tmp_path: Path) -> None:
        files = {
            "d/file": (Kind.FILE, b"one\r\ntwo\n\0"),
            "run": (Kind.EXECUTABLE, b""),
            "link": (Kind.SYMLINK, b"d/file"),
        }
        assert stage(desk, tmp_path / "s", files) == [(b"one\r\ntwo\n\0", False), (b"", True), (b"d/file", False)]

    def test_filters_of_the_user(self, start: bytes, tmp_path: Path, by: tuple[str, ...]) -> None:
        root = copy_of(start, tmp_path / "r")
        with open(os.path.join(root, b".hg/hgrc"), "w") as file:
            file.write("[decode]\n**.up = tr a-z A-Z\n")
        with desks(by, root) as (desk,):
            files = dict.fromkeys(("x.up", "d/y.up", "z"), (Kind.FILE, b"text\n"))
            files["link.up"] = (Kind.SYMLINK, b"text")
            expected = [(b"TEXT\n", False), (b"TEXT\n", False), (b"text\n", False), (b"text", False)]
            assert stage(desk, tmp_path / "s", files) == expected

    def test_the_eol_extension(self, start: bytes, tmp_path: Path, by: tuple[str, ...]) -> None:
        root = copy_of(start, tmp_path / "r")
        with open(os.path.join(root, b".hg/hgrc"), "w") as file:
            file.write("[extensions]\neol =\n")
        rules = b"[patterns]\n**.txt = CRLF\n"
        with desks(by, root) as (desk,):
            text = {"a.txt": (Kind.FILE, b"1\n2\n"), "run.txt": (Kind.EXECUTABLE, b"3\n"), "a.c": (Kind.FILE, b"1\n")}
            plain = [(content, kind is Kind.EXECUTABLE) for kind, content in text.values()]
            assert stage(desk, tmp_path / "without", text) == plain
            changed = [(b"1\r\n2\r\n", False), (b"3\r\n", True), (b"1\n", False)]
            arriving = {".hgeol": (Kind.FILE, rules), **text}
            assert stage(desk, tmp_path / "arriving", arriving) == [(rules, False), *changed]
            desk.put({".hgeol": rules})
            assert stage(desk, tmp_path / "there", text) == changed
            desk.put({".hgeol": b"[patterns]\n**.c = CRLF\n"})
            assert stage(desk, tmp_path / "others", text) == [*plain[:2], (b"1\r\n", False)]
            desk.put({".hgeol": b"no rules at all"})
            assert stage(desk, tmp_path / "broken", text) == plain
            os.unlink(os.path.join(root, b".hgeol"))
            assert stage(desk, tmp_path / "gone", text) == plain

    @pytest.mark.parametrize("target", [b"", b"a\0b"])
    def test_what_is_no_link(self, desk: Desk, tmp_path: Path, target: bytes) -> None:
        with pytest.raises(Unsafe, match="cannot be the target of a link"):
            stage(desk, tmp_path / "s", {"link": (Kind.SYMLINK, target)})

    def test_a_nested_repository(self, desk: Desk, tmp_path: Path) -> None:
        with pytest.raises(Unsafe, match="d/nested is a nested repository"):
            stage(desk, tmp_path / "s", {"d/nested": (Kind.NESTED, b"")})


class TestMerging:
    def merge(self, desk: Desk, *sides: bytes) -> bytes | None:
        """Return the merge of base, ours and theirs, which is that of base, theirs and ours."""
        base, ours, theirs = (desk.store.put(side) for side in sides)
        merged = merge_text(desk.open, desk.store.put, base, ours, theirs)
        assert merge_text(desk.open, desk.store.put, base, theirs, ours) == merged
        return None if merged is None else desk.open(ObjectId(merged)).whole()

    def test_lines_apart(self, desk: Desk) -> None:
        ours, theirs = [b"first\n", *LINES[1:]], [*LINES[:30], b"thirty\n", *LINES[31:]]
        base = b"".join(LINES)
        merged = b"".join([b"first\n", *LINES[1:30], b"thirty\n", *LINES[31:]])
        assert self.merge(desk, base, b"".join(ours), b"".join(theirs)) == merged
        assert self.merge(desk, base, base, b"".join(theirs)) == b"".join(theirs)
        assert self.merge(desk, base, b"".join(ours), b"".join(ours)) == b"".join(ours)

    def test_the_same_lines(self, desk: Desk) -> None:
        assert self.merge(desk, b"a\nb\nc\n", b"a\n1\nc\n", b"a\n2\nc\n") is None

    def test_what_is_no_text(self, desk: Desk) -> None:
        base = b"".join(LINES)
        assert self.merge(desk, base, b"\0" + base, base + b"end\n") is None
        large = b"x" * (4 << 20) + b"\n"
        assert self.merge(desk, base, large + base, base + b"end\n") is None
