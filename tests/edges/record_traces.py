"""Records what the watcher tells of real programs, for the corpus in tests/core/traces.

The pauses within a program are part of what is recorded: they are a typist's, a slow server's, a log's.

Run ``python -m tests.edges.record_traces [NAME…]`` to make the traces again; it needs vim, nano,
emacs, tmux, git, curl, tar, zip, unzip and gio (Debian: libglib2.0-bin).  tests/core/test_traces.py says what
each must come to, so that a trace of another machine or version is as good as these.

A trace is JSON: ``before`` and ``after`` are the files (path: content id), ``steps`` what was
told at once: ``at`` is in seconds, ``hints`` are texts (``touch path``, ``moved in path < source``,
``!`` after it for a fresh source), ``states`` what stood at these paths right then (content id,
``dir``, or null for nothing) and all below it for a ``subtree``.  A content id is the size and
the beginning of the SHA-256.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from autosync.core.events import PathHint, Touch
from autosync.core.model import RelPath
from autosync.watch import TreeWatcher
from tests.waiting import until

TRACES = Path(__file__).parents[1] / "core" / "traces"
QUIET = 0.4  # seconds without an event: the program is done
TEXT = "".join(f"line {n}\n" for n in range(20))


class Recorder:
    """Writes down what a watcher tells, with what stands there at that moment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[dict[str, object]] = []
        self.began = time.monotonic()
        self.last = self.began

    def paths_changed(self, hints: Sequence[PathHint]) -> None:
        self.last = time.monotonic()
        states = {}
        for hint in hints:
            path = os.fsdecode(hint.path)
            states[path] = state(self.root / path)
            if hint.touch is Touch.SUBTREE:
                states |= {f"{path}/{below}": found for below, found in files(self.root / path).items()}
        self.steps.append(
            {
                "at": round(self.last - self.began, 6),
                "hints": [write_down(hint) for hint in hints],
                "states": states,
            }
        )

    def metadata_changed(self) -> None:
        """Not of the working copy."""

    def root_vanished(self) -> None:
        raise AssertionError("the recorded folder is gone")

    def wait_until_quiet(self) -> None:
        while time.monotonic() - self.last < QUIET:
            time.sleep(QUIET / 4)


def write_down(hint: PathHint) -> str:
    """Return a hint as a text."""
    text = f"{hint.touch.value} {os.fsdecode(hint.path)}"
    if hint.source is not None:
        text += f" < {os.fsdecode(hint.source)}"
    return text + ("!" if hint.fresh_source else "")


def state(path: Path) -> str | None:
    """Return what stands at ``path``."""
    try:
        if path.is_symlink():
            return f"link {path.readlink()}"
        if path.is_dir():
            return "dir"
        content = path.read_bytes()
    except OSError:
        return None
    return f"{len(content)} {hashlib.sha256(content).hexdigest()[:8]}"


