"""Mercurials that pull selectively or not, servers that can list by pattern or not, and the bytes between them."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, cast

from tests.backends.hg_repos import Vanilla

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "autosync" / "hgext" / "selectivepull"
PLAIN = "[ui]\nusername = User <user@example.org>\n[web]\npush_ssl = no\nallow_push = *\nrefreshinterval = 0\n"
ABLE = f"{PLAIN}[extensions]\nselectivepull = {EXTENSION}\n"
KINDS = {"able": ABLE, "plain": PLAIN}
"""A server that has the extension, and one that has not."""


def environment(directory: Path, config: str) -> dict[str, str]:
    """Return the environment of an hg with this configuration alone."""
    rc = directory / f"{abs(hash(config))}.rc"
    rc.write_text(config)
    return {**os.environ, "HGRCPATH": os.fspath(rc), "HGENCODING": "utf-8", "HGPLAIN": "1"}


_LISTEN = ("-a", "127.0.0.1", "-p", "0", "--print-url", "-A", os.devnull)
"""Without a log of its own a server writes to its output, and stands still once nobody reads that."""


class Counter:
    """Stands between a client and a server and counts what goes through, and what was asked."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.asked = b""
        """What clients sent since the last `reset`."""
        self.answered = 0
        """Bytes that the server sent since then."""
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def reset(self) -> None:
        self.asked, self.answered = b"", 0

    def commands(self) -> list[str]:
        """Return the wire commands that clients sent, those of a batch one by one."""
        found = []
        for line in self.asked.split(b"\r\n"):
            if line.startswith((b"GET ", b"POST ")) and b"cmd=" in line:
                found.append(line.split(b"cmd=")[1].split()[0].split(b"&")[0].decode())
        return found

    def close(self) -> None:
        # Closed alone it would go on in accept(2), and take the clients of whoever gets its descriptor.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    try:
                        content = ready.recv(65536)
                    except ConnectionError:
                        return
                    if not content:
                        return
                    if ready is client:
                        self.asked += content
                        server.sendall(content)
                    else:
                        self.answered += len(content)
                        client.sendall(content)


class Site:
    """An `hg serve` of all repositories below a directory, behind a `Counter`."""

    def __init__(self, command: Sequence[str], root: Path, config: str) -> None:
        self.root = root
        (root / "web.conf").write_text(f"[paths]\n/ = {root}/*\n")
        self._process = subprocess.Popen(
            [*command, "serve", "--web-conf", root / "web.conf", *_LISTEN],
            env=environment(root, config),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        output = cast("IO[bytes]", self._process.stdout)
        self.wire = Counter(int(output.readline().rsplit(b":", 1)[1].strip().rstrip(b"/")))

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.wire.port}/{name}"

    def close(self) -> None:
        self.wire.close()
        self._process.terminate()
        self._process.communicate()


class User:
    """A user's hg, started once; every command names the repository it is for."""

    def __init__(self, command: Sequence[str], directory: Path, config: str = ABLE) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.environment = environment(directory, config)
        self._hg = Vanilla(os.fsencode(directory), command, environment=self.environment)
        self.output = self.errors = ""

    def __call__(self, *args: str, at: str | None = None, fails: bool = False) -> str:
        """Run a command (in the repository ``at``) and return what it said, errors behind."""
        words = ["-R", os.fspath(self.directory / at), *args] if at is not None else list(args)
        code, output, errors = self._hg.run(*words)
        said = (output + errors).decode()
        assert bool(code) == fails, (args, code, said)
        return said

    def path(self, name: str) -> Path:
        return self.directory / name

    def marks(self, at: str) -> dict[str, str]:
        """Return the bookmarks of a repository, and the descriptions of their changesets."""
        rows = self("bookmarks", "-T", "{bookmark}={node}\n", at=at).splitlines()
        described = dict(row.split("=", 1) for row in self("log", "-T", "{node}={desc}\n", at=at).splitlines())
        return {name: described[node] for name, node in (row.split("=") for row in rows if "=" in row)}

    def described(self, at: str) -> set[str]:
        """Return the descriptions of all changesets."""
        return set(self("log", "-T", "{desc}\n", at=at).split())

    def close(self) -> None:
        self._hg.close()


def write_bookmarks(repository: Path, marks: Mapping[str, str]) -> None:
    """Set all bookmarks (to hashes) at once, as any hg writes them."""
    rows = sorted((name.encode(), node.encode()) for name, node in marks.items())
    (repository / ".hg" / "bookmarks").write_bytes(b"".join(b"%s %s\n" % (node, name) for name, node in rows))


CAPABILITIES = b"batch branchmap getbundle known lookup pushkey unbundlehash"


class Hostile(BaseHTTPRequestHandler):
    """Answers the wire command with what the test says."""

    answer = b""
    capability = b""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        command = self.path.split("cmd=")[-1].split("&")[0]
        content = CAPABILITIES + type(self).capability if command == "capabilities" else type(self).answer
        self.send_response(200)
        self.send_header("Content-Type", "application/mercurial-0.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hostile() -> Iterator[str]:
    """Serve `Hostile`, at the URL that this gives."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
