"""The identity of a device, and the addresses it has."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import stat
from pathlib import Path

import pytest
from cryptography import x509

from autosync.errors import StateError
from autosync.link.addresses import join, machine_addresses, reachable, split
from autosync.trust.identity import load_or_create_identity


def test_an_identity_is_made_once_and_kept_secret(tmp_path: Path) -> None:
    identity = load_or_create_identity(str(tmp_path / "state"))
    assert load_or_create_identity(str(tmp_path / "state")) == identity
    assert stat.S_IMODE(Path(identity.path).stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["identity.pem"]
    assert load_or_create_identity(str(tmp_path / "other")).certificate_der != identity.certificate_der


def test_a_certificate_is_valid_for_every_clock_and_names_nobody(tmp_path: Path) -> None:
    certificate = x509.load_der_x509_certificate(load_or_create_identity(str(tmp_path)).certificate_der)
    assert certificate.not_valid_before_utc == datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert certificate.not_valid_after_utc.year == 9999
    assert certificate.subject.rfc4514_string() == "CN=autosync"


def test_what_a_crash_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "identity.pem.new").write_bytes(b"-----BEGIN PRIV")
    load_or_create_identity(str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["identity.pem"]


@pytest.mark.parametrize("damage", ["empty", "noise", "cut", "key of another", "no key"])
def test_a_damaged_identity_is_told(tmp_path: Path, damage: str) -> None:
    path = Path(load_or_create_identity(str(tmp_path)).path)
    other = Path(load_or_create_identity(str(tmp_path / "other")).path).read_bytes()
    whole = path.read_bytes()
    begin = whole.index(b"-----BEGIN CERTIFICATE")
    path.write_bytes(
        {
            "empty": b"",
            "noise": bytes(range(256)),
            "cut": whole[: len(whole) // 2],
            "key of another": other[: other.index(b"-----BEGIN CERTIFICATE")] + whole[begin:],
            "no key": whole[begin:],
        }[damage]
    )
    with pytest.raises(StateError) as caught:
        load_or_create_identity(str(tmp_path))
    assert caught.value.title == f"{path} is damaged: it does not hold a private key and its certificate"
    assert caught.value.hint.startswith("The next `autosync run` makes a new one")


def test_an_identity_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = Path(load_or_create_identity(str(tmp_path)).path)
    path.chmod(0o640)
    with pytest.raises(StateError) as caught:
        load_or_create_identity(str(tmp_path))
    assert caught.value.title == f"{path} is open to other users of this machine (mode 0640)"
    assert caught.value.hint == f"Run: chmod 600 {path}"


def test_a_state_directory_that_cannot_be_made_is_told() -> None:
    with pytest.raises(StateError, match=r"/proc/nowhere/identity\.pem cannot be used: No such file or directory"):
        load_or_create_identity("/proc/nowhere")


@pytest.mark.parametrize("address", ["10.0.0.1:1", "[::1]:65535", "desktop.example.org:4711", "[fe80::1%eth0]:9"])
def test_an_address_comes_back_as_it_was(address: str) -> None:
    assert join(*split(address)) == address


@pytest.mark.parametrize(
    "address", ["", ":", "host", "host:", ":1", "host:0", "host:65536", "host:x", "host:²", "::1:5"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"not host:port|needs brackets"):
        split(address)


def test_the_addresses_of_this_machine_are_those_of_its_kernel() -> None:
    ips = {a.ip for a in machine_addresses()}
    assert ipaddress.ip_address("127.0.0.1") in ips
    assert {a.interface for a in machine_addresses()} <= {index for index, _ in socket.if_nameindex()}
    for ip in ips:
        if not ip.is_link_local:
            family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
            with socket.socket(family, socket.SOCK_STREAM) as own:
                own.bind((str(ip), 0))


def test_a_listener_is_reached_where_it_is_bound() -> None:
    assert reachable("10.1.2.3", 5) == ("10.1.2.3:5",)
    assert reachable("::1", 5) == ("[::1]:5",)
    everywhere = reachable("", 5)
    assert everywhere[-1] == "127.0.0.1:5"
    assert not any(address.startswith(("127.", "[::1]", "[fe80")) for address in everywhere[:-1])
