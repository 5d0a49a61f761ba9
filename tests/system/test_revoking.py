"""A device is revoked: the others get a new key by themselves, it gets nothing any more."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.core.model import SnapshotId
from autosync.link import wire
from autosync.link.wire import Kind, Outcome, frame
from autosync.trust.keyring import BUNDLE
from autosync.trust.keyring import CONTEXT as ROTATION
from autosync.trust.sealing import load_key
from tests import figures
from tests.channels.reflectors import Running
from tests.system.fleet import Device, Fleet
from tests.system.recording import recorded
from tests.system.rogue import rogue
from tests.waiting import PATIENCE, until

FILES = {"a.txt": "one\n"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Three devices, each with a key file of its own, running and equal; only direct links between them."""
    with Fleet(tmp_path / "fleet") as fleet:
        fleet.clone(fleet.seed(FILES, hub=False), "anna", "bert", "cleo")
        fleet.configure(fleet.devices)
        for device in fleet.devices:
            own_key(fleet, device)
        fleet.start()
        fleet.equal()
        for device in fleet.devices:
            until(lambda d=device: len(known(d)) == 3, why=lambda d=device: d.log[-3000:])  # type: ignore[misc]
        yield fleet
        for device in fleet.devices:
            assert "Traceback" not in device.log, device.log[max(0, device.log.index("Traceback") - 500) :][:3000]


def own_key(fleet: Fleet, device: Device) -> None:
    own = device.home / "notes.key"
    shutil.copy(fleet.key, own)
    device.config.write_text(device.config.read_text().replace(str(fleet.key), str(own)))


def tag(device: Device) -> str:
    return load_key(str(device.home / "notes.key")).tag


def known(device: Device) -> dict[str, str]:
    """Return the state of each device that this one lists."""
    return {d["device"]: d["state"] for d in device.ask("devices")["workspaces"][0]["devices"]}


def moved(device: Device, before: str) -> None:
    until(lambda: tag(device) != before, why=lambda: device.log[-3000:])


def syncs(writer: Device, reader: Device, text: str) -> None:
    writer.write("a.txt", text)
    until(lambda: reader.read("a.txt") == text, why=lambda: writer.log[-2000:] + reader.log[-3000:])


def test_the_others_go_on_with_a_new_key_and_it_is_told(fleet: Fleet) -> None:
    anna, bert, cleo = fleet.devices
    before = tag(anna)
    told = anna.run("revoke", "cleo", "--yes")
    assert told.returncode == 0, told.stderr
    assert "notes: cleo is revoked; the key is a new one." in told.stdout
    assert "nothing that is configured here (a hub, an XMPP account)" in told.stdout
    moved(bert, before)
    assert tag(anna) == tag(bert) != before
    assert load_key(str(bert.home / "notes.key")).id == before
    assert stat.S_IMODE((bert.home / "notes.key").stat().st_mode) == 0o600
    syncs(anna, bert, "without cleo\n")
    syncs(bert, anna, "and back\n")
    until(lambda: cleo.status()["state"] == "halted", why=lambda: cleo.log[-3000:])
    halt = cleo.status()["halt"]
    assert halt["title"].startswith("this device was revoked by anna on 20")
    assert halt["title"].endswith("; its files stay, nothing is synced")
    assert "autosync join" in halt["hint"]
    assert "was revoked by anna" in cleo.run("status").stdout
    for words in ("resume", "sync"):
        refused = cleo.run(words)
        assert (refused.returncode, "was revoked by anna" in refused.stderr) == (1, True)
    assert "this one, revoked" in cleo.run("devices").stdout
    assert [[p["device"] for p in d.status()["peers"]] for d in (anna, bert, cleo)] == [["bert"], ["anna"], []]
    assert anna.run("sync", "--wait").returncode == 0
    assert cleo.read("a.txt") == "one\n"
    assert tag(cleo) == before
    assert known(anna) == {"anna": "member", "bert": "linked", "cleo": "revoked"}
    # A restart of everybody changes nothing of it.
    for device in fleet.devices:
        assert device.end() == 0
    fleet.start()
    assert cleo.status()["state"] == "halted"
    syncs(bert, anna, "after a restart\n")
    cleo.write("a.txt", "of cleo alone\n")
    syncs(anna, bert, "once more\n")
    assert cleo.read("a.txt") == "of cleo alone\n"


