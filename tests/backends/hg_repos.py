"""Real hg repositories for tests, their user being hg itself, of each version that autosync works with."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from autosync.backends.hg.command import own_hg
from autosync.backends.hg.content import Content
from autosync.backends.hg.repository import Repository
from autosync.backends.hgext.frames import Value, as_bytes
from autosync.core.model import RelPath

DEBIAN = ("/usr/bin/hg",)
"""6.3.2 on Debian 12; the user of most tests, as it starts fastest."""
USER = ("-u", "User <user@example.org>")
NOW = 1_700_000_000


def rel(*paths: str | bytes) -> list[RelPath]:
    """Return paths from literals."""
    return [RelPath(os.fsencode(path)) for path in paths]


def install(version: str, directory: Path) -> tuple[str, ...]:
    """Return the command of a Mercurial from PyPI, installed below ``directory`` if it is not yet there."""
    place = directory / f"mercurial-{version}"
    with (directory / f"mercurial-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--upgrade", "--target", place, f"mercurial=={version}"], check=True)
            (place / "whole").touch()
    program = f"import sys; sys.path.insert(0, {os.fspath(place)!r}); from mercurial import dispatch; dispatch.run()"
    return (sys.executable, "-P", "-c", program)


def isolate(home: Path) -> dict[str, str]:
    """Return the environment variables that keep this machine's hg config away from a test."""
    home.mkdir(exist_ok=True)
    (home / "hgrc").write_text("[ui]\nusername = User <user@example.org>\n")
    return {"HOME": os.fspath(home), "HGRCPATH": os.fspath(home / "hgrc"), "HGMERGE": "internal:merge"}


def hg(root: bytes, *args: str | bytes, by: Sequence[str] = DEBIAN, check: bool = True) -> bytes:
    """Run hg as the user would and return its output."""
    # What the user runs is not what is measured.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    env |= {"HGENCODING": "utf-8", "HGPLAIN": "1"}
    done = subprocess.run([*by, *args], cwd=root, capture_output=True, env=env, check=False)
    assert not (check and done.returncode), (args, done.stdout, done.stderr)
    return done.stdout