def files(root: Path) -> dict[str, str | None]:
    """Return all files below ``root`` but those of .git."""
    found = sorted(path for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
    rels = [path.relative_to(root) for path in found]
    return {str(rel): state(root / rel) for rel in rels if rel.parts[0] != ".git"}


def record(name: str, prepare: Callable[[Path], None], act: Callable[[Path], None]) -> None:
    """Record one trace; the pair of functions gets a folder outside and the root in it."""
    # Not below /tmp: vim ('backupskip') and Emacs save without a backup there.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        prepare(root)
        before = files(root)
        recorder = Recorder(root)
        watcher = TreeWatcher(
            os.fsencode(root),
            metadata_directories=tuple,
            excluded=frozenset({b".git", b".hg"}),
            ignored=nothing_ignored,
            listener=recorder,
            rescan_interval=60.0,
        )
        watcher.start()
        recorder.began = recorder.last = time.monotonic()
        act(root)
        recorder.wait_until_quiet()
        watcher.stop()
        trace = {"before": before, "steps": recorder.steps, "after": files(root)}
    text = ",\n".join(f"{json.dumps(key)}: {_lines(value)}" for key, value in trace.items())
    (TRACES / f"{name}.json").write_text("{\n" + text + "\n}\n")
    print(f"{name}: {len(recorder.steps)} steps")


def _lines(value: object) -> str:
    """Return a list with a step on each line, all else on one."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
    return json.dumps(value)


def nothing_ignored(_paths: Sequence[RelPath]) -> frozenset[RelPath]:
    """Return nothing, so that temporary files are in the traces too."""
    return frozenset()


# -- how the programs are driven ------------------------------------------------------------


def run(*command: str | Path, cwd: Path) -> None:
    quiet = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_DATE": "@0 +0000"}
    subprocess.run(command, cwd=cwd, env=quiet, check=True, capture_output=True)


def type_into(command: str, *keys: str, root: Path) -> None:
    """Run an editor in a terminal and type; the pauses are a fast typist's."""
    with tempfile.TemporaryDirectory() as sockets:
        tmux = ["tmux", "-S", f"{sockets}/tmux", "-f", "/dev/null"]
        # Without a home of its own the editor would use the settings of whoever records.
        inner = f"env HOME={sockets} TERM=screen {command}"
        subprocess.run([*tmux, "new-session", "-d", "-x", "80", "-y", "24", "-c", str(root), inner], check=True)
        screen = [*tmux, "capture-pane", "-p"]
        until(lambda: b"line 1" in subprocess.run(screen, check=True, capture_output=True).stdout)
        for key in keys:
            subprocess.run([*tmux, "send-keys", key], check=True)
            time.sleep(0.15)
        # When the editor has ended, tmux ends with it.
        until(lambda: subprocess.run([*tmux, "has-session"], check=False, capture_output=True).returncode != 0)


def notes(root: Path) -> None:
    (root / "notes.txt").write_text(TEXT)


def vim(root: Path, *, setting: str = "") -> None:
    settings = f"--cmd 'set {setting}'" if setting else ""
    type_into(f"vim -N -u NONE {settings} notes.txt", "ohello", "Escape", ":w", "Enter", ":q", "Enter", root=root)


def nano(root: Path) -> None:
    type_into("nano --ignorercfiles --locking notes.txt", "hello", "C-o", "Enter", "C-x", root=root)


def emacs(root: Path) -> None:
    keys = ("hello", "C-x", "C-s", "C-x", "C-c")
    type_into("emacs -nw -Q --eval '(setq auto-save-interval 20)' notes.txt", "a typed line ", *keys, root=root)


def sed(root: Path) -> None:
    run("sed", "-i", "s/line 7/line seven/", "notes.txt", cwd=root)


def gio(root: Path) -> None:
    """GLib's g_file_replace, which is what gedit saves with."""
    subprocess.run(["gio", "save", "notes.txt"], input=b"saved by GLib\n", cwd=root, check=True)


def libreoffice_style(root: Path) -> None:
    """The system calls of LibreOffice 7.4 when it opens, saves and closes a document."""
    (root / ".~lock.notes.odt#").write_text(",me,here,21.11.2026 10:15,file:///;")
    with (root / "lu4711x8k2.tmp").open("wb") as new:
        for n in range(40):
            new.write(bytes([n]) * 8192)
            new.flush()
            time.sleep(0.004)
        os.fsync(new.fileno())
    time.sleep(0.01)
    (root / "lu4711x8k2.tmp").rename(root / "notes.odt")
    time.sleep(0.1)
    (root / ".~lock.notes.odt#").unlink()


def document(root: Path) -> None:
    (root / "notes.odt").write_bytes(b"odt" * 10_000)


def two_branches(root: Path) -> None:
    run("git", "init", "-q", "-b", "main", cwd=root)
    run("git", "config", "user.name", "me", cwd=root)
    run("git", "config", "user.email", "me@example.org", cwd=root)
    many_files(root, 200, "main")
    run("git", "add", ".", cwd=root)
    run("git", "commit", "-qm", "main", cwd=root)
    run("git", "checkout", "-qb", "other", cwd=root)
    many_files(root, 200, "other")
    (root / "only-here").mkdir()
    (root / "only-here/file").write_text("only on the other branch\n")
    shutil.rmtree(root / "d3")
    run("git", "add", "-A", ".", cwd=root)
    run("git", "commit", "-qm", "other", cwd=root)
    run("git", "checkout", "-q", "main", cwd=root)


def checkout(root: Path) -> None:
    run("git", "checkout", "-q", "other", cwd=root)


def many_files(root: Path, count: int, word: str) -> None:
    for n in range(count):
        directory = root / f"d{n % 10}/e{n % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{n}.txt").write_text(f"{word} {n}\n" * (n % 50))


