"""Reads and makes the file with a workspace's key."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat

from autosync.errors import ConfigError

KEY_BYTES = 32


def read_key(path: str) -> bytes:
    """Return the 32 bytes whose base64 the file holds.

    Raises :class:`ConfigError`, also if other users can read the file.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(4096)
    except OSError as error:
        raise ConfigError(
            f"key-file {path}: cannot be read: {error.strerror}",
            hint="Copy it from another of your devices, and check its path and rights.",
        ) from None
    try:
        key = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"key-file {path}: does not hold a workspace key (the base64 of {KEY_BYTES} bytes)",
            hint="Copy it again from another of your devices, byte for byte.",
        )
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"key-file {path}: other users of this machine can read it (mode {stat.S_IMODE(mode):04o})",
            hint=f"Run `chmod 600 {path}`.",
        )
    return key


def make_key(path: str) -> None:
    """Write a new key to ``path``, which must not exist.  Raises :class:`FileExistsError`."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(fd)
