"""The file that holds a workspace's key: read, made, and replaced as a whole."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from autosync.durable import replacing
from autosync.errors import ConfigError

KEY_BYTES = 32
MAX_PREVIOUS = 8
"""Keys of before that are kept, so that devices that missed their end can be given the new one."""
_MOST = 4096
_COPY = "Copy the file from another of your devices, byte for byte, and keep it at mode 0600."
_NO_KEY = f"does not hold the base64 of {KEY_BYTES} bytes"
_LINE = re.compile(r"(id|epoch|head|previous) (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyText:
    """What a key file says.

    The first line is the base64 of the key.  A key that took the place of another has more
    lines: ``id`` (the workspace's, 32 hex digits), ``epoch`` (how often the key was changed),
    ``head`` (the SHA-256 of the last change) and for each of the keys before, newest first,
    ``previous`` with its base64.
    """

    raw: bytes = field(repr=False)
    id: str | None = None
    epoch: int = 0
    head: str = ""
    previous: tuple[bytes, ...] = field(default=(), repr=False)

    def render(self) -> bytes:
        """Return the content of the file."""
        lines = [_base64(self.raw)]
        if self.id is not None:
            lines += [f"id {self.id}", f"epoch {self.epoch}", f"head {self.head}"]
        lines += [f"previous {_base64(raw)}" for raw in self.previous[:MAX_PREVIOUS]]
        return "".join(f"{line}\n" for line in lines).encode("ascii")


def parse(text: bytes) -> KeyText:
    """Return what the content of a key file says.  Raises :class:`ValueError` with what is wrong with it."""
    first, *lines = text.decode("ascii").strip().split("\n")
    raw = _key(first.strip())
    said: dict[str, str] = {}
    previous: list[bytes] = []
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        if match is None or match[1] in said or len(previous) == MAX_PREVIOUS:
            raise ValueError("has a line that says nothing known")
        if match[1] == "previous":
            previous.append(_key(match[2]))
        else:
            said[match[1]] = match[2]
    if said.keys() not in (set(), {"id", "epoch", "head"}):
        raise ValueError("does not say all of id, epoch and head")
    if said and not (
        re.fullmatch(r"[0-9a-f]{32}", said["id"])
        and re.fullmatch(r"[1-9][0-9]{0,8}", said["epoch"])
        and re.fullmatch(r"[0-9a-f]{64}", said["head"])
    ):
        raise ValueError("has an id, epoch or head that is none")
    return KeyText(
        raw=raw,
        id=said.get("id"),
        epoch=int(said.get("epoch", "0")),
        head=said.get("head", ""),
        previous=tuple(previous),
    )


def read_key(path: str) -> KeyText:
    """Return what the key file ``path`` says.

    Raises :class:`ConfigError` if it is absent, holds no key, or is not the user's secret.
    """
    try:
        # Not blocking: a FIFO in its place must not hang the agent.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(_MOST) if stat.S_ISREG(status.st_mode) else b""
    except FileNotFoundError:
        raise ConfigError(f"key-file {path} does not exist", hint=_COPY) from None
    except OSError as error:
        raise ConfigError(f"key-file {path} cannot be read: {error.strerror}", hint=_COPY) from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"key-file {path} is not a file", hint=_COPY)
    if status.st_mode & 0o077:
        raise ConfigError(
            f"key-file {path} is open to other users of this machine (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"Run: chmod 600 {path}",
        )
    try:
        return parse(text)
    except UnicodeError:
        reason = _NO_KEY
    except ValueError as error:
        reason = str(error)
    raise ConfigError(f"key-file {path} {reason}", hint=_COPY)


def make_key(path: str, key: KeyText) -> None:
    """Write the new key file ``path``.  Raises :class:`ConfigError` if it exists or cannot be written."""
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            try:
                file.write(key.render())
                file.flush()
                os.fsync(fd)
            except OSError:
                os.unlink(path)
                raise
    except FileExistsError:
        raise ConfigError(
            f"key-file {path} exists already",
            hint="To join the workspace it belongs to, use it as it is; for a new one name another file.",
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from None


def replace_key(path: str, key: KeyText) -> None:
    """Let the key file ``path`` say this, from one moment to the next.  Raises :class:`ConfigError`.

    A symbolic link stays; what it leads to is replaced.
    """
    with replacing_key(path, key):
        pass


@contextlib.contextmanager
def replacing_key(path: str, key: KeyText) -> Iterator[None]:
    """Do as :func:`replace_key` at the end of the context, unless that raises; at its beginning it has room."""
    with contextlib.ExitStack() as unfinished:
        with _explained(path):
            file = unfinished.enter_context(replacing(os.path.realpath(path)))
            file.write(key.render())
            file.flush()
            os.fsync(file.fileno())
        yield
        with _explained(path):
            unfinished.close()


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"key-file {path} cannot be written: {error.strerror}", hint="Name a place that you may write to."
    )


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _key(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError(_NO_KEY)
    return raw