def nothing(_root: Path) -> None:
    """Begin with an empty folder."""


def unzip(root: Path, archive: Path) -> None:
    run("unzip", "-q", archive, cwd=root)


def untar(root: Path, archive: Path) -> None:
    run("tar", "xf", archive, cwd=root)


def directory_of_files(root: Path) -> None:
    many_files(root, 60, "here")


def move_directory(root: Path) -> None:
    run("mv", "d3", "moved", cwd=root)


def move_file(root: Path) -> None:
    run("mv", "notes.txt", "renamed.txt", cwd=root)


def download_beside_a_save(root: Path) -> None:
    """curl takes 3 seconds for a file; meanwhile sed saves another."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _SlowServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with subprocess.Popen(["curl", "-sN", "-o", "big.iso", url], cwd=root) as curl:
            until(lambda: (root / "big.iso").exists() and (root / "big.iso").stat().st_size > 100_000)
            sed(root)
            curl.wait()
        server.shutdown()


class _SlowServer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for n in range(30):
            self.wfile.write(bytes([n]) * 10_000)
            time.sleep(0.1)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def log_kept_open(root: Path) -> None:
    """A line every 30 ms for 4 seconds by a program that keeps its log open."""
    with (root / "notes.txt").open("a") as log:
        for n in range(130):
            log.write(f"entry {n}\n")
            log.flush()
            time.sleep(0.03)


def log_opened_for_each_line(root: Path) -> None:
    """The same by a shell script, which opens and closes it each time."""
    for n in range(130):
        with (root / "notes.txt").open("a") as log:
            log.write(f"entry {n}\n")
        time.sleep(0.03)


def packed(make: Sequence[str], act: Callable[[Path, Path], None]) -> Callable[[Path], None]:
    """Return what unpacks an archive of 400 files that ``make`` packs first."""

    def unpack(root: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "source"
            source.mkdir()
            many_files(source, 400, "packed")
            run(*make, "../archive", ".", cwd=source)
            archive = next(Path(scratch).glob("archive*"))
            act(root, archive)

    return unpack


SCENARIOS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "vim": (notes, vim),
    "vim-backupcopy": (notes, partial(vim, setting="backupcopy=yes")),
    "nano": (notes, nano),
    "emacs": (notes, emacs),
    "sed": (notes, sed),
    "gio": (notes, gio),
    "libreoffice-style": (document, libreoffice_style),
    "git-checkout": (two_branches, checkout),
    "unzip": (nothing, packed(["zip", "-qr"], unzip)),
    "tar": (nothing, packed(["tar", "cf"], untar)),
    "move-directory": (directory_of_files, move_directory),
    "move-file": (notes, move_file),
    "download-beside-a-save": (notes, download_beside_a_save),
    "log-kept-open": (notes, log_kept_open),
    "log-opened-for-each-line": (notes, log_opened_for_each_line),
}


def main() -> None:
    """Record the traces that are named, or all."""
    TRACES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SCENARIOS:
        record(name, *SCENARIOS[name])


if __name__ == "__main__":
    main()
