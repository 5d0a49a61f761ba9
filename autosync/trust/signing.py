"""Signs what a device says, and tells whether it was that device: the id names the key."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from autosync.core.model import DeviceId

SIGNATURE_BYTES = 64
"""Of an ECDSA signature with P-256 and SHA-256: r and s, 32 bytes each, big-endian (RFC 7518, 3.4).

Of s and its negative, which are equally good to ECDSA, only the smaller counts: nobody can make a second
signature, and with it a second digest, from one that he has seen.
"""
FINGERPRINT_BYTES = 16
"""Of the SHA-256 of a public key: 128 bits cost 2**128 attempts to meet with another key."""
_ALGORITHM = ec.ECDSA(hashes.SHA256())
_DOMAIN = b"autosync 1 signed "
_HALF = SIGNATURE_BYTES // 2
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the base point of P-256 (SEC 2, 2.4.2)."""


class Forged(ValueError):
    """What was said was not said by the device in whose name it came."""


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the 26 lowercase base32 characters (RFC 4648) by which a device's key is known."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(spki).digest()[:FINGERPRINT_BYTES]
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()


def device_id(slug: str, key: ec.EllipticCurvePublicKey) -> DeviceId:
    """Return the id of the device that has the private half of ``key``: whoever reads it can check it."""
    return DeviceId(f"{slug}-{fingerprint(key)}")


def fingerprint_of(device: DeviceId) -> str:
    """Return the fingerprint in a device id, which is all of it that is proved."""
    return device.rpartition("-")[2]


def is_of(device: DeviceId, key: ec.EllipticCurvePublicKey) -> bool:
    """Return whether ``device`` is an id that only the holder of this key can speak for."""
    return device.endswith(f"-{fingerprint(key)}")


@lru_cache(maxsize=256)
def public_key(certificate_der: bytes) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key of a certificate.  Raises :class:`Forged` if it is none."""
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except Exception as error:  # cryptography names no base of what malformed DER can raise
        raise Forged("its certificate cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Forged("its certificate holds a key of another kind")
    return key


def key_of(device: DeviceId, certificate_der: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of ``device`` from its certificate.  Raises :class:`Forged` if it is not that device's."""
    key = public_key(certificate_der)
    if not is_of(device, key):
        raise Forged(f"its certificate is not that of {device}")
    return key


def sign(key: ec.EllipticCurvePrivateKey, message: bytes, *, purpose: bytes) -> bytes:
    """Return the signature of ``message``, good for this ``purpose`` only: it names what and for which workspace."""
    r, s = decode_dss_signature(key.sign(_bound(message, purpose), _ALGORITHM))
    return r.to_bytes(_HALF, "big") + min(s, _ORDER - s).to_bytes(_HALF, "big")


def verify(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes, *, purpose: bytes) -> None:
    """Return if the holder of ``key`` has signed ``message`` for ``purpose``.  Raises :class:`Forged`."""
    if len(signature) != SIGNATURE_BYTES:
        raise Forged("it is not signed")
    r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
    try:
        if s > _ORDER - s:
            raise InvalidSignature
        key.verify(encode_dss_signature(r, s), _bound(message, purpose), _ALGORITHM)
    except InvalidSignature:
        raise Forged("its signature is not by the key of that device") from None


def _bound(message: bytes, purpose: bytes) -> bytes:
    """Return what is signed: the length makes sure that no purpose runs into a message."""
    return _DOMAIN + len(purpose).to_bytes(2, "big") + purpose + message
