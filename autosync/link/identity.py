"""The certificate and private key by which peers know this device."""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from autosync.errors import StateError

FILE_NAME = "identity.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``certificate_der`` is for everyone; the file at ``path`` (PEM: private key, then
    certificate) never leaves the device."""

    certificate_der: bytes
    path: str


def load_or_create_identity(directory: str) -> Identity:
    """Return the identity kept in ``directory``, which is made if it does not exist.

    Raises :class:`StateError` if the file cannot be used.
    """
    path = os.path.join(directory, FILE_NAME)
    try:
        if not os.path.lexists(path):
            _create(directory, path)
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(65536)
    except OSError as error:
        raise StateError(
            f"{path} cannot be used: {error.strerror}", hint="Check the rights and the free space of the state-dir."
        ) from None
    if mode & 0o077:
        raise StateError(
            f"{path} is open to other users of this machine (mode {mode:04o})", hint=f"Run: chmod 600 {path}"
        )
    return Identity(certificate_der=_certificate_in(pem, path), path=path)


def _certificate_in(pem: bytes, path: str) -> bytes:
    try:
        key = load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError):
        matches = False
    else:
        spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        matches = key.public_key().public_bytes(*spki) == certificate.public_key().public_bytes(*spki)
    if not matches:
        raise StateError(
            f"{path} is damaged: it does not hold a private key and its certificate",
            hint="Delete it and start again: a new one is made, and the peers take it without more ado.",
        )
    return certificate.public_bytes(Encoding.DER)


def _create(directory: str, path: str) -> None:
    """Write a new identity, whole or not at all."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    unfinished = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(_new_pem())
        file.flush()
        os.fsync(file.fileno())
    os.rename(unfinished, path)


def _new_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    # The name is the same on every device: what peers trust is the very certificate.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "autosync")])
    certificate = (
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
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
