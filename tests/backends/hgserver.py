"""A real hg server behind http on loopback, with or without the extension selectivepull, and what it sent."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hg_repos import DEBIAN

import autosync.hgext

EXTENSION = os.path.join(os.path.dirname(autosync.hgext.__file__), "selectivepull")


class HgServer:
    """Serves ``root``; :attr:`asked` is what clients asked for, command by command."""

    def __init__(self, root: bytes, directory: Path, *, extended: bool = False, by: Sequence[str] = DEBIAN) -> None:
        self.extended = extended
        self._log = directory / "access.log"
        extension = ["--config", f"extensions.selectivepull={EXTENSION}"] if extended else []
        self._process = subprocess.Popen(
            [
                *[*by, *extension, "--config", "web.push_ssl=no", "--config", "web.allow_push=*", "serve"],
                *["--port", "0", "--address", "127.0.0.1", "--accesslog", self._log, "--print-url"],
            ],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HGENCODING": "utf-8", "HGPLAIN": "1"},
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline().decode()
        self.url = first.strip()
        assert self.url.startswith("http://"), first

    @property
    def asked(self) -> list[str]:
        """The commands of the wire protocol that were sent, those of a batch each for itself."""
        found: list[str] = []
        for line in self._log.read_text().splitlines():
            match = re.search(r"\?cmd=(\w+)", line)
            if match is None:
                continue
            batched = re.findall(r"(\w+)(?: |\+)", line.partition("x-hgarg-1:cmds=")[2]) if match[1] == "batch" else []
            found += batched or [match[1]]
        return found

    def forget(self) -> None:
        """Begin a new list of what was asked."""
        os.truncate(self._log, 0)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
