"""Keys and passwords are where they belong and nowhere else, also with `log-level: debug`."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from autosync.keyfile import read_key
from autosync.link import load_or_create_identity
from tests import figures
from tests.system.fleet import Device, Fleet
from tests.waiting import until

PASSWORD = "hunter2 of the account"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Two devices with key files of their own, a hub, and an XMPP account whose server is not there."""
    with Fleet(tmp_path / "fleet") as fleet:
        fleet.clone(fleet.seed({"a.txt": "one\n"}), "anna", "bert")
        account = f"xmpp: {{jid: you@localhost, password: '{PASSWORD}', host: 127.0.0.1, port: 9}}\n"
        fleet.configure(fleet.devices, top=account, remote="origin")
        for device in fleet.devices:
            own = device.home / "notes.key"
            shutil.copy(fleet.key, own)
            device.config.write_text(device.config.read_text().replace(str(fleet.key), str(own)))
        fleet.start()
        fleet.equal()
        yield fleet


def forms(secret: bytes) -> list[bytes]:
    """Return a secret as it might be written down."""
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
        base64.b32encode(secret).rstrip(b"="),
        base64.b32encode(secret).rstrip(b"=").lower(),
        repr(secret)[2:-1].encode(),
        str(int.from_bytes(secret, "big")).encode(),
    ]


def secrets_of(device: Device) -> dict[str, bytes]:
    """Return what only the device itself may know, by name."""
    text = read_key(str(device.home / "notes.key"))
    identity = load_or_create_identity(str(device.state))
    assert isinstance(identity.key, ec.EllipticCurvePrivateKey)
    scalar = identity.key.private_numbers().private_value.to_bytes(32, "big")
    keys = {f"key {number}": raw for number, raw in enumerate((text.raw, *text.previous))}
    return {**keys, "device key": scalar, "password": PASSWORD.encode()}


def processes_of(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += processes_of(int(child))
    return found


def visible(device: Device) -> Iterator[tuple[str, bytes]]:
    """Return everything that others might get to see or keep, with its place."""
    yield "log", device.log.encode()
    for words in (["status", "--json"], ["devices", "--json"], ["peers", "--json"]):
        done = device.run(*words)
        yield " ".join(words), (done.stdout + done.stderr).encode()
    assert device.process is not None
    for pid in processes_of(device.process.pid):
        for name in ("cmdline", "environ"):
            try:
                yield f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_bytes()
            except (FileNotFoundError, ProcessLookupError):  # a git that has ended
                continue
    for top in (device.root, device.state):
        for path in top.rglob("*"):
            if path.is_file() and path.name != "identity.pem":
                yield str(path), path.read_bytes()


def assert_nowhere(device: Device, secrets: dict[str, bytes]) -> int:
    looked = 0
    for place, content in visible(device):
        looked += 1
        for name, secret in secrets.items():
            written = [form for form in forms(secret) if form in content]
            assert not written, f"the {name} is in {place}: {written}"
    return looked


def test_secrets_are_in_their_files_only(fleet: Fleet) -> None:
    anna, bert = fleet.devices
    anna.write("b.txt", "to be synced\n")
    until(lambda: bert.read("b.txt") == "to be synced\n", why=lambda: anna.log)
    old = secrets_of(anna)
    assert all(secret in path.read_bytes() for secret, path in ((PASSWORD.encode(), anna.config),))
    looked = assert_nowhere(anna, old) + assert_nowhere(bert, secrets_of(bert))
    (cleo,) = fleet.clone(fleet.hub, "cleo")
    fleet.configure([cleo], peers=False, remote="origin")
    cleo.config.write_text(cleo.config.read_text().replace("peers: []", f"peers: ['127.0.0.1:{fleet.ports['anna']}']"))
    fleet.start(cleo)
    until(lambda: "cleo" in anna.run("devices").stdout, why=lambda: anna.log[-3000:])
    assert anna.run("revoke", "cleo", "--yes").returncode == 0
    until(lambda: "key-changes" in str(bert.status()) and bert.status()["trust"]["key-changes"] == 1)
    for device in (anna, bert):
        secrets = secrets_of(device)
        assert len([name for name in secrets if name.startswith("key ")]) == 2
        looked += assert_nowhere(device, secrets)
    # What the revoked device is left with does not hold the new key either, and the hub holds none.
    looked += assert_nowhere(cleo, {"new key": read_key(str(anna.home / "notes.key")).raw})
    for path in fleet.hub.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(form in content for secret in old.values() for form in forms(secret)), path
    assert looked > 100
    figures.record("places searched for secrets", looked)


def test_a_key_file_that_is_damaged_is_not_shown(fleet: Fleet) -> None:
    anna = fleet.devices[0]
    assert anna.end() == 0
    file = anna.home / "notes.key"
    key = file.read_text().strip()
    for damaged in (key[:-5], f"{key}\nepoch {key}\n"):
        file.write_text(damaged)
        for words in (["-v", "run"], ["check"]):
            done = anna.run(*words)
            assert done.returncode == 1, words
            assert key[:16] not in done.stdout + done.stderr + anna.log
    figures.record("bad inputs refused", 4)