class Vanilla:
    """hg as its user runs it, without anything of ours, but started once only."""

    def __init__(
        self,
        root: bytes,
        by: Sequence[str] = DEBIAN,
        *,
        extensions: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        enabled = [word for name in extensions for word in ("--config", f"extensions.{name}=")]
        given = os.environ if environment is None else environment
        env = {name: value for name, value in given.items() if not name.startswith("COVERAGE_")}
        self._process = subprocess.Popen(
            [*by, *enabled, "serve", "--cmdserver", "pipe"],
            cwd=root,
            env={**env, "HGENCODING": "utf-8", "HGPLAIN": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._answer()

    def __call__(self, *args: str | bytes, check: bool = True) -> bytes:
        code, output, errors = self.run(*args)
        assert not check or code == 0, (args, output, errors)
        return output

    def run(self, *args: str | bytes) -> tuple[int, bytes, bytes]:
        """Return exit code, output and errors.  Raises :class:`EOFError` if hg has been killed."""
        joined = b"\0".join(os.fsencode(arg) for arg in args)
        pipe = cast(BinaryIO, self._process.stdin)
        try:
            pipe.write(b"runcommand\n" + struct.pack(">I", len(joined)) + joined)
            pipe.flush()
        except BrokenPipeError:
            raise EOFError from None
        said: dict[bytes, bytes] = {b"o": b"", b"e": b""}
        while True:
            channel, content = self._answer()
            if channel == b"r":
                return struct.unpack(">i", content)[0], said[b"o"], said[b"e"]
            said[channel] += content

    def kill(self) -> None:
        """End hg without any warning."""
        self._process.kill()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            cast(BinaryIO, self._process.stdin).close()
        self._process.wait()
        cast(BinaryIO, self._process.stdout).close()

    def _answer(self) -> tuple[bytes, bytes]:
        pipe = cast(BinaryIO, self._process.stdout)
        head = pipe.read(5)
        if len(head) < 5:
            raise EOFError
        channel, size = struct.unpack(">cI", head)
        content = pipe.read(size)
        if len(content) < size:
            raise EOFError
        return channel, content


def put(root: bytes, path: str | bytes, content: bytes | str = b"", *, executable: bool = False) -> RelPath:
    """Write a file below ``root``, with the directories it needs."""
    name = os.fsencode(path)
    full = os.path.join(root, name)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    if os.path.islink(full):
        os.unlink(full)
    with open(full, "wb") as file:
        file.write(os.fsencode(content))
    os.chmod(full, 0o755 if executable else 0o644)
    return RelPath(name)


def make_repository(
    root: Path, files: Mapping[str, bytes] | None = None, *, by: Sequence[str] = DEBIAN, options: Sequence[str] = ()
) -> bytes:
    """Make a repository with one commit of ``files`` (none: no commit) and return its root."""
    root.mkdir(parents=True)
    path = os.fsencode(root)
    hg(path, "init", *options, by=by)
    for name, content in (files or {}).items():
        put(path, name, content)
    if files:
        commit_all(path, by=by)
    return path


def copy_of(root: bytes, to: Path) -> bytes:
    """Return the root of a copy of a whole working copy, which takes no hg to make."""
    shutil.copytree(root, os.fsencode(to), symlinks=True)
    return os.fsencode(to)


def commit_all(root: bytes, message: str = "work", *, by: Sequence[str] = DEBIAN) -> bytes:
    """Commit everything as the user would, and return the node."""
    hg(root, "commit", "--addremove", "-q", "-m", message, "-d", f"{NOW} 0", *USER, by=by)
    return head(root)


def head(root: bytes) -> bytes:
    """Return the node that is checked out."""
    return bytes.fromhex(hg(root, "log", "-r", ".", "-T", "{node}").decode())


def named(
    repo: Repository,
    paths: Sequence[RelPath],
    *,
    user: bytes = b"User <user@example.org>",
    time: int = NOW + 1,
    message: bytes = b"snapshot",
    branch: bytes = b"default",
) -> bytes:
    """Return the node of the changeset of what stands at ``paths``, named as snapshots are."""
    survey = repo.survey((), (), tracking=True)
    given: dict[bytes, Value] = {}
    files: dict[bytes, Value] = dict.fromkeys(paths)
    contents = repo.stored(paths)
    for path, content in contents.items():
        if content is not None:
            assert isinstance(content, Content), (path, content)
            given[path] = [_flags(os.path.join(repo.root, path)), content.value(), survey.copies.get(path, b"")]
    nodes = repo.server.ask("file-nodes", {b"parent": survey.p1, b"given": given}).table(b"nodes")
    for path in given:
        node, touched = nodes.items(path)
        files[path] = [_flags(os.path.join(repo.root, path)), as_bytes(node, path), touched]
    said: dict[bytes, Value] = {b"user": user, b"time": time, b"message": message, b"branch": branch, b"extra": {}}
    return repo.server.ask("changeset-node", {b"parent": survey.p1, b"files": files, **said}).text(b"node")


def stored(repo: Repository, paths: Collection[RelPath]) -> dict[RelPath, bytes | int | None]:
    """Return what hg would store for each path, read."""
    found = repo.stored(paths).items()
    return {path: content.whole() if isinstance(content, Content) else content for path, content in found}


def _flags(full: bytes) -> bytes:
    if os.path.islink(full):
        return b"l"
    return b"x" if os.access(full, os.X_OK) else b""


@contextmanager
def opened(root: bytes, by: Sequence[str] | None = None) -> Iterator[Repository]:
    """Open a working copy, and close it again."""
    repo = Repository(root, by)
    try:
        yield repo
    finally:
        repo.close()


def versions(cache: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the commands of all versions that autosync works with."""
    return {"7.2": own_hg(), "6.9.5": install("6.9.5", cache), "6.3.2": DEBIAN}


_HOLDER = """
import sys
from mercurial import hg, ui
repo = hg.repository(ui.ui.load(), sys.argv[1].encode())
with repo.wlock(), repo.lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def both_locks_held(root: bytes) -> Iterator[subprocess.Popen[str]]:
    """Have another living process, which is given, hold the lock of the working copy and that of the store."""
    holder = subprocess.Popen(
        ["/usr/bin/python3", "-c", _HOLDER, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.communicate()


def killed_at(call: str, count: int, by: Sequence[str] = DEBIAN) -> tuple[str, ...]:
    """Return the command of an hg that is killed as it makes its ``count``-th system call of a kind (strace(1))."""
    when = f"inject={call}:signal=KILL:when={count}"
    return ("strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", when, *by)


def fingerprint(root: bytes) -> dict[bytes, tuple[str, int, int]]:
    """Return content, mtime and mode of everything in .hg, the directories included."""
    seen: dict[bytes, tuple[str, int, int]] = {}
    metadata = os.path.join(root, b".hg")
    for directory, directories, names in os.walk(metadata):
        for name in [b".", *directories, *names]:
            full = os.path.join(directory, name)
            found = os.lstat(full)
            digest = os.readlink(full).hex() if os.path.islink(full) else ""
            if name in names and not digest:
                with open(full, "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()
            seen[os.path.relpath(full, metadata)] = (digest, found.st_mtime_ns, found.st_mode)
    return seen
