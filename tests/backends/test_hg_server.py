"""hg's process is started, told apart from its user's settings, survived and ended."""

from __future__ import annotations

import array
import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hg_repos import copy_of, head, isolate, make_repository, opened, put, rel

from autosync.backends.hg.once import version_of
from autosync.backends.hg.repository import Repository
from autosync.backends.hg.server import HgEnded, HgFailed, Server
from autosync.errors import AutosyncError, NotAWorkingCopy, TransientError, Unsupported
from tests import figures
from tests.waiting import freeze, until


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolate(tmp_path / "home").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_repository(tmp_path_factory.mktemp("base") / "r", {"a": b"a\n", "d/b": b"b\n"})


@pytest.fixture
def root(base: bytes, tmp_path: Path) -> bytes:
    return copy_of(base, tmp_path / "r")


@pytest.fixture
def server(root: bytes) -> Iterator[Server]:
    made = Server(root)
    yield made
    made.close()


def state(pid: int) -> str:
    """Return the letter that proc(5) has for a process's state; ``Z`` for one that is gone altogether, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def gone(pid: int) -> bool:
    """Return whether a process has ended (and is perhaps not yet waited for)."""
    return state(pid) == "Z"


def unread(server: Server) -> int:
    """Return the number of bytes that a stopped process has been sent."""
    assert server._process is not None  # the pipe's other end is nowhere to be asked: hg moves it away from 0
    found = array.array("i", [0])
    fcntl.ioctl(cast(BinaryIO, server._process.stdin), termios.FIONREAD, found)
    return found[0]


class TestLiving:
    def test_it_starts_with_the_first_question_and_ends_when_closed(self, server: Server) -> None:
        assert server.pid is None
        assert server.identity().text(b"hg").startswith(b"7.2")
        pid = server.pid
        assert pid is not None
        server.close()
        assert server.pid is None
        assert gone(pid)
        server.close()
        assert server.ask("standing").text(b"branch") == b"default"

    def test_killed_while_it_is_asked(self, server: Server) -> None:
        server.identity()
        for _ in range(3):
            pid = server.pid
            assert pid is not None
            freeze(pid)
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(server.ask, "standing")
                until(lambda: unread(server))
                os.kill(pid, signal.SIGKILL)
                with pytest.raises(TransientError, match="ended unexpectedly") as caught:
                    asked.result(30)
            assert isinstance(caught.value, HgEnded)
            assert caught.value.code == -signal.SIGKILL
            assert server.ask("standing").text(b"branch") == b"default"
            assert server.pid not in {None, pid}
        figures.record("kills survived", 3)

    def test_closed_while_it_does_not_answer(self, server: Server) -> None:
        server.identity()
        pid = server.pid
        assert pid is not None
        freeze(pid)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(server.ask, "standing")
            until(lambda: unread(server))
            server.close()
            with pytest.raises(HgEnded):
                asked.result(30)
        assert gone(pid)

    def test_killed_while_it_is_idle(self, server: Server) -> None:
        server.identity()
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: gone(pid))
        assert server.ask("standing").text(b"branch") == b"default"
        figures.record("kills survived", 1)

    def test_it_does_not_outlive_us(self, root: bytes) -> None:
        program = (
            "import sys, os, signal; from autosync.backends.hg.server import Server\n"
            "server = Server(os.fsencode(sys.argv[1])); server.identity(); print(server.pid, flush=True)\n"
            "signal.pause()"
        )
        with subprocess.Popen([sys.executable, "-c", program, root], stdout=subprocess.PIPE, text=True) as we:
            assert we.stdout is not None
            pid = int(we.stdout.readline())
            assert not gone(pid)
            we.kill()
        until(lambda: gone(pid))
        figures.record("kills survived", 1)

    def test_many_may_ask_at_once(self, server: Server) -> None:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: server.ask("standing").text(b"branch"), range(40)))
        assert found == [b"default"] * 40

    def test_an_interrupt_of_the_terminal_is_not_for_it(self, server: Server) -> None:
        server.identity()
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)

    def test_what_hg_itself_can_be_told(self, server: Server, root: bytes) -> None:
        code, output, errors = server.run(b"log", b"-r", b".", b"-T", b"{node}")
        assert (code, output, errors) == (0, head(root).hex().encode(), b"")
        code, output, errors = server.run(b"log", b"-r", b"nosuch")
        assert (code, output) == (255, b"")
        assert b"unknown revision" in errors
        assert server.run(b"import", b"-q", b"--no-commit", b"-", input=_PATCH)[0] == 0
        assert Path(os.fsdecode(root), "a").read_bytes() == b"patched\n"

    def test_a_failure_inside_does_not_end_it(self, server: Server) -> None:
        server.identity()
        pid = server.pid
        with pytest.raises(HgFailed, match=r"(?s)Asking hg for nonsense failed: .*KeyError: b'nonsense'"):
            server.ask("nonsense")
        assert server.ask("standing").text(b"branch") == b"default"
        assert server.pid == pid

    def test_what_hg_may_not_or_cannot_read_is_told_in_words(self, server: Server, root: bytes) -> None:
        manifest = os.path.join(root, b".hg", b"store", b"00manifest.i")
        with open(manifest, "r+b") as file:
            content = file.read()
            file.seek(len(content) - 3)
            file.write(b"xyz")
        with pytest.raises(AutosyncError, match=r"hg cannot read what it has stored: .*decompress") as damaged:
            server.ask("manifest", {b"node": head(root)})
        assert (type(damaged.value), "Traceback" in damaged.value.title) == (AutosyncError, False)
        os.unlink(manifest)
        os.mkdir(manifest)
        server.close()
        with pytest.raises(IsADirectoryError) as place:
            server.ask("manifest", {b"node": head(root)})
        assert place.value.filename == manifest
        figures.record("bad inputs refused", 2)


_PATCH = b"--- a/a\n+++ b/a\n@@ -1,1 +1,1 @@\n-a\n+patched\n"

_UNPLEASANT = """
[hooks]
pre-serve = touch {mark}
post-serve = touch {mark}
pre-autosync-answer = touch {mark}
post-autosync-answer = touch {mark}
fail-autosync-answer = touch {mark}
pretxnopen = touch {mark}
pretxncommit = touch {mark}
precommit = touch {mark}
commit = touch {mark}
[alias]
autosync-answer = !touch {mark}
serve = log
[defaults]
serve = --verbose
autosync-answer = --debug
[ui]
verbose = true
debug = true
color = always
statuscopies = true
[commands]
status.verbose = true
[experimental]
copies.write-to = changeset-only
[extensions]
odd = {extension}
rebase =
broken = /no/such/file.py
"""
_ODD = """
from mercurial import dirstate, extensions
print("hello from an extension")
def uisetup(ui):
    print("and again")
