"""Seals messages so that only holders of a workspace's key can read or make them."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
import stat

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from autosync.core.model import DeviceId, WorkspaceId
from autosync.errors import ConfigError

MAX_SEALED = 64 * 1024
"""Bytes of the largest sealed message."""
KEY_BYTES = 32
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_TAG_BYTES = 16
_PREFIX_BYTES = len(_VERSION) + _KEY_ID_BYTES
OVERHEAD = _PREFIX_BYTES + _NONCE_BYTES + _TAG_BYTES
"""Bytes that sealing adds."""


class SealBroken(ValueError):
    """A message was not sealed with this key for this context, or was changed since."""


class WorkspaceKey:
    """The key of one workspace: proves membership and hides everything from channels.

    All that is derived from the 32 secret bytes (RFC 5869, HKDF-SHA256, one ``info`` for
    each purpose) tells nothing of them, nor of each other.
    """

    __slots__ = ("_aead", "_prefix", "_slot_key", "id")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise ValueError(f"a workspace key has {KEY_BYTES} bytes, not {len(raw)}")
        self.id = WorkspaceId(_derive(raw, b"workspace id", 16).hex())
        # The key id in front lets a receiver with several keys (other workspaces, the one
        # before a rotation) choose without trying each.
        self._prefix = _VERSION + _derive(raw, b"key id", _KEY_ID_BYTES)
        self._aead = ChaCha20Poly1305(_derive(raw, b"seal", 32))
        self._slot_key = _derive(raw, b"slot", 32)

    def __repr__(self) -> str:
        return f"<WorkspaceKey of {self.id}>"

    @property
    def tag(self) -> str:
        """What channels call the workspace."""
        return self.id

    def slot(self, device: DeviceId) -> str:
        """Return what channels call a device of this workspace: 32 hex digits that hide its name."""
        return hmac.digest(self._slot_key, device.encode("utf-8"), "sha256")[:16].hex()

    def fits(self, sealed: bytes) -> bool:
        """Return whether ``sealed`` names this key; only :meth:`open` tells if that is true."""
        return sealed.startswith(self._prefix)

    def hide(self, sealed: bytes, salt: bytes) -> bytes:
        """Return a sealed message whose key id was replaced by what none but holders of the key recognise.

        Two with different salts have nothing in common that would tell of one workspace.
        """
        return self._disguise(salt) + sealed[_PREFIX_BYTES:]

    def unhide(self, hidden: bytes, salt: bytes) -> bytes | None:
        """Return what :meth:`hide` hid, ``None`` if that was not done with this key and ``salt``."""
        disguise = self._disguise(salt)
        return self._prefix + hidden[len(disguise) :] if hidden.startswith(disguise) else None

    def _disguise(self, salt: bytes) -> bytes:
        return hmac.digest(self._slot_key, b"hidden " + salt, "sha256")[:8]

    def seal(self, plaintext: bytes, *, context: bytes) -> bytes:
        """Return version, key id, nonce and ciphertext of ``plaintext``.

        It opens only with the same ``context``, which names what the message is for.
        Raises :class:`ValueError` above :data:`MAX_SEALED`.  Random nonces of 96 bits
        are safe for 2**32 messages of a key (NIST SP 800-38D, 8.3), which is one every
        30 ms for four years.
        """
        if len(plaintext) + OVERHEAD > MAX_SEALED:
            raise ValueError(f"{len(plaintext)} bytes are too many to be sealed in {MAX_SEALED}")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self._prefix + nonce + self._aead.encrypt(nonce, plaintext, self._bound(context))

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Return what was sealed.  Raises :class:`SealBroken`."""
        if not OVERHEAD <= len(sealed) <= MAX_SEALED:
            raise SealBroken(f"{len(sealed)} bytes are no sealed message")
        if not sealed.startswith(_VERSION):
            raise SealBroken(f"sealed in a form ({sealed[0]}) that is not known here")
        if not self.fits(sealed):
            raise SealBroken("sealed with another key")
        nonce = sealed[_PREFIX_BYTES : _PREFIX_BYTES + _NONCE_BYTES]
        try:
            return self._aead.decrypt(nonce, sealed[_PREFIX_BYTES + _NONCE_BYTES :], self._bound(context))
        except InvalidTag:
            raise SealBroken("the seal is broken") from None

    def _bound(self, context: bytes) -> bytes:
        """Return the associated data; all but the context has a fixed length, so it is unambiguous."""
        return self._prefix + bytes.fromhex(self.id) + context


def _derive(raw: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt=None, info=b"autosync 1 " + purpose).derive(raw)


def load_key(path: str) -> WorkspaceKey:
    """Return the key whose base64 the file ``path`` holds.

    Raises :class:`ConfigError` if it is absent, not a key, or not the user's secret.
    """
    copy = "Copy the file from another of your devices, byte for byte, and keep it at mode 0600."
    try:
        # Not blocking: a FIFO in its place must not hang the agent.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(4096) if stat.S_ISREG(status.st_mode) else b""
    except FileNotFoundError:
        raise ConfigError(f"key-file {path} does not exist", hint=copy) from None
    except OSError as error:
        raise ConfigError(f"key-file {path} cannot be read: {error.strerror}", hint=copy) from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"key-file {path} is not a file", hint=copy)
    if status.st_mode & 0o077:
        raise ConfigError(
            f"key-file {path} is open to other users of this machine (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"Run: chmod 600 {path}",
        )
    try:
        return WorkspaceKey(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError):
        raise ConfigError(f"key-file {path} does not hold the base64 of {KEY_BYTES} bytes", hint=copy) from None


def create_key(path: str) -> WorkspaceKey:
    """Make a new key, write it to the new file ``path`` and return it.

    Raises :class:`ConfigError` if the file exists or cannot be written.
    """
    raw = secrets.token_bytes(KEY_BYTES)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            try:
                file.write(base64.b64encode(raw) + b"\n")
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
        raise ConfigError(
            f"key-file {path} cannot be written: {error.strerror}", hint="Name a place that you may write to."
        ) from None
    return WorkspaceKey(raw)
