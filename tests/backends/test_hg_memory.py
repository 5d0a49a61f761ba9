"""A changeset that is named in memory is the one that `hg commit` makes, for every version of hg."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hg_repos import (
    DEBIAN,
    NOW,
    Vanilla,
    commit_all,
    copy_of,
    fingerprint,
    head,
    hg,
    isolate,
    make_repository,
    named,
    opened,
    put,
    rel,
    stored,
    versions,
)

from autosync.backends.hg.repository import Repository
from autosync.backends.hgext.frames import Value
from autosync.core.model import RelPath
from autosync.errors import Missing, Unsupported
from tests import figures

LINES = b"".join(b"line %d\n" % number for number in range(60))
BASE = {
    "d/plain": LINES,
    "d/gone": b"x\n",
    "d/moved": LINES,
    "run": b"#!/bin/sh\n",
    "meta": b"\1\nfoo\n\1\nx",
    "binary": bytes(range(256)) * 40,
    "text.txt": b"a\r\nb\r\n",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}": b"u\n",
}
ODD = [
    b"latin \xe9",
    b"tab\tquote\"'\\",
    b" lead",
    b"trail ",
    b"-dash",
    b"set:x",
    b"*",
    b"#hash",
    b"a..b",
    b"\x01\x7f\xff",
]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["7.2", "6.9.5", "6.3.2"])
def by(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return versions(request.config.cache.mkdir("hg"))[request.param]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_repository(tmp_path_factory.mktemp("base") / "r", BASE)


Case = tuple[str, list[RelPath]]


class User:
    """Does to a working copy what people do."""

    def __init__(self, root: bytes, by: Sequence[str]) -> None:
        self.root, self.by = root, by
        self.hg = Vanilla(root, by)

    def commit(self, name: str, *args: str | bytes) -> None:
        """Commit; where .hgeol has changed with a fresh hg, which looks at it as it starts."""
        if name.startswith("eol"):
            hg(self.root, "commit", *args, by=self.by)
        else:
            self.hg("commit", *args)

    def cases(self) -> Iterator[Case]:
        """Change something, yield what it is called and where, once it is committed change the next."""
        put(self.root, "d/plain", LINES + b"more\n")
        yield "modify", rel("d/plain")
        put(self.root, "new/a", b"x")
        os.unlink(os.path.join(self.root, b"d/gone"))
        self.hg("addremove", "-q")
        yield "add and remove", rel("new/a", "d/gone")
        self.hg("mv", "d/moved", "zz")
        put(self.root, "zz", LINES + b"edited\n")
        yield "rename and edit", rel("d/moved", "zz")
        self.hg("cp", "binary", "copy")
        yield "copy", rel("copy")
        os.chmod(os.path.join(self.root, b"run"), 0o700)
        os.symlink(b"run", os.path.join(self.root, b"link"))
        self.hg("add", "link")
        yield "executable bit and symlink", rel("run", "link")
        put(self.root, "link", b"a file now")
        put(self.root, "empty")
        self.hg("add", "empty")
        yield "a file for a symlink, and an empty one", rel("link", "empty")
        put(self.root, "meta", b"\1\nbar\n\1\ny")
        put(self.root, "meta2", b"\1\n")
        self.hg("add", "meta2")
        yield "starts like metadata", rel("meta", "meta2")
        self.hg("branch", "-q", "br/\N{LATIN SMALL LETTER E WITH ACUTE}")
        put(self.root, "d/plain", b"on a branch\n")
        yield "named branch", rel("d/plain")
        put(self.root, "run", b"#!/bin/dash\n", executable=True)
        yield "named, but unchanged", rel("d/plain", "run", "never was")
        self.hg("mv", b"caf\xc3\xa9", b"\xc3\xb1")
        yield "UTF-8", [RelPath(b"caf\xc3\xa9"), RelPath(b"\xc3\xb1")]
        for name in ODD:
            put(self.root, name, name)
        self.hg("add", *(b"path:" + name for name in ODD))
        yield "odd names", [RelPath(name) for name in ODD]
        put(self.root, ".hgeol", b"[patterns]\n**.txt = CRLF\n[repository]\nnative = LF\n")
        put(self.root, "text.txt", b"a\r\nb\r\nc\r\n")
        self.hg("add", ".hgeol")
        yield "eol", rel(".hgeol", "text.txt")
        put(self.root, ".hgeol", b"[patterns]\ntext.txt = BIN\n")
        put(self.root, "text.txt", b"a\r\nd\r\n")
        yield "eol with other patterns", rel(".hgeol", "text.txt")


def test_it_is_what_hg_commits(base: bytes, tmp_path: Path, by: tuple[str, ...]) -> None:
    root = copy_of(base, tmp_path / "r")
    put(root, ".hg/hgrc", b"[extensions]\neol =\n")
    user = User(root, by)
    differing = {}
    count = 0
    with opened(root, by) as repo:
        for name, paths in user.cases():
            said = "w\N{LATIN SMALL LETTER O WITH DIAERESIS}rds  \n\n two\n".encode()
            before = fingerprint(root)
            branch = user.hg("branch").strip()
            node = named(repo, paths, user=b"A <a@x>", time=NOW, message=said, branch=branch)
            assert fingerprint(root) == before
            user.commit(name, "-m", said, "-d", f"{NOW} 0", "-u", "A <a@x>")
            if node.hex().encode() != user.hg("log", "-r", ".", "-T", "{node}"):
                differing[name] = user.hg("log", "-r", ".", "--debug", "-p")
            count += 1
    user.hg.close()
    assert differing == {}
    figures.record("hashes equal to hg commit", count)


def test_every_version_passes_the_test_at_start(base: bytes, tmp_path: Path, by: tuple[str, ...]) -> None:
    root = copy_of(base, tmp_path / "r")
    before = fingerprint(root)
    with opened(root, by) as repo:
        repo.check_hashes()
    assert fingerprint(root) == before


def test_lfs_is_stored_otherwise_but_the_hash_is_the_same(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "r")
    put(root, ".hg/hgrc", b"[extensions]\nlfs =\n[lfs]\ntrack = size('>1kB')\n")
    put(root, "big", bytes(range(256)) * 40)
    commit_all(root)
    put(root, "big", bytes(range(256)) * 41)
    put(root, ".hg/hgrc", b"[extensions]\nlfs =\n[lfs]\ntrack = size('>1kB')\n[x]\ny = 1\n")
    with opened(root) as repo:
        assert stored(repo, rel("big")) == {b"big": bytes(range(256)) * 41}
        node = named(repo, rel("big"))
    hg(root, "commit", "-m", "snapshot", "-d", f"{NOW + 1} 0")
    assert head(root) == node


class TestNaming:
    def test_before_the_first_commit(self, tmp_path: Path) -> None:
        root = make_repository(tmp_path / "r")
        path = put(root, "first", b"1")
        with opened(root) as repo:
            node = named(repo, [path])
        hg(root, "commit", "-Aqm", "snapshot", "-d", f"{NOW + 1} 0")
        assert head(root) == node

    def test_a_symlink_on_the_way_is_not_followed(self, tmp_path: Path) -> None:
        root = make_repository(tmp_path / "r", {"d/a": b"a"})
        os.unlink(os.path.join(root, b"d/a"))
        os.rmdir(os.path.join(root, b"d"))
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "a").write_bytes(b"secret")
        os.symlink(tmp_path / "outside", os.fsdecode(root) + "/d")
        with opened(root) as repo:
            found = stored(repo, rel("d/a", "d"))
        assert found == {b"d/a": None, b"d": os.fsencode(tmp_path / "outside")}

    def test_a_file_that_is_being_written_is_torn(self, tmp_path: Path) -> None:
        root = make_repository(tmp_path / "r", {"a": b"a", "b": b"b"})
        put(root, "b", b"whole")
        with opened(root) as repo:
            repo.server.identity()
            with open(os.path.join(root, b"a"), "wb", buffering=0) as file:
                file.truncate(1 << 32)  # so big that its write could go on for as long as the test takes
                assert stored(repo, rel("a", "b")) == {b"a": 0, b"b": b"whole"}
            put(root, "a", b"whole")
            assert stored(repo, rel("a", "b")) == {b"a": b"whole", b"b": b"whole"}

    def test_what_it_builds_on_must_be_here(self, tmp_path: Path) -> None:
        root = make_repository(tmp_path / "r", {"a": b"a"})
        question: dict[bytes, Value] = {b"parent": b"z" * 20, b"given": {b"a": [b"", b"x", b""]}}
        with opened(root) as repo, pytest.raises(Missing, match=f"changeset {b'z'.hex() * 20} is not here"):
            repo.server.ask("file-nodes", question)

    def test_tree_manifests_are_refused(self, tmp_path: Path) -> None:
        root = make_repository(tmp_path / "r", {"d/a": b"a"}, options=["--config", "experimental.treemanifest=1"])
        with pytest.raises(Unsupported, match=r"uses tree manifests \(treemanifest\)"):
            Repository(root)
        figures.record("bad inputs refused", 1)


def test_debian_has_its_own_version() -> None:
    assert hg(b"/", "version", "-q", by=DEBIAN).startswith(b"Mercurial Distributed SCM (version 6.")
