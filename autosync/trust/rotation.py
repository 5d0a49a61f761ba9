"""The message by which one device gives all but the revoked ones a new key of the workspace."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from autosync.core.announcement import is_device_id
from autosync.core.model import DeviceId, WorkspaceId
from autosync.trust.identity import Identity
from autosync.trust.keyfile import KEY_BYTES
from autosync.trust.signing import SIGNATURE_BYTES, Forged, fingerprint, fingerprint_of, key_of, verify

FORMAT = 1
MAX_RECIPIENTS = 384
"""Devices that one message has room for."""
MAX_REVOKED = 64
"""Devices that are revoked at once."""
_MOST = 60 * 1024
_POINT = (Encoding.X962, PublicFormat.CompressedPoint)
_NONCE = bytes(12)  # each wrapping key is used once


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A change of the key.

    ``epoch`` counts the changes; ``by`` made this one, ``at`` seconds since 1970.  Devices are named by the
    fingerprints of their keys: ``revoked`` maps those to the names people know them by,
    ``wrapped`` each recipient's to the new key, readable for it alone.  ``digest`` is the
    SHA-256 of all that, with the signature.
    """

    workspace: WorkspaceId
    epoch: int
    by: DeviceId
    name: str
    at: int
    revoked: Mapping[str, str]
    ephemeral: bytes
    wrapped: Mapping[str, bytes]
    digest: str

    @property
    def issuer(self) -> str:
        """The fingerprint of the device that made it."""
        return fingerprint_of(self.by)

    def unwrap(self, identity: Identity) -> bytes | None:
        """Return the new key, ``None`` if it is not for this device.  Raises :class:`Forged` if it is none."""
        mine = fingerprint(identity.key.public_key())
        wrapped = self.wrapped.get(mine)
        if wrapped is None:
            return None
        try:
            ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.ephemeral)
            shared = identity.key.exchange(ec.ECDH(), ephemeral)
            return _cipher(shared, self.ephemeral, mine, self.workspace, self.epoch).decrypt(_NONCE, wrapped, None)
        except (ValueError, InvalidTag):
            raise Forged("the key in it cannot be read") from None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    workspace: str
    epoch: int
    by: str
    name: str
    at: int
    revoked: dict[str, str]
    certificate: bytes
    ephemeral: bytes
    wrapped: dict[str, bytes]


def compose(
    identity: Identity,
    raw: bytes,
    *,
    workspace: WorkspaceId,
    epoch: int,
    by: DeviceId,
    name: str,
    at: int,
    revoked: Mapping[str, str],
    recipients: Mapping[str, bytes],
) -> bytes:
    """Return the signed message that gives the key ``raw`` to ``recipients`` (fingerprint to public key).

    Raises :class:`ValueError` if it would be too large.
    """
    if len(recipients) > MAX_RECIPIENTS or len(revoked) > MAX_REVOKED:
        raise ValueError(f"more than {MAX_RECIPIENTS} devices, or more than {MAX_REVOKED} revoked at once")
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    shown = point(ephemeral.public_key())
    wrapped = {}
    for one, public in recipients.items():
        shared = ephemeral.exchange(ec.ECDH(), load_point(public))
        wrapped[one] = _cipher(shared, shown, one, workspace, epoch).encrypt(_NONCE, raw, None)
    body = _Body(
        v=FORMAT,
        workspace=workspace,
        epoch=epoch,
        by=by,
        name=name,
        at=at,
        revoked=dict(revoked),
        certificate=identity.certificate_der,
        ephemeral=shown,
        wrapped=wrapped,
    )
    encoded = msgspec.json.encode(body)
    if len(encoded) + SIGNATURE_BYTES > _MOST:
        raise ValueError(f"{len(encoded)} bytes are too many for one message")
    return encoded + identity.sign(encoded, purpose=_purpose(workspace))


def examine(message: bytes, workspace: WorkspaceId) -> Rotation:
    """Return what a message says whose signature is good.

    Raises :class:`Forged` if it is not, :class:`ValueError` for what is no such message.
    """
    encoded, signature = message[:-SIGNATURE_BYTES], message[-SIGNATURE_BYTES:]
    try:
        body = msgspec.json.decode(encoded, type=_Body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"it is no change of a key: {error}") from None
    _check(body)
    if body.workspace != workspace:
        raise Forged("it is of another workspace")
    by = DeviceId(body.by)
    verify(key_of(by, body.certificate), signature, encoded, purpose=_purpose(workspace))
    return Rotation(
        workspace=workspace,
        epoch=body.epoch,
        by=by,
        name=body.name,
        at=body.at,
        revoked=body.revoked,
        ephemeral=body.ephemeral,
        wrapped=body.wrapped,
        digest=hashlib.sha256(message).hexdigest(),
    )


def point_of(certificate_der: bytes, device: DeviceId) -> bytes:
    """Return a device's public key (X9.62, compressed: 33 bytes).  Raises :class:`Forged`."""
    return point(key_of(device, certificate_der))


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as :func:`point_of` does."""
    return key.public_bytes(*_POINT)


def load_point(public: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key that :func:`point_of` wrote.  Raises :class:`ValueError`."""
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)


def _check(body: _Body) -> None:
    """Raise :class:`ValueError` unless every field is of the size and kind it must be."""
    if body.v != FORMAT:
        raise ValueError("it is a change of a key in a form that is not known here")
    if not 1 <= body.epoch < 2**31 or not 0 <= body.at < 2**40:
        raise ValueError("its epoch or time is out of range")
    if not is_device_id(body.by) or not (1 <= len(body.name) <= 128 and body.name.isprintable()):
        raise ValueError("its device or name is none")
    if len(body.wrapped) > MAX_RECIPIENTS or len(body.revoked) > MAX_REVOKED or len(body.ephemeral) > 65:
        raise ValueError("it names too many devices")
    if any(len(name) > 128 or not name.isprintable() for name in body.revoked.values()):
        raise ValueError("the name of a revoked device is none")
    if body.revoked.keys() & body.wrapped.keys():
        raise ValueError("it gives the key to a device that it revokes")


def _purpose(workspace: WorkspaceId) -> bytes:
    return b"rotation in " + bytes.fromhex(workspace)


def _cipher(shared: bytes, ephemeral: bytes, recipient: str, workspace: WorkspaceId, epoch: int) -> ChaCha20Poly1305:
    """Return what wraps the key for one recipient: everything that may not be exchanged goes into the derivation."""
    bound = ephemeral + recipient.encode("ascii", "replace") + bytes.fromhex(workspace) + epoch.to_bytes(4, "big")
    info = b"autosync 1 wrap " + bound
    return ChaCha20Poly1305(HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(shared))
