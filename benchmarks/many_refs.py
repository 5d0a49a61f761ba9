"""What one name costs of a hub that has many: bytes on the wire and seconds, beside plain hg and git.

``python -m benchmarks.many_refs [--counts 1000 20000 100000] [--vcs git hg]``: real servers on loopback (``hg serve``
with and without the extension selectivepull, ``git daemon``), behind a proxy that counts what passes both ways.
The names lie on a hundred changesets.  autosync is what it does for `subscribe:`, in a process that runs already.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import autosync.hgext
from autosync.backends.git.backend import open_git
from autosync.backends.hg.backend import open_hg
from autosync.core.model import WorkspaceId
from autosync.errors import Refused
from autosync.ports import Backend
from benchmarks.versioning import VCS

_WORKSPACE = WorkspaceId("0" * 32)
_CHANGESETS = 100
_WANTED = "feature/000007"
_PATTERN = "feature/00001*"
_EXTENSION = os.path.join(os.path.dirname(autosync.hgext.__file__), "selectivepull")
_HG = (sys.executable, "-P", "-m", "mercurial")
_PLAIN = {**os.environ, "HGPLAIN": "1", "HGRCPATH": "", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}


class Proxy:
    """Passes connections on to a port of loopback and counts the bytes, both ways."""

    def __init__(self, upstream: int) -> None:
        self.passed = 0
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Take no more connections."""
        # Closed alone it would go on in accept(2), and take those of the proxy that gets its descriptor.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._upstream))
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(1 << 16):
                self.passed += len(part)
                target.sendall(part)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operation took: bytes, seconds."""

    passed: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.passed:,} B, {self.seconds:.2f} s"


def run(*command: str | Path, where: Path | None = None) -> None:
    """Run a command of a user who has configured nothing."""
    subprocess.run(command, cwd=where, env=_PLAIN, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(proxy: Proxy, act: Callable[[], object]) -> Cost:
    """Return what ``act`` costs."""
    before, began = proxy.passed, time.monotonic()
    act()
    took = time.monotonic() - began
    return Cost(proxy.passed - before, took)


@contextlib.contextmanager
def served(argv: Sequence[str], where: Path, port: int) -> Iterator[Proxy]:
    """Give a proxy before a server that listens on ``port``."""
    server = subprocess.Popen(argv, cwd=where, env=_PLAIN, stdout=subprocess.DEVNULL)
    proxy = Proxy(port)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.05)
        yield proxy
    finally:
        proxy.close()
        server.terminate()
        server.wait()


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def follow(backend: Backend, proxy: Proxy) -> tuple[Cost, Cost, Cost | None]:
    """Return what autosync's first and second look at one name costs, and a listing by pattern."""
    try:
        first = measure(proxy, backend.following.keep_up)
        assert [each.state for each in backend.following.followed] == ["current"], backend.following.followed
        again = measure(proxy, backend.following.keep_up)
        try:
            return first, again, measure(proxy, lambda: backend.following.listed(_PATTERN, limit=100))
        except Refused:  # a server without the extension
            return first, again, None
    finally:
        backend.close()


def tell(count: int, rows: Sequence[tuple[str, Sequence[Cost | None]]]) -> None:
    """Print lines of a table; the ratio is of bytes, the last to the first."""
    for operation, costs in rows:
        first, last = costs[0], costs[-1]
        ratio = f"{last.passed / first.passed:.4f}" if first and last else ""
        print(f"| {count:,} | {operation} | " + " | ".join(str(c) if c else "-" for c in costs) + f" | {ratio} |")
    sys.stdout.flush()