def test_a_device_that_was_off_finds_its_way_through_two_changes(fleet: Fleet) -> None:
    anna, bert, cleo = fleet.devices
    before = tag(bert)
    assert bert.end() == 0
    bert.write("b.txt", "written while off\n")
    assert anna.run("revoke", "cleo", "--yes").returncode == 0
    (dora,) = fleet.clone(fleet.place / "seed", "dora")
    fleet.configure([dora], peers=False)
    dora.config.write_text(dora.config.read_text().replace("peers: []", f"peers: ['127.0.0.1:{fleet.ports['anna']}']"))
    own = dora.home / "notes.key"
    shutil.copy(anna.home / "notes.key", own)
    dora.config.write_text(dora.config.read_text().replace(str(fleet.key), str(own)))
    fleet.start(dora)
    until(lambda: "dora" in known(anna), why=lambda: dora.log[-3000:])
    assert anna.run("revoke", "dora", "--yes").returncode == 0
    assert load_key(str(anna.home / "notes.key")).epoch == 2
    fleet.start(bert)
    moved(bert, before)
    until(lambda: tag(bert) == tag(anna), why=lambda: bert.log[-3000:])
    until(lambda: anna.read("b.txt") == "written while off\n", why=lambda: bert.log[-3000:])
    until(lambda: dora.status()["state"] == "halted", why=lambda: dora.log[-3000:])
    assert cleo.read("b.txt") is None
    assert dora.read("b.txt") is None


def test_two_that_revoke_at_one_time_both_get_their_way(fleet: Fleet) -> None:
    anna, bert, cleo = fleet.devices
    (dora,) = fleet.clone(fleet.place / "seed", "dora")
    fleet.configure([dora], peers=False)
    others = [f"127.0.0.1:{fleet.ports[d.name]}" for d in (anna, bert, cleo)]
    dora.config.write_text(dora.config.read_text().replace("peers: []", f"peers: {json.dumps(others)}"))
    own_key(fleet, dora)
    fleet.start(dora)
    for device in fleet.devices:
        until(lambda d=device: len(known(d)) == 4, why=lambda d=device: d.log[-3000:])  # type: ignore[misc]
    assert bert.end() == dora.end() == 0
    assert anna.run("revoke", "cleo", "--yes").returncode == 0
    assert anna.end() == 0
    fleet.start(bert)
    assert bert.run("revoke", "dora", "--yes").returncode == 0
    fleet.start(anna, dora)
    until(lambda: tag(anna) == tag(bert) and known(anna).get("dora") == "revoked", why=lambda: anna.log[-3000:])
    until(
        lambda: {known(d).get(n) for d in (anna, bert) for n in ("cleo", "dora")} == {"revoked"}, why=lambda: anna.log
    )
    syncs(anna, bert, "the two of us\n")
    for device in (cleo, dora):
        until(lambda d=device: d.status()["state"] == "halted", why=lambda d=device: d.log[-3000:])  # type: ignore[misc]


def test_what_cannot_be_revoked_is_told(fleet: Fleet) -> None:
    anna = fleet.devices[0]
    before = tag(anna)
    for wanted, said in (
        ("anna", "anna is this device: it cannot revoke itself"),
        ("nobody", "No device 'nobody' is known here"),
        ("", "No device was named"),
    ):
        done = anna.run("revoke", wanted, "--yes")
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    asked = anna.run("revoke", "cleo")  # nobody answers
    assert asked.returncode == 1
    assert asked.stderr.endswith(
        "Error: Nobody was there to say yes: nothing was changed\n  Give --yes not to be asked.\n"
    )
    assert "the new key goes to this device and to bert" in asked.stdout
    assert tag(anna) == before


async def test_the_old_key_opens_nothing_any_more(fleet: Fleet) -> None:
    """One who still has it is told of the new one, and served, heard and believed in nothing else."""
    anna, bert, _ = fleet.devices
    old = load_key(str(anna.home / "notes.key"))
    done = await asyncio.to_thread(anna.run, "revoke", "cleo", "--yes")
    assert done.returncode == 0
    await asyncio.to_thread(moved, bert, old.tag)
    wanted = anna.status()["snapshot"]
    async with rogue(old, fleet.ports["anna"], fleet.place, serving=False) as mallory:
        mallory.writer.write(wire.fetch(1, wanted, []))
        await mallory.say(snapshot=SnapshotId("f" * 40))
        heard: list[tuple[int, bytes]] = []
        while not heard or heard[-1][0] != Kind.END:
            heard.append(await asyncio.wait_for(wire.read_frame(mallory.reader), PATIENCE))
        assert wire.parse_end(heard[-1][1])[1] is Outcome.MISSING
        assert Kind.DATA not in [kind for kind, _ in heard]
        await asyncio.to_thread(until, lambda: anna.status()["dropped"].get("old key", 0) > 0)
    assert "mallory" not in [p["device"] for p in anna.status()["peers"]]
    assert "mallory" not in known(anna)
    await asyncio.to_thread(syncs, bert, anna, "as if nothing had been\n")


