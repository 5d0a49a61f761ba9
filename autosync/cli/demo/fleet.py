"""The demo's hub and devices: folders, configurations and agent processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from autosync.cli.demo.hosting import Hosting
from autosync.cli.demo.offspring import end_with_parent
from autosync.cli.demo.prosody import ACCOUNT, DOMAIN, Prosody
from autosync.control import call
from autosync.errors import AutosyncError
from autosync.trust.sealing import create_key

NAMES = ("laptop", "desktop", "server")
WORKSPACE = "demo"
MARK = ".autosync-demo"
"""The file that says: this folder was made by the demo and may be removed by it.  A running demo has it locked."""
_STARTING = 30.0
_STOPPING = 3.0


@dataclass(slots=True)
class DemoDevice:
    """One device of the demo."""

    name: str
    path: Path
    home: Path
    hosting: Hosting
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.home / "config.yaml"

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Return what this device's agent answers."""
        return call(str(self.home / "state"), command, **arguments)

    def status(self) -> dict[str, Any]:
        """Return the status of the demo's workspace."""
        workspace: dict[str, Any] = self.ask("status")["workspaces"][0]
        return workspace


class Fleet:
    """A hub and three devices below ``root``."""

    def __init__(self, root: Path, *, xmpp: bool, hosting: Hosting) -> None:
        self.root = root
        self._hosting = hosting
        self.devices = [DemoDevice(name, root / name, root / ".devices" / name, hosting) for name in NAMES]
        self._prosody = Prosody() if xmpp else None
        self._mark: TextIO | None = None

    def prepare(self) -> None:
        """Make the folders.  Raises :class:`AutosyncError` if ``root`` is somebody's."""
        self._take_root()
        if self._prosody is not None:
            self._prosody.start()
        hub = self.root / self._hosting.hub_name
        self._hosting.make_hub(hub)
        key_file = self.root / ".devices" / "workspace.key"
        key_file.parent.mkdir(exist_ok=True)
        create_key(str(key_file))
        for number, device in enumerate(self.devices):
            self._hosting.clone(hub, device.path, device.name)
            if number == 0:
                (device.path / "README.md").write_text("# Demo\n\n1\n2\n3\n4\n5\n6\n7\n8\n9\n")
                self._hosting.begin(device.path)
            self._write_config(device, key_file)

    def _take_root(self) -> None:
        """Make an empty ``root``; what a killed demo left there goes."""
        if self.root.exists() or self.root.is_symlink():
            if not (self.root / MARK).is_file():
                raise AutosyncError(
                    f"{self.root} exists and was not made by the demo",
                    hint="Move it away, or choose another folder with --directory.",
                )
            self._lock_mark().close()
            shutil.rmtree(self.root)
        self.root.mkdir(parents=True)
        self._mark = self._lock_mark()
        self._mark.write("Made by `autosync demo`, which removes this folder when it ends.\n")
        self._mark.flush()

    def _lock_mark(self) -> TextIO:
        mark = (self.root / MARK).open("a", encoding="utf-8")
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mark.close()
            raise AutosyncError(
                f"Another demo runs in {self.root}",
                hint="End that one, or choose another folder with --directory.",
            ) from None
        return mark

    def _write_config(self, device: DemoDevice, key_file: Path) -> None:
        device.home.mkdir(parents=True)
        lines = [
            f"device: {device.name}",
            f"state-dir: {json.dumps(str(device.home / 'state'))}",
        ]
        if self._prosody is not None:
            jid = f"{ACCOUNT}@{DOMAIN}"
            lines += [
                "listen: none",  # so that everything is seen to go over XMPP and the hub
                f"xmpp: {{jid: {jid}, password: {self._prosody.password}, host: 127.0.0.1, "
                f"port: {self._prosody.port}, ca-file: {json.dumps(str(self._prosody.certificate))}}}",
            ]
        else:
            lines.append("listen: 127.0.0.1:0")
        if device is not self.devices[0]:
            lines.append("popups: none")  # one desktop, and one device's view of what happens
        lines += [
            "paths:",
            f"  - path: {json.dumps(str(device.path))}",
            f"    workspace: {WORKSPACE}",
            f"    key-file: {json.dumps(str(key_file))}",
            f"    remote: {self._hosting.remote}",
            "    poll: 10s",
            *(f"    {line}" for line in self._hosting.path_settings),
        ]
        file = os.open(device.config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(file, "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start the agents and return when each knows the others."""
        for device in self.devices:
            with (device.home / "agent.log").open("wb") as log:
                device.process = subprocess.Popen(
                    [sys.executable, "-m", "autosync", "--config", str(device.config), "run"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the demo, which then ends the agents in order
                    preexec_fn=end_with_parent,  # noqa: PLW1509  # no thread runs yet
                )
        deadline = time.monotonic() + _STARTING
        for device in self.devices:
            while not self._is_ready(device):
                if device.process is None or device.process.poll() is not None or time.monotonic() > deadline:
                    raise AutosyncError(
                        f"The agent of {device.name} did not get ready", hint=f"See {device.home / 'agent.log'}."
                    )
                time.sleep(0.05)

    def _is_ready(self, device: DemoDevice) -> bool:
        try:
            status = device.status()
        except AutosyncError:
            return False
        peers = [p for p in status["peers"] if p["state"] == "equal"]
        return status["phase"] == "watching" and len(peers) == len(self.devices) - 1

    def trees(self) -> dict[str, str | None]:
        """Return each device's tree as its agent sees it."""
        return {device.name: device.status()["tree"] for device in self.devices}

    def stop(self, *, remove: bool) -> None:
        """End everything that was started, and remove the folder if it is to go and was made here."""
        running = [d.process for d in self.devices if d.process is not None]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(_STOPPING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._prosody is not None:
            self._prosody.stop(remove=remove)
        if self._mark is not None:  # else the folder is not ours
            if remove:
                shutil.rmtree(self.root, ignore_errors=True)
            self._mark.close()
