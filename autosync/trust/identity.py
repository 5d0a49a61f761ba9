"""The certificate and private key by which peers know this device."""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from autosync.core.model import DeviceId
from autosync.durable import replacing
from autosync.errors import StateError
from autosync.trust.signing import device_id, fingerprint, is_of, sign

FILE_NAME = "identity.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``certificate_der`` is for everyone; ``key`` and the file at ``path`` (PEM: private key,
    then certificate) never leave the device."""

    certificate_der: bytes
    path: str
    key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    def device_id(self, slug: str) -> DeviceId:
        """Return the id of the device that this is, called ``slug``."""
        return device_id(slug, self.key.public_key())

    def is_of(self, device: DeviceId) -> bool:
        """Return whether this is what ``device`` proves with that it is the one."""
        return is_of(device, self.key.public_key())

    def sign(self, message: bytes, *, purpose: bytes) -> bytes:
        """As :func:`autosync.trust.signing.sign`, with this device's key."""
        return sign(self.key, message, purpose=purpose)


class DamagedIdentity(StateError):
    """The file of the identity is there, but holds none."""


def load_or_create_identity(directory: str) -> Identity:
    """Return the identity kept in ``directory``, which is made if it does not exist.

    Raises :class:`StateError` if the file cannot be used, of which :class:`DamagedIdentity` is one.
    """
    path = os.path.join(directory, FILE_NAME)
    return _load(path) if os.path.lexists(path) else create_identity(directory)


def create_identity(directory: str) -> Identity:
    """Return a new identity, kept in ``directory`` in the place of one that was there.  Raises :class:`StateError`."""
    path = os.path.join(directory, FILE_NAME)
    with _explained(path):
        _create(directory, path)
    return _load(path)


def _load(path: str) -> Identity:
    with _explained(path), open(path, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        pem = file.read(65536)
    if mode & 0o077:
        raise StateError(
            f"{path} is open to other users of this machine (mode {mode:04o})", hint=f"Run: chmod 600 {path}"
        )
    try:
        key = load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
        theirs = certificate.public_key()
    except (ValueError, TypeError):
        raise _damaged(path) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(theirs, ec.EllipticCurvePublicKey):
        raise _damaged(path)
    if fingerprint(key.public_key()) != fingerprint(theirs):
        raise _damaged(path)
    return Identity(certificate_der=certificate.public_bytes(Encoding.DER), path=path, key=key)


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(
            f"{path} cannot be used: {error.strerror}", hint="Check the rights and the free space of the state-dir."
        ) from None


def _damaged(path: str) -> DamagedIdentity:
    return DamagedIdentity(
        f"{path} is damaged: it does not hold a private key and its certificate",
        hint="The next `autosync run` makes a new one: this device is then known to the others under a new id.",
    )


def _create(directory: str, path: str) -> None:
    """Write a new identity, whole or not at all."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with replacing(path, sole_writer=True) as file:
        file.write(_new_pem())


def _new_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certify(key).public_bytes(Encoding.PEM)


def certify(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the certificate that a device with this key shows."""
    # The name is the same on every device: what peers trust is the very certificate.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "autosync")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Valid for every clock, also one that starts at the epoch; the last moment is the
        # one that RFC 5280 (4.1.2.5) gives to certificates that do not expire.
        .not_valid_before(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
