"""Seals messages so that only holders of a workspace's key can read or make them."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from autosync.core.model import DeviceId, WorkspaceId
from autosync.errors import ConfigError
from autosync.trust.keyfile import KEY_BYTES, KeyText, make_key, parse, read_key

MAX_SEALED = 64 * 1024
"""Bytes of the largest sealed message."""
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

    ``id`` names the workspace and outlives the key: ``workspace`` is given for a key that took
    the place of another, for the ``epoch``-th time.  ``tag`` and slots are this key's own.
    """

    __slots__ = ("_aead", "_prefix", "_slot_key", "_workspace", "epoch", "id", "retired", "tag")

    def __init__(self, raw: bytes, *, workspace: WorkspaceId | None = None, epoch: int = 0) -> None:
        if len(raw) != KEY_BYTES:
            raise ValueError(f"a workspace key has {KEY_BYTES} bytes, not {len(raw)}")
        self.tag = _derive(raw, b"workspace id", 16).hex()
        """What channels call the workspace."""
        self.id = workspace or WorkspaceId(self.tag)
        self.epoch = epoch
        self.retired = False
        self._workspace = bytes.fromhex(self.id)
        # The key id in front lets a receiver with several keys (other workspaces, the one
        # before a rotation) choose without trying each.
        self._prefix = _VERSION + _derive(raw, b"key id", _KEY_ID_BYTES)
        self._aead = ChaCha20Poly1305(_derive(raw, b"seal", 32))
        self._slot_key = _derive(raw, b"slot", 32)

    def __repr__(self) -> str:
        return f"<WorkspaceKey of {self.id}>"

    def mark(self, what: bytes) -> str:
        """Return what ``what`` is known by among the holders of the key: 32 hex digits."""
        return hmac.digest(self._slot_key, b"\0mark " + what, "sha256")[:16].hex()

    def retire(self) -> WorkspaceKey:
        """Return this key for the time after it was replaced: links know it as a workspace of its own."""
        if self.retired:
            return self
        old = object.__new__(WorkspaceKey)
        for name in WorkspaceKey.__slots__:
            setattr(old, name, getattr(self, name))
        old.retired = True
        old.id = WorkspaceId(hmac.digest(self._slot_key, b"retired", "sha256")[:16].hex())
        return old

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
        return self._prefix + self._workspace + context


def _derive(raw: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt=None, info=b"autosync 1 " + purpose).derive(raw)


def load_key(path: str) -> WorkspaceKey:
    """Return the key that the file ``path`` holds now.

    Raises :class:`ConfigError` if it is absent, not a key, or not the user's secret.
    """
    return key_in(read_key(path))


def key_in(text: KeyText) -> WorkspaceKey:
    """Return the key that a key file holds."""
    return WorkspaceKey(text.raw, workspace=None if text.id is None else WorkspaceId(text.id), epoch=text.epoch)


def create_key(path: str) -> WorkspaceKey:
    """Make a new key, write it to the new file ``path`` and return it.

    Raises :class:`ConfigError` if the file exists or cannot be written.
    """
    raw = secrets.token_bytes(KEY_BYTES)
    make_key(path, KeyText(raw=raw))
    return WorkspaceKey(raw)


def key_text(path: str) -> str:
    """Return what a new device of the workspace needs to be given: a key file without the keys of before.

    Raises :class:`ConfigError` as :func:`load_key` does.
    """
    return replace(read_key(path), previous=()).render().decode("ascii")


def write_key(path: str, text: str) -> WorkspaceKey:
    """Write what :func:`key_text` returned elsewhere to the new file ``path`` and return the key.

    Raises :class:`ConfigError` if it is no key, or if the file exists or cannot be written.
    """
    try:
        key = parse(text.encode("ascii"))
    except ValueError as error:
        reason = "is not text" if isinstance(error, UnicodeError) else str(error)
        raise ConfigError(f"The key that was handed over {reason}", hint="Ask for it once more.") from None
    make_key(path, key)
    return key_in(key)
