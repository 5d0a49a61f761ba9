"""Real git working copies for the contract, their users being git itself and plain files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from contract.fleet import rel

from autosync.apply import WorkingTree
from autosync.backends.git.backend import open_git
from autosync.core.model import Base, CommitId, Kind, RelPath, WorkspaceId

WORKSPACE = WorkspaceId("c0ffee00" * 4)


class GitSite:
    """One git working copy and its user."""

    def __init__(self, name: str, root: bytes) -> None:
        self.name = name
        self.root = root
        self._open()

    def _open(self) -> None:
        self.backend = open_git(self.root, workspace=WORKSPACE, remote="origin")
        self.tree = WorkingTree(
            self.root, self.backend.metadata, standing=self.backend.standing, stage=self.backend.stage
        )

    def close(self) -> None:
        self.tree.close()
        self.backend.close()

    def reopen(self) -> None:
        self.close()
        self._open()

    # -- files -----------------------------------------------------------------------------
    def at(self, path: str | bytes) -> bytes:
        return os.path.join(self.root, rel(path))

    def write(self, path: str | bytes, content: bytes) -> None:
        self._make_parents(path)
        with open(self.at(path), "wb") as file:
            file.write(content)

    def chmod(self, path: str | bytes, *, executable: bool) -> None:
        os.chmod(self.at(path), 0o755 if executable else 0o644)

    def symlink(self, path: str | bytes, target: bytes) -> None:
        self._make_parents(path)
        os.symlink(target, self.at(path))

    def remove(self, path: str | bytes) -> None:
        full = self.at(path)
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        else:
            os.unlink(full)
        self._prune_parents(path)

    def rename(self, old: str | bytes, new: str | bytes) -> None:
        self._make_parents(new)
        os.rename(self.at(old), self.at(new))
        self._prune_parents(old)

    def files(self) -> dict[RelPath, tuple[Kind, bytes]]:
        return dict(self._walk(b""))

    def _walk(self, directory: bytes) -> Iterator[tuple[RelPath, tuple[Kind, bytes]]]:
        for entry in os.scandir(self.at(directory)):
            path = os.path.join(directory, entry.name)
            if path == b".git":
                continue
            if entry.is_symlink():
                yield RelPath(path), (Kind.SYMLINK, os.readlink(entry.path))
            elif entry.is_dir() and os.path.lexists(os.path.join(entry.path, b".git")):
                yield RelPath(path), (Kind.NESTED, git(self.name, entry.path, "rev-parse", "HEAD").strip())
            elif entry.is_dir():
                yield from self._walk(path)
            else:
                kind = Kind.EXECUTABLE if entry.stat().st_mode & 0o100 else Kind.FILE
                with open(entry.path, "rb") as file:
                    yield RelPath(path), (kind, file.read())

    def _make_parents(self, path: str | bytes) -> None:
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)

    def _prune_parents(self, path: str | bytes) -> None:
        directory = os.path.dirname(rel(path))
        while directory and not os.listdir(self.at(directory)):
            os.rmdir(self.at(directory))
            directory = os.path.dirname(directory)

    # -- git ---------------------------------------------------------------------------------
    def git(self, *args: str | bytes, accept: tuple[int, ...] = (0,)) -> bytes:
        return git(self.name, self.root, *args, accept=accept)

    def ignore(self, name: bytes) -> None:
        with open(self.at(b".git/info/exclude"), "ab") as file:
            file.write(name + b"\n")

    def nest(self, path: str | bytes) -> None:
        inner = self.at(path)
        git(self.name, self.root, "init", "-q", inner)
        with open(os.path.join(inner, b"inner"), "wb") as file:
            file.write(b"inner\n")
        git(self.name, inner, "add", "-A")
        git(self.name, inner, "commit", "-qm", "nested")

    def commit(self, message: str) -> Base:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self._base()

    def amend(self, message: str) -> Base:
        self.git("add", "-A")
        self.git("commit", "-q", "--amend", "-m", message)
        return self._base()

    def branch(self, name: str) -> None:
        self.git("branch", "-q", name)

    def checkout(self, name: str) -> None:
        self.git("checkout", "-q", name)

    def begin_operation(self) -> None:
        self.git("bisect", "start")

    def end_operation(self) -> None:
        self.git("bisect", "reset")

    def status(self) -> object:
        listed = self.git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
        return sorted(listed.split(b"\0"))

    def tip(self, branch: str) -> CommitId | None:
        found = self.git("rev-parse", "-q", "--verify", branch, accept=(0, 1)).strip()
        return CommitId(found.decode()) if found else None

    def _base(self) -> Base:
        branch = self.git("symbolic-ref", "-q", "HEAD", accept=(0, 1)).strip().decode()
        return Base(commit=self.tip("HEAD"), branch=branch or None)


class _No(BaseHTTPRequestHandler):
    """A git server that lets nobody in."""

    def do_GET(self) -> None:
        self.send_error(403)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


class GitFleet:
    """Working copies below ``directory`` around one bare repository."""

    examples = 8

    def __init__(self, directory: bytes) -> None:
        self._directory = directory
        self._sites: list[GitSite] = []
        self._hub = os.path.join(directory, b"hub.git")
        git("hub", directory, "init", "-q", "--bare", self._hub)
        self._no = ThreadingHTTPServer(("127.0.0.1", 0), _No)
        threading.Thread(target=self._no.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        # Bound, but it does not listen: whoever connects is turned away at once.
        self._deaf = socket.socket()
        self._deaf.bind(("127.0.0.1", 0))

    def close(self) -> None:
        for site in self._sites:
            site.close()
        self._no.shutdown()
        self._no.server_close()
        self._deaf.close()

    def new(self, name: str) -> GitSite:
        root = self._place(name)
        git(name, self._directory, "init", "-q", root)
        return self._add(name, root)

    def clone(self, of: GitSite, name: str) -> GitSite:
        root = self._place(name)
        git(name, self._directory, "clone", "-q", "--no-local", of.root, root)
        git(name, root, "remote", "remove", "origin")
        return self._add(name, root)

    def _place(self, name: str) -> bytes:
        return os.path.join(self._directory, b"%d-%s" % (len(self._sites), name.encode()))

    def _add(self, name: str, root: bytes) -> GitSite:
        git(name, root, "remote", "add", "origin", self._hub)
        site = GitSite(name, root)
        self._sites.append(site)
        return site

    def cut_hub(self) -> None:
        self._lead_to(b"http://127.0.0.1:%d/hub.git" % self._deaf.getsockname()[1])

    def close_hub(self) -> None:
        self._lead_to(b"http://127.0.0.1:%d/hub.git" % self._no.server_address[1])

    def open_hub(self) -> None:
        self._lead_to(self._hub)

    def _lead_to(self, url: bytes) -> None:
        for site in self._sites:
            site.git("remote", "set-url", "origin", url)


def git(user: str, directory: bytes, *args: str | bytes, accept: tuple[int, ...] = (0,)) -> bytes:
    """Return what git printed when ``user`` ran it."""
    who = {f"GIT_{role}_{what}": user for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *args],
        cwd=directory,
        env={**os.environ, **who},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode in accept, (args, done.returncode, done.stderr.decode(errors="replace"))
    return done.stdout
