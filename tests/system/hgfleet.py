"""Runs several devices on one machine whose working copies are Mercurial's, their users being hg itself."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import cast

from autosync.trust.sealing import create_key
from tests.backends.hg_repos import DEBIAN, Vanilla
from tests.system.fleet import Device, Fleet, until

EXTENSIONS = ("rebase", "histedit", "shelve", "strip")
"""What the users have switched on in their hgrc."""


@dataclass(slots=True)
class HgDevice(Device):
    """A device with an hg working copy; ``user`` is the running hg of whoever sits there."""

    user: Vanilla = field(kw_only=True)

    def hg(self, *arguments: str, check: bool = True, at: Path | None = None) -> str:
        """Run hg in the working copy, as the user, and return what it printed."""
        return self.user("--cwd", bytes(at or self.root), *arguments, check=check).decode("utf-8", "surrogateescape")

    def hg_process(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        """Run hg as a process of its own, with further environment variables."""
        env = {**self.environment, **more}
        return subprocess.run([*DEBIAN, *arguments], cwd=self.root, env=env, capture_output=True, check=False)

    def commit(self, message: str) -> str:
        """Commit everything and return the changeset's id."""
        self.hg("commit", "--addremove", "-q", "-m", message)
        return self.head()

    def head(self) -> str:
        return self.hg("log", "-r", ".", "-T", "{node}")

    def branch(self) -> str:
        return self.hg("branch").strip()

    def porcelain(self) -> str:
        """Return what hg says of the working copy: what is checked out, and what differs from it."""
        where = self.hg("id", "-i", "-n", "-b").replace("+", "").split()
        bookmark = self.hg("log", "-r", ".", "-T", "{activebookmark}")
        # Numbers of changesets may differ between clones.
        shown = [where[0], *where[2:], bookmark]
        return "\n".join([*shown, self.hg("status", "-C"), self.hg("diff", "--git")])

    def is_clean(self) -> bool:
        """Return whether nothing differs from the changeset that is checked out."""
        return not self.hg("status")

    def fingerprint(self) -> dict[str, bytes]:
        """Return the bytes of all that is the user's in the repository."""
        metadata = self.root / ".hg"
        files = [p for p in sorted(metadata.rglob("*")) if p.is_file() and not p.is_symlink()]
        ours = metadata / "autosync"
        return {str(p.relative_to(metadata)): p.read_bytes() for p in files if ours not in p.parents}

    def processes(self) -> list[int]:
        """Return the hg processes that the agent has started for this working copy."""
        return servers_of(self.root)


def servers_of(root: Path) -> list[int]:
    """Return the command servers that run for the working copy at ``root``."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (process / "cmdline").read_bytes().split(b"\0")
                if b"--cmdserver" in arguments and bytes(root) in arguments:
                    found.append(int(process.name))
    return sorted(found)


class HgFleet(Fleet):
    """Devices below one directory, with hg working copies."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.hub = place / "hub"
        hgrc = place / "home" / "hgrc"
        enabled = "".join(f"{name} =\n" for name in EXTENSIONS)
        hgrc.write_text(f"[ui]\nusername = You <you@example.org>\nmerge = internal:merge\n[extensions]\n{enabled}")
        self.environment = {
            **self.environment,
            "HGRCPATH": str(hgrc),
            "HGMERGE": "internal:merge",
            "HGENCODING": "utf-8",
        }
        self._user = Vanilla(bytes(place), environment=self.environment)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self._user.close()

    @property
    def hg_devices(self) -> Sequence[HgDevice]:
        return [cast(HgDevice, device) for device in self.devices]

    def _made(self, name: str, home: Path, root: Path) -> Device:
        return HgDevice(name, home, root, self.environment, user=self._user)

    def hg(self, *arguments: str, at: Path) -> str:
        """Run hg as a user and return what it printed."""
        return self._user("--cwd", bytes(at), *arguments).decode()

    def seed(self, files: Mapping[str, str], *, hub: bool = True) -> Path:
        """Make a repository of one public changeset, its hub too if asked for; return what is to be cloned."""
        seed = self.place / "seed"
        seed.mkdir()
        self.hg("init", at=seed)
        for name, content in files.items():
            (seed / name).parent.mkdir(parents=True, exist_ok=True)
            (seed / name).write_text(content)
        self.hg("commit", "--addremove", "-q", "-m", "first", at=seed)
        self.hg("phase", "-q", "--public", ".", at=seed)
        if not hub:
            return seed
        self.hg("clone", "-q", "--noupdate", str(seed), str(self.hub), at=self.place)
        return self.hub

    def clone(self, source: Path, *names: str) -> list[Device]:
        """Make devices that are clones of one repository."""
        made = []
        for name in names:
            device = self.device(name)
            self.hg("clone", "-q", str(source), str(device.root), at=self.place)
            made.append(device)
        return made

    def clone_hg(self, source: Path, *names: str) -> list[HgDevice]:
        """Make devices as :meth:`clone` does, known to be hg's."""
        return [cast(HgDevice, device) for device in self.clone(source, *names)]

    def share(self, device: HgDevice, name: str, *options: str) -> Path:
        """Make a second working copy of a device's store, with bookmarks of its own but for ``-B``; return its root."""
        root = device.home / name
        enabled = ("--config", "extensions.share=")
        done = device.hg_process("share", *enabled, "-q", *options, str(device.root), str(root))
        assert done.returncode == 0, done.stderr
        return root

    def add_path(self, device: Device, root: Path, *, workspace: str) -> None:
        """Add a working copy to a device's configuration."""
        key = self.place / f"{workspace}.key"
        create_key(str(key))
        with device.config.open("a") as config:
            config.write(f"- path: {root}\n  workspace: {workspace}\n  key-file: {key}\n")

    def pushed(self, *devices: HgDevice) -> None:
        """Wait until everything is committed, on the hub, and the same everywhere."""
        until(
            lambda: all(d.is_clean() and d.head() == self._hub_tip() for d in devices),
            why=lambda: "\n".join(d.log[-2000:] + d.porcelain() + str(d.status()) for d in devices),
        )
        self.equal(*devices)

    def _hub_tip(self) -> str:
        return self.hg("log", "-r", "tip", "-T", "{node}", at=self.hub)


@contextlib.contextmanager
def hg_pair(
    place: Path, files: Mapping[str, str], *, hub: bool = False, hg: Mapping[str, str] | None = None, **options: object
) -> Iterator[HgFleet]:
    """Two running devices, laptop and desktop, with clones of one repository; ``hg`` is that key for each."""
    own = {name: f"hg: {command}" for name, command in (hg or {}).items()}
    with HgFleet(place) as fleet:
        fleet.clone(fleet.seed(files, hub=hub), "laptop", "desktop")
        fleet.configure(fleet.devices, own=own, **options)  # type: ignore[arg-type]
        fleet.start()
        fleet.equal()
        yield fleet