def measure_hg(place: Path, counts: Sequence[int]) -> None:
    """Print a table for hg."""
    vcs, source = VCS["hg"], place / "hg"
    source.mkdir()
    vcs.run(source, vcs.start)
    run(*_HG, "debugbuilddag", "--new-file", f"+{_CHANGESETS}", where=source)
    vcs.run(source, [[*_HG, "phase", "--public", "-r", "all()"]])
    half = place / "half"
    run(*_HG, "clone", "-q", "-r", str(_CHANGESETS // 2 - 1), source, half)
    log = subprocess.run(
        [*_HG, "log", "-T", "{node}\n"], cwd=source, env=_PLAIN, check=True, capture_output=True, text=True
    )
    nodes = log.stdout.split()
    heads = ("hg", "hg, extension here", "hg, extension at both ends", "autosync", "autosync, extension there", "ratio")
    print(f"| bookmarks | operation | {' | '.join(heads)} |")
    print("|--:|---|--:|--:|--:|--:|--:|--:|")
    for count in counts:
        lines = [f"{nodes[number % _CHANGESETS]} feature/{number:06}\n" for number in range(count)]
        (source / ".hg" / "bookmarks").write_text("".join(sorted(lines, key=lambda line: line[41:])))
        columns = [_hg_column(place, source, half, *ends) for ends in ((False, False), (True, False), (True, True))]
        plain, ours = columns[0], [_hg_followed(place, source, half, extended=extended) for extended in (False, True)]
        rows: list[tuple[str, Sequence[Cost | None]]] = []
        for place_in, operation in enumerate(("pull one", "nothing new", "list ten by pattern")):
            rows.append((operation, [*(c[place_in] for c in columns), *(o[place_in] for o in ours)]))
        rows.append(("clone", [*(c[3] for c in columns), None, None]))
        assert plain[0] is not None
        tell(count, rows)


def _hg_column(place: Path, source: Path, half: Path, client: bool, server: bool) -> list[Cost | None]:
    """Return what hg itself costs, with the extension at either end, or neither."""
    with _hg_served(source, extended=server) as (proxy, url):
        ours = ("--config", f"extensions.selectivepull={_EXTENSION}") if client else ()
        one, other = place / "one", place / "other"
        shutil.copytree(half, one)
        pull = (*_HG, *ours, "pull", "-q", "-B", _WANTED, url)
        costs: list[Cost | None] = [measure(proxy, lambda: run(*pull, where=one)) for _ in range(2)]
        if client and not server:
            costs.append(None)
        else:
            listing = (
                (*_HG, *ours, "bookmarks", "--remote", _PATTERN, "--config", f"paths.default={url}")
                if client
                else (*_HG, "identify", "-B", url)
            )
            costs.append(measure(proxy, lambda: run(*listing, where=one)))
        costs.append(measure(proxy, lambda: run(*_HG, *ours, "clone", "-q", "-U", url, other)))
        shutil.rmtree(one)
        shutil.rmtree(other)
        return costs


def _hg_followed(place: Path, source: Path, half: Path, *, extended: bool) -> Sequence[Cost | None]:
    with _hg_served(source, extended=extended) as (proxy, url):
        root = place / "followed"
        shutil.copytree(half, root)
        (root / ".hg" / "hgrc").write_text(f"[paths]\ndefault = {url}\n")
        backend = open_hg(bytes(root), workspace=_WORKSPACE, remote="default", subscribe=[_WANTED])
        costs = follow(backend, proxy)
        shutil.rmtree(root)
        return costs


@contextlib.contextmanager
def _hg_served(source: Path, *, extended: bool) -> Iterator[tuple[Proxy, str]]:
    ours = ("--config", f"extensions.selectivepull={_EXTENSION}") if extended else ()
    port = free_port()
    argv = [*_HG, *ours, "serve", "--address", "127.0.0.1", "--port", str(port)]
    with served(argv, source, port) as proxy:
        yield proxy, f"http://127.0.0.1:{proxy.port}/"


def measure_git(place: Path, counts: Sequence[int]) -> None:
    """Print a table for git."""
    vcs, work, hub = VCS["git"], place / "git", place / "hub.git"
    work.mkdir()
    vcs.run(work, vcs.start)
    for number in range(_CHANGESETS):
        (work / "file").write_text(f"{number}\n")
        vcs.run(work, vcs.record)
    run("git", "clone", "-q", "--bare", work, hub)
    run("git", "branch", "half", f"main~{_CHANGESETS // 2}", where=work)
    run("git", "config", "daemon.receivepack", "true", where=hub)
    log = subprocess.run(
        ["git", "log", "--format=%H"], cwd=work, env=_PLAIN, check=True, capture_output=True, text=True
    )
    nodes = log.stdout.split()
    print("| refs | operation | git | autosync | ratio |")
    print("|--:|---|--:|--:|--:|")
    for count in counts:
        refs = [f"{nodes[number % _CHANGESETS]} refs/heads/feature/{number:06}\n" for number in range(count)]
        refs.append(f"{nodes[0]} refs/heads/main\n")
        (hub / "packed-refs").write_text(
            "# pack-refs with: sorted\n" + "".join(sorted(refs, key=lambda line: line[41:]))
        )
        port = free_port()
        daemon = [
            "git",
            "daemon",
            "--reuseaddr",
            "--listen=127.0.0.1",
            f"--port={port}",
            f"--base-path={place}",
            "--export-all",
        ]
        with served(daemon, place, port) as proxy:
            _git_rows(place, work, proxy, count)


def _git_rows(place: Path, work: Path, proxy: Proxy, count: int) -> None:
    url = f"git://127.0.0.1:{proxy.port}/hub.git"
    roots = {name: place / name for name in ("plain", "ours", "cloned")}
    for name in ("plain", "ours"):
        run("git", "init", "-q", "-b", "main", roots[name])
        run("git", "fetch", "-q", "--update-head-ok", work, "half:refs/heads/main", where=roots[name])
        run("git", "remote", "add", "origin", url, where=roots[name])
    plain = roots["plain"]
    fetched = [measure(proxy, lambda: run("git", "fetch", "-q", "origin", where=plain)) for _ in range(2)]
    listed = measure(proxy, lambda: run("git", "ls-remote", "origin", f"refs/heads/{_PATTERN}", where=plain))
    cloned = measure(proxy, lambda: run("git", "clone", "-q", "--no-checkout", url, roots["cloned"]))
    run("git", "branch", "-q", "new", "main", where=plain)
    pushed = measure(proxy, lambda: run("git", "push", "-q", "origin", "new", where=plain))
    backend = open_git(bytes(roots["ours"]), workspace=_WORKSPACE, remote="origin", subscribe=[_WANTED])
    ours = follow(backend, proxy)
    backend = open_git(bytes(roots["ours"]), workspace=_WORKSPACE, remote="origin")
    run("git", "branch", "-q", "other", "main", where=roots["ours"])
    moved = measure(proxy, lambda: backend.push_branch("refs/heads/other"))
    backend.close()
    operations = ("fetch, of one", "nothing new", "list ten by pattern")
    rows: list[tuple[str, Sequence[Cost | None]]] = [
        (operation, [one, other]) for operation, one, other in zip(operations, [*fetched, listed], ours, strict=True)
    ]
    tell(count, [*rows, ("clone", [cloned, None]), ("push a branch", [pushed, moved])])
    for root in roots.values():
        shutil.rmtree(root)


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 20_000, 100_000])
    parser.add_argument("--vcs", nargs="+", choices=("git", "hg"), default=["git", "hg"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        for vcs in options.vcs:
            {"git": measure_git, "hg": measure_hg}[vcs](Path(place), options.counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
