"""A file that an editor on this machine has open is left alone until it is closed; stale locks do not count."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autosync.apply.rename import Kernel
from autosync.core.model import Kind
from tests.edges.test_apply import Copy, op
from tests.figures import record
from tests.system.fleet import until

HOST = os.uname().nodename


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    copy = Copy(tmp_path / "copy", Kernel())
    yield copy
    copy.tree.close()


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def swap(pid: int, *, host: str = HOST, version: bytes = b"VIM 9.0") -> bytes:
    """Return what vim or nano put into their swap file."""
    fields = (b"b0", version.ljust(10, b"\0"), bytes(12), pid.to_bytes(4, "little"), b"you".ljust(40, b"\0"))
    return b"".join(fields) + host.encode()[:39].ljust(40, b"\0") + b"~you/notes.txt".ljust(900, b"\0")


def lock(copy: Copy, name: str, content: bytes) -> Path:
    path = copy.root / name
    path.write_bytes(content)
    return path


def by(program: str, pid: int | None = None) -> str:
    return f"open in {program} here (process {pid or os.getpid()}); it is brought in when you close it"


# -- whose lock it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (".a.txt.swp", swap(os.getpid()), by("vim")),
        (".a.txt.swo", swap(os.getpid()), by("vim")),
        (".a.txt.swp", swap(os.getpid(), version=b"nano 7.2"), by("nano")),
        (".a.txt.swp", swap(os.getpid(), version=b"\xff\xff"), by("an editor")),
        (".a.txt.swp", swap(os.getpid(), host=HOST + ".example.org"), by("vim")),
        (".#a.txt", f"you@{HOST}.{os.getpid()}:1795256100".encode(), by("Emacs")),
        (".#a.txt", f"you@example.org@{HOST}.{os.getpid()}".encode(), by("Emacs")),
        (
            ".~lock.a.txt#",
            f"You\\, Yourself,you,{HOST},21.11.2026 10:00,file:///home/you;".encode(),
            "open in LibreOffice here (.~lock.a.txt#); it is brought in when you close it",
        ),
    ],
    ids=["vim", "a second vim", "nano", "another editor", "a long host name", "Emacs", "Emacs, no time", "LibreOffice"],
)
def test_a_lock_of_this_machine_keeps_the_file_and_no_other(copy: Copy, name: str, content: bytes, reason: str) -> None:
    old, new, other = copy.write("a.txt", b"old"), copy.entry(b"new"), copy.write("b.txt", b"other")
    there = lock(copy, name, content)
    operations = (op("a.txt", old, new), op("b.txt", other, new), op("c.txt", None, new))
    done, refused = copy.apply(*operations)
    assert done == {"b.txt": new, "c.txt": new}
    assert refused == {"a.txt": reason}
    assert (copy.root / "a.txt").read_bytes() == b"old"
    there.unlink()
    assert copy.apply(*operations) == (dict.fromkeys(("a.txt", "b.txt", "c.txt"), new), {})


def test_a_link_is_what_emacs_locks_with(copy: Copy) -> None:
    old = copy.write("a.txt", b"old")
    (copy.root / ".#a.txt").symlink_to(f"you@{HOST}.{os.getpid()}:1795256100")
    assert copy.apply(op("a.txt", old, copy.entry(b"new")))[1] == {"a.txt": by("Emacs")}


def test_an_open_file_is_neither_deleted_nor_renamed(copy: Copy) -> None:
    gone, moved, hidden = (copy.write(n, n.encode()) for n in ("gone", "moved", ".hidden"))
    for name in (".gone.swp", ".moved.swp", ".hidden.swp"):
        lock(copy, name, swap(os.getpid()))
    done, refused = copy.apply(op("gone", gone, None), op(".hidden", hidden, None), op("to", None, moved, "moved"))
    assert done == {}
    assert refused == dict.fromkeys(("gone", ".hidden", "moved", "to"), by("vim"))
    (copy.root / ".hidden.swp").rename(copy.root / "..hidden.swp")  # as nano calls it
    assert copy.apply(op(".hidden", hidden, None))[1] == {".hidden": by("vim")}


def test_a_new_name_and_new_permissions_disturb_nobody(copy: Copy) -> None:
    script = copy.write("run", b"#!")
    for name in (".run.swp", ".new.swp"):
        lock(copy, name, swap(os.getpid()))
    executable = copy.entry(b"#!", Kind.EXECUTABLE)
    assert copy.apply(op("run", script, executable), op("new", None, script))[1] == {}


# -- what does not count ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (".a.txt.swp", swap),
        (".a.txt.swp", lambda _: swap(os.getpid(), host="another-machine")),
        (".a.txt.swp", lambda _: swap(os.getpid())[:100]),
        (".a.txt.swp", lambda _: b""),
        (".a.txt.swp", lambda _: b"\0" * 2000),
        (".a.txt.swp", lambda _: swap(0)),
        (".a.txt.swp", lambda _: swap(2**32 - 1)),
        (".#a.txt", lambda ended: f"you@{HOST}.{ended}".encode()),
        (".#a.txt", lambda _: f"you@another-machine.{os.getpid()}".encode()),
        (".#a.txt", lambda _: b"\xff" * 2000),
        (".#a.txt", lambda _: f"you@{HOST}.-1".encode()),
        (".~lock.a.txt#", lambda _: b",you,another-machine,21.11.2026 10:00,file:///home/you;"),
        (".~lock.a.txt#", lambda _: b"\xff\0,;"),
    ],
)
def test_what_is_stale_or_foreign_or_no_lock_at_all_holds_nothing_back(
    copy: Copy, ended: int, name: str, make: Callable[[int], bytes]
) -> None:
    old, new = copy.write("a.txt", b"old"), copy.entry(b"new")
    lock(copy, name, make(ended))
    assert copy.apply(op("a.txt", old, new)) == ({"a.txt": new}, {})
    record("bad inputs refused", 1)


def test_things_that_are_no_files_are_no_locks(copy: Copy) -> None:
    old, new = copy.write("a.txt", b"old"), copy.entry(b"new")
    os.mkfifo(copy.root / ".a.txt.swp")
    (copy.root / ".a.txt.swo").symlink_to("/etc/passwd")
    (copy.root / ".~lock.a.txt#").mkdir()
    assert copy.apply(op("a.txt", old, new)) == ({"a.txt": new}, {})


def test_a_number_that_another_process_has_by_now_does_not_count(copy: Copy) -> None:
    old, new = copy.write("a.txt", b"old"), copy.entry(b"new")
    there = lock(copy, ".a.txt.swp", swap(os.getpid()))
    os.utime(there, (1_700_000_000, 1_700_000_000))  # written before this process was started
    assert copy.apply(op("a.txt", old, new)) == ({"a.txt": new}, {})


def test_a_process_that_has_ended_but_is_not_waited_for_does_not_count(copy: Copy) -> None:
    old, new = copy.write("a.txt", b"old"), copy.entry(b"new")
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        lock(copy, ".a.txt.swp", swap(process.pid))
        assert copy.apply(op("a.txt", old, new)) == ({"a.txt": new}, {})


def test_a_second_editor_counts_when_the_first_has_crashed_or_gone(copy: Copy, ended: int) -> None:
    old, new = copy.write("a.txt", b"old"), copy.entry(b"new")
    lock(copy, ".a.txt.swp", swap(ended))
    lock(copy, ".a.txt.swo", swap(ended))
    lock(copy, ".a.txt.swn", swap(os.getpid()))
    assert copy.apply(op("a.txt", old, new))[1] == {"a.txt": by("vim")}


def test_a_name_with_no_room_for_a_lock_has_none(copy: Copy) -> None:
    name = "n" * 255
    old, new = copy.write(name, b"old"), copy.entry(b"new")
    assert copy.apply(op(name, old, new)) == ({name: new}, {})


# -- real ones --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "program", "name", "changed"),
    [
        (("vim", "-u", "NONE"), "vim", ".a.txt.swp", b"ld"),
        (("nano", "-G"), "nano", ".a.txt.swp", b"xold"),
        (("emacs", "-nw", "-Q"), "Emacs", ".#a.txt", b"xold"),
    ],
)
def test_real_editors_are_recognised(
    copy: Copy, argv: tuple[str, ...], program: str, name: str, changed: bytes
) -> None:
    old, new = copy.write("a.txt", b"old"), copy.entry(b"new")
    with tempfile.TemporaryDirectory(prefix="tmux-") as directory:
        tmux = ("tmux", "-S", f"{directory}/s", "-f", "/dev/null")
        environment = {**os.environ, "TERM": "screen", "HOME": directory}
        subprocess.run(
            [*tmux, "new-session", "-d", "-s", "e", "-c", copy.root, *argv, "a.txt"], check=True, env=environment
        )
        try:
            shown = [*tmux, "capture-pane", "-p", "-t", "e"]
            until(lambda: b"old" in subprocess.check_output(shown).split())
            pid = int(subprocess.check_output([*tmux, "display-message", "-p", "-t", "e", "#{pane_pid}"]))
            subprocess.run([*tmux, "send-keys", "-t", "e", "x"], check=True)  # Emacs locks with the first change
            # Nano makes its lock anew with the first change.
            until(lambda: changed in subprocess.check_output(shown).split() and os.path.lexists(copy.root / name))
            assert copy.apply(op("a.txt", old, new))[1] == {"a.txt": by(program, pid)}
        finally:
            subprocess.run([*tmux, "kill-server"], check=True)
    until(lambda: copy.apply(op("a.txt", old, new))[1] == {})
    assert (copy.root / "a.txt").read_bytes() == b"new"
