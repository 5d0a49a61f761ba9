"""What users do to their files: random operations, by the same system calls and tools as theirs."""

from __future__ import annotations

import contextlib
import io
import os
import random
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tests.system.fleet import Device
from tests.system.torture.ledger import Ledger

NAMES = (
    b"a.txt",
    b"b",
    b"odd\nname",
    b"bad\xff\xfe",
    "ünï".encode(),
    b"-dash",
    b" space ",
    b'q"uote',
    b"CASE",
    b"case",
)
DIRECTORIES = (b"", b"one", b"one/sub", b"deep/er/est", b"d\xe9", b"b", b"a.txt")
_PASSING = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)

Choice = tuple[Callable[[], None], int]


class User(threading.Thread):
    """One user, who works below ``place`` of his device for ``seconds``."""

    def __init__(
        self,
        device: Device,
        place: bytes,
        seed: int,
        ledger: Ledger,
        seconds: float,
        *,
        names: Sequence[bytes] = NAMES,
    ) -> None:
        super().__init__(name=device.name)
        self.names = names
        self.device, self.ledger = device, ledger
        self.place = os.path.join(os.fsencode(device.root), place)
        self.random = random.Random(seed)
        self.end = time.monotonic() + seconds
        self.error: BaseException | None = None
        self.done = 0
        self.how = ""
        self.choices = [do for do, weight in self.work() for _ in range(weight)]

    def work(self) -> list[Choice]:
        """Return what the user does, and how often."""
        return [
            (self.write_in_place, 4),
            (self.write_beside, 4),
            (self.write_with_backup, 3),
            (self.write_slowly, 3),
            (self.edit_with_sed, 3),
            (self.unpack, 1),
            (self.rename, 3),
            (self.rename_directory, 2),
            (self.delete, 2),
            (self.delete_directory, 1),
            (self.link, 2),
            (self.change_mode, 2),
            (self.make_directory_of_file, 1),
            (self.fill_directory, 1),
        ]

    def run(self) -> None:
        try:
            while time.monotonic() < self.end:
                choice = self.random.choice(self.choices)
                self.how = choice.__name__
                with contextlib.suppress(*_PASSING):  # the others have been there: so it is for every user
                    choice()
                self.done += 1
                time.sleep(self.random.choice((0.0, 0.02, 0.1, 0.3)))
            self.finish()
        except BaseException as error:  # raised again by the run
            self.error = error

    def finish(self) -> None:
        """Leave nothing half done."""

    # -- where ---------------------------------------------------------------------------
    def target(self) -> bytes:
        path = os.path.join(self.place, self.random.choice(DIRECTORIES), self.random.choice(self.names))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.isdir(path) and not os.path.islink(path):
            raise IsADirectoryError
        return path

    def files(self, place: bytes) -> list[bytes]:
        return sorted(os.path.join(top, name) for top, _, names in os.walk(place) for name in names)

    def file(self) -> bytes:
        files = self.files(self.place)
        if not files:
            raise FileNotFoundError
        return self.random.choice(files)

    def directory(self) -> bytes:
        directory = os.path.dirname(self.file())
        if directory == self.place:
            raise FileNotFoundError
        return directory

    def tool(self, *command: str | bytes, feed: bytes | None = None) -> bool:
        """Run a command as the user and return whether it succeeded."""
        done = subprocess.run(
            command, cwd=self.place, env=self.device.environment, input=feed, capture_output=True, check=False
        )
        return done.returncode == 0

    # -- the ledger --------------------------------------------------------------------------
    def new(self) -> bytes:
        return self.ledger.new(self.device.name)

    def saved(self, path: bytes, content: bytes) -> None:
        self.ledger.save(self.device.name, path, content, self.how)

    def forget(self, *paths: bytes) -> None:
        """Note that the user himself is about to replace or delete what stands at ``paths``."""
        self.ledger.undone(self.device.name, list(_contents(paths)), self.how)

    # -- saving ------------------------------------------------------------------------------
    def write_in_place(self) -> None:
        path, content = self.target(), self.new()
        if os.path.islink(path):
            raise FileExistsError
        self.forget(path)
        with open(path, "wb") as file:
            file.write(content)
        self.saved(path, content)

    def write_beside(self) -> None:
        path, content = self.target(), self.new()
        beside = os.path.join(os.path.dirname(path), b".tmp%d" % self.random.randrange(1 << 40))
        with open(beside, "xb") as file:
            file.write(content)
        self.forget(path)
        os.replace(beside, path)
        self.saved(path, content)

    def write_with_backup(self) -> None:
        path, content = self.target(), self.new()
        self.forget(path, path + b"~")  # the backup of an attempt that was cut short
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, path + b"~")
        with open(path, "xb") as file:
            file.write(content)
        self.forget(path + b"~")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + b"~")
        self.saved(path, content)

    def write_slowly(self) -> None:
        """Hold the file open while others may replace it."""
        path, content = self.target(), self.new()
        if os.path.islink(path):
            raise FileExistsError
        self.forget(path)
        with open(path, "wb", buffering=0) as file:
            file.write(content[:9])
            time.sleep(self.random.random() * 0.3)
            file.write(content[9:])
        self.saved(path, content)

    def edit_with_sed(self) -> None:
        path, line = self.file(), self.new().partition(b"\n")[0]
        if os.path.islink(path):
            raise FileExistsError
        self.forget(path)
        if self.tool("sed", "-i", b"1c\\" + line, "--", path):
            for content in _contents([path]):  # another device's save may have come before or after it
                if content.startswith(line + b"\n"):
                    self.saved(path, content)

    def unpack(self) -> None:
        directory = os.path.join(self.place, self.random.choice((b"one", b"deep", b"unpacked")))
        os.makedirs(directory, exist_ok=True)
        names = self.random.sample([n for n in self.names if b"\xff" not in n], 4)
        contents = {name: self.new() for name in names}
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in contents.items():
                member = tarfile.TarInfo(os.fsdecode(name))
                member.size, member.mtime = len(content), int(time.time())
                tar.addfile(member, io.BytesIO(content))
        self.forget(*(os.path.join(directory, name) for name in names))
        if self.tool("tar", "-x", "-C", directory, feed=archive.getvalue()):
            for name, content in contents.items():
                self.saved(os.path.join(directory, name), content)

    def link(self) -> None:
        path = self.target()
        content = self.new().partition(b"\n")[0]
        self.forget(path)
        if self.tool("ln", "-sfn", "--", content, path):
            self.saved(path, content)

    def make_directory_of_file(self) -> None:
        path, content = self.file(), self.new()
        self.forget(path)
        os.unlink(path)
        os.mkdir(path)
        with open(path + b"/inner", "xb") as file:
            file.write(content)
        self.saved(path + b"/inner", content)

    def fill_directory(self) -> None:
        directory = os.path.join(self.place, b"many%d" % self.random.randrange(3))
        os.makedirs(directory, exist_ok=True)
        for number in range(60):
            path, content = b"%s/%d" % (directory, number), self.new()
            self.forget(path)
            with open(path, "wb") as file:
                file.write(content)
            self.saved(path, content)

    # -- moving and deleting -----------------------------------------------------------------
    def rename(self) -> None:
        old, new = self.file(), self.target()
        self.forget(new)
        self.tool("mv", "-f", "-T", "--", old, new)

    def rename_directory(self) -> None:
        old, new = self.directory(), self.target()
        if not os.path.lexists(new) and not new.startswith(old):
            os.rename(old, new)

    def delete(self) -> None:
        path = self.file()
        self.forget(path)
        os.unlink(path)

    def delete_directory(self) -> None:
        """`rm -r` looks for itself what there is, so what it finds is noted after it too."""
        directory = self.directory()
        before = list(_contents(self.files(directory)))
        self.tool("rm", "-r", "-f", "--", directory)
        left = set(_contents(self.files(directory)))
        self.ledger.undone(self.device.name, [c for c in before if c not in left], self.how)

    def change_mode(self) -> None:
        path = self.file()
        if not os.path.islink(path):
            self.tool("chmod", self.random.choice(("755", "644", "600")), "--", path)


def _contents(paths: list[bytes] | tuple[bytes, ...]) -> Iterator[bytes]:
    """Yield what stands at ``paths``: files' contents and links' targets."""
    for path in paths:
        with contextlib.suppress(OSError):
            if os.path.islink(path):
                yield os.readlink(path)
            else:
                with open(path, "rb") as file:
                    yield file.read()