def reposetup(ui, repo):
    class odd(repo.__class__):
        def status(self, *args, **named):
            raise Exception("odd")
    repo.__class__ = odd
"""


class TestSettings:
    def test_the_users_settings_change_no_answer_and_run_no_hook(self, root: bytes, tmp_path: Path) -> None:
        put(root, "a", b"changed\n")
        put(root, "new", b"new\n")
        with opened(root) as repo:
            plain = repo.standing(), repo.status()
        (tmp_path / "odd.py").write_text(_ODD)
        mark = tmp_path / "mark"
        (tmp_path / "home" / "hgrc").write_text(_UNPLEASANT.format(mark=mark, extension=tmp_path / "odd.py"))
        with opened(root) as repo:
            assert (repo.standing(), repo.status()) == plain
            repo.check_hashes()
            assert repo.server.identity().texts(b"extensions") == [b"autosync"]
        assert not mark.exists()

    def test_the_users_shell_steers_nothing(self, root: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HGPLAINEXCEPT", "alias")
        monkeypatch.setenv("HGENCODING", "ascii")
        monkeypatch.setenv("HGUSER", "Somebody")
        with opened(root) as repo:
            assert repo.server.identity().text(b"user") == b"User <user@example.org>"
            assert repo.server.run(b"debuginstall", b"-T", b"{encoding}")[1] == b"utf-8"

    def test_changed_settings_are_read_again(self, root: bytes, tmp_path: Path) -> None:
        put(root, "x.orig", b"")
        with opened(root) as repo:
            assert repo.status().unknown == (b"x.orig",)
            assert repo.server.identity().texts(b"extensions") == [b"autosync"]
            (tmp_path / "ignored").write_text("syntax: glob\n*.orig\n")
            put(root, ".hg/hgrc", f"[ui]\nignore.mine = {tmp_path}/ignored\n[extensions]\neol =\n")
            assert repo.status().unknown == ()
            assert repo.server.identity().texts(b"extensions") == [b"autosync", b"eol"]

    def test_a_file_of_a_peer_is_never_executed(self, root: bytes, tmp_path: Path) -> None:
        for name in (
            "json.py",
            "struct.py",
            "mercurial/__init__.py",
            "sitecustomize.py",
            "hgext/__init__.py",
            "zlib.py",
        ):
            put(root, name, f"open({str(tmp_path / 'mark')!r}, 'w')\n")
        with opened(root) as repo:
            repo.status()
            repo.check_hashes()
        assert not (tmp_path / "mark").exists()


class TestRefusing:
    @pytest.mark.parametrize(
        ("hg", "says"),
        [
            (("/no/such/hg",), "/no/such/hg cannot be started: No such file or directory"),
            (("/etc/passwd",), "/etc/passwd cannot be started: Permission denied"),
            (("sh", "-c", "yes"), "sh does not answer as hg does"),
            (("/etc/passwd/hg",), "/etc/passwd/hg cannot be started: Not a directory"),
            (("true",), "hg cannot open .*: no message"),
        ],
    )
    def test_what_is_no_hg(self, root: bytes, hg: tuple[str, ...], says: str) -> None:
        with opened(root, hg) as repo, pytest.raises((Unsupported, NotAWorkingCopy), match=says):
            repo.standing()
        figures.record("bad inputs refused", 1)

    def test_what_is_no_program(self, root: bytes, tmp_path: Path) -> None:
        program = tmp_path / "hg"
        program.write_bytes(b"neither a script nor a program\n")
        program.chmod(0o755)
        says = re.escape(f"{program} cannot be started: Exec format error")
        with opened(root, [os.fspath(program)]) as repo, pytest.raises(Unsupported, match=says):
            repo.server.identity()
        with pytest.raises(Unsupported, match=says):
            version_of([os.fspath(program)])
        figures.record("bad inputs refused", 2)

    def test_what_is_no_working_copy(self, tmp_path: Path) -> None:
        with pytest.raises(NotAWorkingCopy, match=re.escape(f"{tmp_path} is not an hg working copy")) as caught:
            Repository(os.fsencode(tmp_path))
        assert caught.value.hint == f"Run: hg init {tmp_path}"

    @pytest.mark.parametrize(
        ("file", "name", "says"),
        [
            ("requires", "largefiles", "uses the largefiles extension (largefiles)"),
            ("store/requires", "narrowhg-experimental", "uses a narrow clone (narrowhg-experimental)"),
            ("requires", "exp-sparse", "uses a sparse checkout (exp-sparse)"),
            ("store/requires", "treemanifest", "uses tree manifests (treemanifest)"),
        ],
    )
    def test_what_it_needs(self, root: bytes, file: str, name: str, says: str) -> None:
        with Path(os.fsdecode(root), ".hg", file).open("a", encoding="ascii") as requires:
            requires.write(name + "\n")
        with pytest.raises(Unsupported, match=re.escape(says)):
            Repository(root)
        figures.record("bad inputs refused", 1)

    def test_what_nobody_knows(self, root: bytes) -> None:
        with Path(os.fsdecode(root), ".hg/requires").open("a", encoding="ascii") as requires:
            requires.write("from-the-future\n")
        with opened(root) as repo, pytest.raises(Unsupported, match=r"needs another Mercurial: .*from-the-future"):
            repo.standing()
        figures.record("bad inputs refused", 1)

    def test_a_share_whose_source_is_gone(self, root: bytes, tmp_path: Path) -> None:
        metadata = Path(os.fsdecode(root), ".hg")
        (metadata / "requires").write_text("shared\nshare-safe\n")
        (metadata / "sharedpath").write_text(str(tmp_path / "source/.hg"))
        with pytest.raises(NotAWorkingCopy, match=r"shares the repository .*/source/.hg, which is not there"):
            Repository(root)
        figures.record("bad inputs refused", 1)

    def test_subrepositories(self, root: bytes) -> None:
        with opened(root) as repo:
            put(root, ".hgsub", b"sub = ../sub\n")
            for ask in (repo.standing, repo.status, lambda: repo.contents(rel("a")) and repo.standing()):
                with pytest.raises(Unsupported, match=r"it has subrepositories \(.hgsub\)"):
                    ask()
        with pytest.raises(Unsupported, match=r"it has subrepositories \(.hgsub\)"):
            Repository(root)
        figures.record("bad inputs refused", 1)


def test_closing_while_another_thread_asks_lets_it_finish(server: Server) -> None:
    server.identity()
    begun = threading.Event()

    def ask() -> bytes:
        begun.set()
        return server.ask("standing").text(b"branch")

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        begun.wait(30)
        server.close()
        assert asked.result(30) == b"default"
