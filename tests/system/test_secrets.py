"""Keys and passwords are where they belong and nowhere else, also with `log-level: debug`."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from autosync.trust.identity import load_or_create_identity
from autosync.trust.keyfile import read_key
from tests import figures
from tests.system.fleet import Device, Fleet
from tests.waiting import until

PASSWORD = "hunter2 of the account"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Three devices with key files of their own, a hub, and an XMPP account whose server is not there."""
    with Fleet(tmp_path / "fleet") as fleet:
        fleet.clone(fleet.seed({"a.txt": "one\n"}), "anna", "bert", "cleo")
        account = f"xmpp: {{jid: you@localhost, password: '{PASSWORD}', host: 127.0.0.1, port: 9}}\n"
        fleet.configure(fleet.devices, top=account, remote="origin")
        for device in fleet.devices:
            own = device.home / "notes.key"
            shutil.copy(fleet.key, own)
            device.config.write_text(device.config.read_text().replace(str(fleet.key), str(own)))
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
    with contextlib.suppress(OSError):  # it has ended
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text().split():
                found += processes_of(int(child))
    return found


def files_below(top: Path) -> Iterator[tuple[str, bytes]]:
    """Return every file with its content, but for those that went away meanwhile: an agent is at work."""
    for directory, _, names in os.walk(top):
        for place in (os.path.join(directory, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                if os.path.isfile(place):
                    yield place, Path(place).read_bytes()


def visible(device: Device) -> Iterator[tuple[str, bytes]]:
    """Return everything that others might get to see or keep, with its place."""
    yield "log", device.log.encode()
    for command in ("status", "devices", "peers", "activity"):
        yield command, json.dumps(device.ask(command)).encode()
    done = device.run("status")
    yield "status in words", (done.stdout + done.stderr).encode()
    assert device.process is not None
    for pid in processes_of(device.process.pid):
        for name in ("cmdline", "environ"):
            try:
                yield f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_bytes()
            except (FileNotFoundError, ProcessLookupError):  # a git that has ended
                continue
    for top in (device.root, device.state):
        yield from ((place, content) for place, content in files_below(top) if not place.endswith("/identity.pem"))


def assert_nowhere(device: Device, secrets: dict[str, bytes]) -> int:
    looked = 0
    for place, content in visible(device):
        looked += 1
        for name, secret in secrets.items():
            written = [form for form in forms(secret) if form in content]
            assert not written, f"the {name} is in {place}: {written}"
    return looked


def test_secrets_are_in_their_files_only(fleet: Fleet) -> None:
    """Looked at after all that is done with them: a save, a change of the key made, taken, and not given."""
    anna, bert, cleo = fleet.devices
    fleet.start()
    anna.write("b.txt", "to be synced\n")
    until(lambda: bert.read("b.txt") == "to be synced\n", why=lambda: anna.log)
    for device in (anna, bert):
        until(lambda d=device: len(d.ask("devices")["workspaces"][0]["devices"]) == 3, why=lambda: anna.log[-3000:])  # type: ignore[misc]
    assert PASSWORD in anna.config.read_text()
    told = anna.run("revoke", "cleo", "--yes")
    assert told.returncode == 0, told.stderr
    # What it says must be changed as well is named without a password.
    assert "the hub origin of notes, where it can read whatever is pushed" in told.stdout
    assert "the XMPP account you@localhost" in told.stdout
    assert PASSWORD not in told.stdout
    until(lambda: bert.status()["trust"]["key-changes"] == 1, why=lambda: bert.log[-3000:])
    looked = 0
    for device in (anna, bert):
        secrets = secrets_of(device)
        assert len([name for name in secrets if name.startswith("key ")]) == 2
        looked += assert_nowhere(device, secrets)
    # What the revoked device is left with does not hold the new key either, and the hub holds none.
    until(lambda: cleo.status()["state"] == "halted", why=lambda: cleo.log[-3000:])
    looked += assert_nowhere(cleo, {"new key": read_key(str(anna.home / "notes.key")).raw})
    for device in fleet.devices:
        device.end()  # so that it holds still
    written = [form for secret in secrets_of(anna).values() for form in forms(secret)]
    for place, content in files_below(fleet.hub):
        assert not any(form in content for form in written), place
    assert looked > 100
    figures.record("places searched for secrets", looked)


@pytest.mark.parametrize("words", [("-v", "run"), ("check",)])
def test_a_key_file_that_is_damaged_is_not_shown(fleet: Fleet, words: tuple[str, ...]) -> None:
    anna = fleet.devices[0]
    file = anna.home / "notes.key"
    key = file.read_text().strip()
    file.write_text(key[:-5] if words == ("check",) else f"{key}\nepoch {key}\n")
    done = anna.run(*words)
    assert done.returncode == 1
    assert key[:16] not in done.stdout + done.stderr
    figures.record("bad inputs refused", 1)
