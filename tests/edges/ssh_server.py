"""A real sshd of our own on a port of the loopback interface, with its own keys and nobody's configuration."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from tests.ports import free_ports
from tests.waiting import until


class SshServer:
    """``command`` is how a client calls ssh(1) that knows the server and has a key for it."""

    def __init__(self, directory: Path, *options: str) -> None:
        directory.mkdir(mode=0o700)
        self.directory = directory
        self.user = getpass.getuser()
        (self.port,) = free_ports(1)
        for name in ("host", "user", "stranger"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        shutil.copy(directory / "user.pub", directory / "authorized")
        lines = (
            f"ListenAddress 127.0.0.1:{self.port}",
            f"HostKey {directory}/host",
            "PidFile none",
            "UsePAM no",
            f"AuthorizedKeysFile {directory}/authorized",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            *options,
        )
        (directory / "sshd_config").write_text("\n".join(lines) + "\n")
        kind, key = (directory / "host.pub").read_text().split()[:2]
        (directory / "known").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        self.command = self.client("user", "known")
        self._process: subprocess.Popen[bytes] | None = None

    def client(self, key: str, known: str) -> tuple[str, ...]:
        """Return a command line with the identity ``key`` and the file ``known`` of host keys."""
        file = self.directory / f"config-{key}-{known}"
        file.write_text(
            f"IdentityFile {self.directory}/{key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self.directory}/{known}\nGlobalKnownHostsFile /dev/null\n"
        )
        return "ssh", "-F", str(file)

    def address(self, agent: int) -> str:
        """Return where an agent's port is reached through it."""
        return f"{self.user}@127.0.0.1:{self.port}/{agent}"

    def start(self) -> None:
        """Start it; return when it takes connections."""
        sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert sshd is not None, "these tests need OpenSSH's sshd: apt install openssh-server"
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd insists on it when it runs as root
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([sshd, "-D", "-e", "-f", self.directory / "sshd_config"], stderr=log)
        until(self._listens, why=(self.directory / "log").read_text)

    def stop(self) -> None:
        """End it; connections that are there stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def __enter__(self) -> SshServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