async def test_a_revoked_device_that_makes_up_changes_without_end_is_no_trouble(fleet: Fleet) -> None:
    """Each of them costs a signature to check; the agent goes on, and its log stays short."""
    anna, bert, _ = fleet.devices
    old = load_key(str(anna.home / "notes.key"))
    assert (await asyncio.to_thread(anna.run, "revoke", "cleo", "--yes")).returncode == 0
    await asyncio.to_thread(moved, bert, old.tag)
    async with rogue(old, fleet.ports["anna"], fleet.place, serving=False) as mallory:
        for number in range(1000):
            change = old.seal(b"{}" + number.to_bytes(64, "big"), context=ROTATION)
            told = old.seal(len(change).to_bytes(2, "big") + change, context=BUNDLE)
            mallory.writer.write(frame(Kind.ANNOUNCE, told))
            await mallory.writer.drain()

        def counted() -> int:
            dropped = anna.status()["dropped"]
            return sum(dropped.get(f"{kind} of the key", 0) for kind in ("forged change", "too many changes"))

        await asyncio.to_thread(until, lambda: counted() >= 1000, why=lambda: anna.log[-3000:])
    assert anna.status()["dropped"]["too many changes of the key"] > 0
    assert anna.log.count("a change of the key was refused") <= 5
    await asyncio.to_thread(syncs, bert, anna, "as if nothing had been\n")
    figures.record("bad inputs refused", 1000)


def test_a_device_that_cannot_write_the_new_key_says_so_and_goes_on_when_it_can(fleet: Fleet) -> None:
    anna, bert, _ = fleet.devices
    before = tag(bert)
    file = bert.home / "notes.key"
    kept = bert.home / "kept"
    kept.mkdir()
    file.rename(kept / "notes.key")
    file.symlink_to(kept / "notes.key")
    kept.rename(bert.home / "elsewhere")  # as a disk that was taken out
    assert anna.run("revoke", "cleo", "--yes").returncode == 0
    until(lambda: bert.status()["state"] == "halted", why=lambda: bert.log[-3000:])
    halt = bert.status()["halt"]
    assert halt["title"].startswith(f"the others have a new key, which cannot be kept here: key-file {file}")
    assert halt["hint"].endswith("It is tried again by itself.")
    assert "the others have a new key" in bert.run("status").stdout
    (bert.home / "elsewhere").rename(kept)
    moved(bert, before)
    syncs(anna, bert, "both have it\n")
    assert bert.status()["halt"] is None


def test_who_was_off_finds_the_new_key_on_a_channel_while_nobody_is_there(tmp_path: Path) -> None:
    """A channel keeps what was said last under the old key as well, and nobody needs a direct link for it."""
    server = Running()
    server.start()
    try:
        with Fleet(tmp_path / "fleet") as fleet:
            anna, bert, cleo = fleet.clone(fleet.seed(FILES, hub=False), "anna", "bert", "cleo")
            fleet.configure(fleet.devices, peers=False, top=f"reflector: 127.0.0.1:{server.port}\n")
            for device in fleet.devices:
                own_key(fleet, device)
                device.config.write_text(re.sub(r"(?m)^listen: .*$", "listen: none", device.config.read_text()))
            fleet.start()
            for device in fleet.devices:
                until(lambda d=device: len(known(d)) == 3, why=lambda d=device: d.log[-3000:])  # type: ignore[misc]
            before = tag(bert)
            assert bert.end() == 0
            assert anna.run("revoke", "cleo", "--yes").returncode == 0
            until(lambda: cleo.status()["state"] == "halted", why=lambda: cleo.log[-3000:])
            anna.write("a.txt", "under the new key\n")
            recorded(anna, "a.txt")
            assert anna.run("sync").returncode == 0
            assert anna.end() == cleo.end() == 0
            fleet.start(bert)
            moved(bert, before)
            until(lambda: bert.read("a.txt") == "under the new key\n", why=lambda: bert.log[-3000:])
            assert tag(bert) == tag(anna)
            assert known(bert) == {"bert": "member", "anna": "member", "cleo": "revoked"}
    finally:
        server.stop()


def test_a_change_of_the_key_releases_nothing_that_was_stopped(fleet: Fleet) -> None:
    anna, bert, _ = fleet.devices
    before = tag(bert)
    assert bert.run("pause").returncode == 0
    assert anna.run("revoke", "cleo", "--yes").returncode == 0
    moved(bert, before)
    anna.write("a.txt", "while bert rests\n")
    until(lambda: known(anna).get("bert") == "linked", why=lambda: anna.log[-3000:])
    assert bert.status()["phase"] == "paused"
    assert bert.read("a.txt") == "one\n"
    assert bert.run("resume").returncode == 0
    until(lambda: bert.read("a.txt") == "while bert rests\n", why=lambda: bert.log[-3000:])
