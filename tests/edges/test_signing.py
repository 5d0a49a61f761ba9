"""A device's signature is good for what it says, where it says it, and for nothing else."""

from __future__ import annotations

import datetime
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.model import DeviceId
from autosync.trust.identity import certify
from autosync.trust.signing import (
    SIGNATURE_BYTES,
    Forged,
    device_id,
    fingerprint,
    is_of,
    key_of,
    public_key,
    sign,
    verify,
)
from tests import figures

KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
PURPOSE = b"announcement in " + bytes(16)


def certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    return certify(key).public_bytes(Encoding.DER)


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_what_was_signed_is_verified(message: bytes, purpose: bytes) -> None:
    signature = sign(KEY, message, purpose=purpose)
    assert len(signature) == SIGNATURE_BYTES
    verify(KEY.public_key(), signature, message, purpose=purpose)


@given(st.integers(0, SIGNATURE_BYTES + 30 - 1), st.integers(1, 255))
def test_no_byte_can_be_changed(position: int, change: int) -> None:
    message = bytes(30)
    both = bytearray(sign(KEY, message, purpose=PURPOSE) + message)
    both[position] ^= change
    with pytest.raises(Forged, match="its signature is not by the key of that device"):
        verify(KEY.public_key(), bytes(both[:SIGNATURE_BYTES]), bytes(both[SIGNATURE_BYTES:]), purpose=PURPOSE)


def test_a_signature_serves_one_purpose_of_one_key() -> None:
    signature = sign(KEY, b"message", purpose=b"one")
    for key, message, purpose in (
        (OTHER, b"message", b"one"),
        (KEY, b"message", b"other"),
        (KEY, b"emessage", b"on"),  # the same bytes, divided elsewhere
        (KEY, b"", b"onemessage"),
    ):
        with pytest.raises(Forged, match="its signature is not by the key"):
            verify(key.public_key(), signature, message, purpose=purpose)
    for cut in (b"", signature[:-1], signature + b"\0"):
        with pytest.raises(Forged, match="it is not signed"):
            verify(KEY.public_key(), cut, b"message", purpose=b"one")
    with pytest.raises(Forged):
        verify(KEY.public_key(), bytes(SIGNATURE_BYTES), b"message", purpose=b"one")
    figures.record("bad inputs refused", 8)


def test_nobody_makes_a_second_signature_from_one() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for _ in range(8):  # half of all are made with the larger s
        signature = sign(KEY, b"message", purpose=PURPOSE)
        r, s = signature[:32], int.from_bytes(signature[32:], "big")
        other = encode_dss_signature(int.from_bytes(r, "big"), order - s)
        bound = b"autosync 1 signed " + len(PURPOSE).to_bytes(2, "big") + PURPOSE + b"message"
        KEY.public_key().verify(other, bound, ec.ECDSA(hashes.SHA256()))  # to ECDSA it is as good
        with pytest.raises(Forged, match="its signature is not by the key"):
            verify(KEY.public_key(), r + (order - s).to_bytes(32, "big"), b"message", purpose=PURPOSE)
    figures.record("bad inputs refused", 8)


def test_a_bare_ecdsa_signature_is_none_of_ours() -> None:
    """One that the device's key made for another protocol, as TLS does, is worth nothing."""
    signature = KEY.sign(b"message", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(Forged):
        verify(KEY.public_key(), signature, b"message", purpose=b"")


def test_an_id_names_its_key() -> None:
    device = device_id("laptop", KEY.public_key())
    assert re.fullmatch(r"laptop-[a-z2-7]{26}", device)
    assert is_of(device, KEY.public_key())
    assert not is_of(device, OTHER.public_key())
    # The name is not proved, the key is: two of one name are two devices.
    assert is_of(DeviceId(f"desktop-{fingerprint(KEY.public_key())}"), KEY.public_key())
    for no_id in ("laptop", "", fingerprint(KEY.public_key()), device.upper(), device + "-x", "laptop-0a1b2c3d"):
        assert not is_of(DeviceId(no_id), KEY.public_key())


def test_a_certificate_is_the_devices_own_or_nothing() -> None:
    device = device_id("laptop", KEY.public_key())
    assert fingerprint(key_of(device, certificate(KEY))) == fingerprint(KEY.public_key())
    with pytest.raises(Forged, match=f"its certificate is not that of {device}"):
        key_of(device, certificate(OTHER))


@pytest.mark.parametrize("junk", [b"", b"\x30", b"\x30\x82cert", bytes(4096), certificate(KEY)[:-1]])
def test_what_is_no_certificate_is_refused(junk: bytes) -> None:
    with pytest.raises(Forged, match="its certificate cannot be read"):
        public_key(junk)
    figures.record("bad inputs refused", 1)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_certificate_is_read_or_refused(position: int, change: int) -> None:
    damaged = bytearray(certificate(KEY))
    damaged[position % len(damaged)] ^= change
    try:
        public_key(bytes(damaged))
    except Forged:
        return


@pytest.mark.parametrize("kind", ["ed25519", "P-384"])
def test_a_key_of_another_kind_is_refused(kind: str) -> None:
    other = ec.generate_private_key(ec.SECP384R1()) if kind == "P-384" else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(other.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC))
        .sign(KEY, hashes.SHA256())
    )
    with pytest.raises(Forged, match="its certificate holds a key of another kind"):
        public_key(made.public_bytes(Encoding.DER))
    figures.record("bad inputs refused", 1)
