"""Changes of a workspace's key: who gets it, who does not, and what all of them agree on in the end."""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autosync.core.model import DeviceId
from autosync.errors import ConfigError
from autosync.trust.identity import load_or_create_identity
from autosync.trust.keyfile import KeyText, make_key, read_key
from autosync.trust.keyring import BUNDLE, CONTEXT, Keyring, Outcome, Trust
from autosync.trust.rotation import Rotation, compose, examine, point
from autosync.trust.sealing import SealBroken, WorkspaceKey, key_in, key_text, write_key
from autosync.trust.signing import Forged, fingerprint
from tests import figures

RAW = bytes(range(32))
FIRST = WorkspaceKey(RAW)
NOON = 1_800_000_000


class Device:
    """A device that has its key file, its identity and what it remembered; nothing else."""

    def __init__(self, place: Path, name: str, *, key: str | None = None) -> None:
        self.name = name
        self.file = str(place / name / "notes.key")
        self.identity = load_or_create_identity(str(place / name))
        self.id: DeviceId = self.identity.device_id(name)
        self.mark = fingerprint(self.identity.key.public_key())
        self.point = point(self.identity.key.public_key())
        self.remembered = Trust()
        self.stay: set[str] = set()
        if key is None:
            make_key(self.file, KeyText(raw=RAW))
        else:
            write_key(self.file, key)
        self.ring = self.opened()

    def opened(self, saved: Callable[[Trust, Collection[str] | None], None] | None = None) -> Keyring:
        """Return the keys as a new start of the agent finds them."""
        self.ring = Keyring(
            self.file, self.remembered, identity=self.identity, device=self.id, name=self.name, saved=saved or self.save
        )
        return self.ring

    def save(self, trust: Trust, stay: Collection[str] | None = None) -> None:
        self.remembered = trust
        if stay is not None:
            self.stay = set(stay)

    def revokes(self, *gone: Device, among: Sequence[Device]) -> Rotation:
        known = {d.mark: d.point for d in among if d is not self}
        return self.ring.revoke({d.mark: d.name for d in gone}, known, at=NOON)

    def tells(self, other: Device) -> Outcome:
        """Hand over what is known of the end of the key that the other has, as channels do."""
        outcome = Outcome.KNOWN
        for mine, theirs in itertools.product(self.ring.retired, (other.ring.current, *other.ring.retired)):
            if mine.tag == theirs.tag:
                bundle = self.ring.bundle(mine)
                if bundle is not None:
                    came_to = other.ring.take(theirs, bundle)
                    outcome = came_to if came_to is not Outcome.KNOWN else outcome
        return outcome


@pytest.fixture
def devices(tmp_path: Path) -> list[Device]:
    return [Device(tmp_path, name) for name in ("anna", "bert", "cleo", "dora")]


def test_all_but_the_revoked_have_a_new_key_of_the_same_workspace(devices: list[Device]) -> None:
    anna, bert, cleo, dora = devices
    rotation = anna.revokes(dora, among=devices)
    assert [anna.tells(d) for d in (bert, cleo, dora)] == [Outcome.ADOPTED, Outcome.ADOPTED, Outcome.EXPELLED]
    assert {d.ring.current.tag for d in (anna, bert, cleo)} == {anna.ring.current.tag}
    assert {d.ring.current.id for d in devices} == {FIRST.id}
    assert anna.ring.current.tag != FIRST.tag == dora.ring.current.tag
    told = dora.ring.expelled
    assert told == rotation
    assert (told.name, told.at, told.revoked) == ("anna", NOON, {dora.mark: "dora"})
    # Whoever has adopted it tells it on, and who knows it already is not bothered again.
    assert [bert.tells(d) for d in (anna, cleo, dora)] == [Outcome.KNOWN] * 3
    # The revoked device has the message, its own key and the old one of the workspace; not the new one.
    assert rotation.unwrap(dora.identity) is None
    for wrapped in rotation.wrapped.values():
        swapped = replace(rotation, wrapped={dora.mark: wrapped})
        with pytest.raises(Forged, match="the key in it cannot be read"):
            swapped.unwrap(dora.identity)


def test_it_survives_a_restart(devices: list[Device]) -> None:
    anna, bert, _, dora = devices
    anna.revokes(dora, among=devices)
    anna.tells(bert)
    anna.tells(dora)
    tag = anna.ring.current.tag
    assert [d.opened().current.tag for d in (anna, bert, dora)] == [tag, tag, FIRST.tag]
    assert [d.ring.expelled is None for d in (anna, bert, dora)] == [True, True, False]
    assert oct(os.stat(bert.file).st_mode)[-3:] == "600"


def test_who_missed_two_changes_finds_both(devices: list[Device]) -> None:
    anna, bert, cleo, dora = devices
    anna.revokes(dora, among=devices)
    anna.tells(bert)
    bert.revokes(anna, among=[bert, cleo, anna])
    assert bert.tells(cleo) is Outcome.ADOPTED
    assert (cleo.ring.current.tag, cleo.ring.current.epoch) == (bert.ring.current.tag, 2)
    assert bert.tells(anna) is Outcome.EXPELLED
    assert bert.tells(dora) is Outcome.EXPELLED
    assert [k.epoch for k in cleo.ring.retired] == [1, 0]


@pytest.mark.parametrize("when", ["before anything", "before the file"])
@pytest.mark.parametrize("who", ["maker", "recipient"])
def test_a_kill_between_is_mended(devices: list[Device], when: str, who: str) -> None:
    """Killed before the chain is saved nothing has happened; after that the next start goes on."""
    anna, bert, cleo, dora = devices
    victim = anna if who == "maker" else bert

    class Killed(BaseException):
        pass

    def kill(trust: Trust, stay: Collection[str] | None) -> None:
        if when == "before the file":
            victim.save(trust, stay)
        if trust.chain or when == "before anything":
            raise Killed

    if who == "maker":
        anna.opened(kill)
        with pytest.raises(Killed):
            anna.revokes(dora, among=devices)
    else:
        anna.revokes(dora, among=devices)
        bert.opened(kill)
        with pytest.raises(Killed):
            anna.tells(bert)
    assert read_key(victim.file).raw == RAW
    victim.opened()
    if when == "before anything":
        assert victim.ring.current.tag == FIRST.tag
        if who == "maker":
            anna.revokes(dora, among=devices)
    anna.tells(bert)
    anna.tells(cleo)
    assert anna.ring.current.tag == bert.ring.current.tag == cleo.ring.current.tag != FIRST.tag
    figures.record("kills survived", 1)


def gossip(devices: Sequence[Device], rng: random.Random) -> None:
    """Let everybody tell everybody until nobody hears anything new, and makers see to what is wanted."""
    for _ in range(20):
        pairs = [(a, b) for a in devices for b in devices if a is not b]
        rng.shuffle(pairs)
        heard = {a.tells(b) for a, b in pairs}
        quiet = heard <= {Outcome.KNOWN, Outcome.DISPUTED}
        for device in devices:
            if device.ring.is_wanted():
                quiet = False
                device.revokes(among=devices)
        if quiet:
            return
    raise AssertionError("they go on and on")


@pytest.mark.parametrize("seed", range(12))
def test_revocations_at_one_time_are_united(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    devices = [Device(tmp_path, name) for name in ("anna", "bert", "cleo", "dora", "emil", "fred")]
    anna, bert, cleo, dora, emil, fred = devices
    anna.revokes(dora, among=devices)
    bert.revokes(emil, among=devices)
    if seed % 2:
        cleo.revokes(fred, among=devices)
    if seed % 3 == 0:
        anna.tells(cleo)
    gossip(devices, rng)
    stay = [anna, bert, cleo, *([] if seed % 2 else [fred])]
    gone = [d for d in devices if d not in stay]
    assert len({d.ring.current.tag for d in stay}) == 1
    for device in gone:
        assert device.ring.expelled is not None
        assert device.ring.current.tag != anna.ring.current.tag
    assert not any(d.ring.trust.dispute for d in stay)
    figures.record("seeds run", 1)


def test_of_two_that_revoke_at_one_time_the_one_that_is_not_revoked_counts(devices: list[Device]) -> None:
    anna, bert, cleo, dora = devices
    anna.revokes(dora, among=devices)
    bert.revokes(anna, among=devices)  # who did not revoke bert
    gossip(devices, random.Random(1))
    assert anna.ring.expelled is not None
    assert anna.ring.expelled.name == "bert"
    assert cleo.ring.current.tag == bert.ring.current.tag == dora.ring.current.tag


def test_who_revoke_each_other_are_followed_by_whoever_heard_them_first(devices: list[Device]) -> None:
    anna, bert, cleo, dora = devices
    anna.revokes(bert, among=devices)
    bert.revokes(anna, among=devices)
    anna.tells(cleo)
    bert.tells(dora)
    assert bert.tells(cleo) is Outcome.DISPUTED
    assert anna.tells(dora) is Outcome.DISPUTED
    said = f"{anna.id} and {bert.id} have each changed the key without the other; this device follows {anna.id}"
    assert cleo.ring.trust.dispute == said
    assert cleo.ring.current.tag == anna.ring.current.tag
    assert bert.tells(cleo) is Outcome.KNOWN  # told once
    # The user decides, by an invitation from the side he trusts.
    os.unlink(dora.file)
    write_key(dora.file, key_text(anna.file))
    assert dora.opened().current.tag == anna.ring.current.tag
    assert dora.ring.trust == Trust()


def test_a_thief_who_revokes_everybody_is_overruled_by_one_who_revoked_him(devices: list[Device]) -> None:
    """What the thief said came first; it left cleo out, so there is nothing that she would follow."""
    anna, bert, cleo, thief = devices
    thief.revokes(anna, bert, cleo, among=devices)
    anna.revokes(thief, among=devices)
    assert thief.tells(cleo) is Outcome.EXPELLED
    assert thief.tells(anna) in (Outcome.KNOWN, Outcome.DISPUTED)
    assert anna.tells(cleo) is Outcome.ADOPTED
    assert cleo.opened().expelled is None
    assert cleo.ring.current.tag == anna.ring.current.tag


def forged(by: Device, recipients: Sequence[Device], *, epoch: int = 1, raw: bytes = b"\1" * 32) -> bytes:
    """Return a change of the key by somebody who has the key that is sealed with."""
    return compose(
        by.identity,
        raw,
        workspace=FIRST.id,
        epoch=epoch,
        by=by.id,
        name=by.name,
        at=NOON,
        revoked={},
        recipients={d.mark: d.point for d in recipients},
    )


def bundle(key: WorkspaceKey, *messages: bytes, context: bytes = CONTEXT) -> bytes:
    sealed = [key.seal(message, context=context) for message in messages]
    return key.seal(b"".join(len(s).to_bytes(2, "big") + s for s in sealed), context=BUNDLE)


def test_what_a_revoked_device_makes_up_afterwards_is_nobodys(devices: list[Device], tmp_path: Path) -> None:
    """It still has the old key; it may make up other devices, of which nobody has heard."""
    anna, bert, cleo, thief = devices
    anna.revokes(thief, among=devices)
    anna.tells(bert)
    ghost = Device(tmp_path, "ghost")
    before = bert.ring.current.tag
    for maker, recipients in itertools.product(
        (thief, ghost), ([anna, bert, cleo], [bert, cleo], [thief, ghost, bert], [thief])
    ):
        for raw in range(8):  # among them some whose digest is smaller
            message = forged(maker, recipients, raw=bytes([raw]) * 32)
            assert bert.ring.take(bert.ring.retired[0], bundle(FIRST, message)) in (Outcome.KNOWN, Outcome.DISPUTED)
    assert bert.ring.current.tag == before == bert.opened().current.tag
    figures.record("bad inputs refused", 64)


@pytest.mark.parametrize("everybody", [False, True])
def test_who_was_given_a_key_and_then_revoked_changes_nothing_of_before(
    devices: list[Device], tmp_path: Path, *, everybody: bool
) -> None:
    """bert was trusted when the first key ended; what he says of its end after he was revoked is nobody's."""
    anna, bert, cleo, dora = devices
    emil = Device(tmp_path, "emil")
    anna.revokes(emil, among=[*devices, emil])
    for device in (bert, cleo, dora):
        assert anna.tells(device) is Outcome.ADOPTED
    anna.revokes(bert, among=devices)
    for device in (cleo, dora):
        assert anna.tells(device) is Outcome.ADOPTED
    before = anna.ring.current.tag
    for raw in range(8):  # among them some whose digest is smaller
        given = [anna, bert, cleo, dora, emil] if everybody else [bert, cleo, dora]
        told = bundle(FIRST, forged(bert, given, raw=bytes([raw]) * 32))
        for device in (anna, cleo, dora):
            assert device.ring.take(device.ring.retired[1], told) in (Outcome.KNOWN, Outcome.DISPUTED)
            assert device.ring.current.tag == before == device.opened().current.tag
    figures.record("bad inputs refused", 24)


def test_a_change_that_was_made_in_ignorance_of_two_others_is_united_with_them(
    devices: list[Device], tmp_path: Path
) -> None:
    """bert was off, is trusted by both changes, and has revoked emil meanwhile."""
    anna, bert, cleo, dora = devices
    emil, fred = Device(tmp_path, "emil"), Device(tmp_path, "fred")
    every = [*devices, emil, fred]
    for gone in (dora, fred):
        anna.revokes(gone, among=every)
        anna.tells(cleo)
    bert.revokes(emil, among=every)
    gossip(every, random.Random(2))
    assert len({d.ring.current.tag for d in (anna, bert, cleo)}) == 1
    assert {d.name for d in every if d.ring.expelled is not None} == {"dora", "emil", "fred"}


def test_who_was_shut_out_follows_nobody_but_who_was_shut_out_too(devices: list[Device], tmp_path: Path) -> None:
    """cleo was not known to anna; the thief, and one that he has made up, are ready to give her a key."""
    anna, bert, cleo, thief = devices
    ghost = Device(tmp_path, "ghost")
    anna.revokes(thief, among=[anna, bert, thief])
    assert anna.tells(cleo) is Outcome.EXPELLED
    for maker in (thief, ghost):
        revoking_anna = compose(
            maker.identity,
            bytes(32),
            workspace=FIRST.id,
            epoch=1,
            by=maker.id,
            name=maker.name,
            at=NOON,
            revoked={anna.mark: "anna"},
            recipients={cleo.mark: cleo.point, maker.mark: maker.point},
        )
        assert cleo.ring.take(FIRST, bundle(FIRST, revoking_anna)) in (Outcome.DISPUTED, Outcome.KNOWN)
        assert cleo.ring.expelled is not None
        assert cleo.ring.current.tag == FIRST.tag


def test_who_is_known_is_written_down_with_the_change(devices: list[Device]) -> None:
    """A kill right after it leaves nobody in the list who would be given the next key."""
    anna, bert, cleo, dora = devices
    anna.revokes(dora, among=devices)
    anna.tells(bert)
    assert anna.stay == bert.stay == {d.mark for d in (anna, bert, cleo)}


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_key_that_cannot_be_written_changes_nothing(devices: list[Device], monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full, or read-only: for who revokes and for who hears of it; both try again later."""
    anna, bert, cleo, dora = devices
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            anna.revokes(dora, among=devices)
    assert anna.ring.current.tag == FIRST.tag == anna.opened().current.tag
    anna.revokes(dora, among=devices)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            anna.tells(bert)
    assert bert.ring.current.tag == FIRST.tag == bert.opened().current.tag
    assert anna.tells(bert) is anna.tells(cleo) is Outcome.ADOPTED
    assert {d.opened().current.tag for d in (anna, bert, cleo)} == {anna.ring.current.tag}
    assert [name for name in os.listdir(os.path.dirname(bert.file)) if name.startswith(".")] == []
    figures.record("faults injected", 2)


def test_a_change_that_is_made_is_in_use_though_the_key_file_stays_behind(
    devices: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bert, _, dora = devices
    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", full)
        anna.revokes(dora, among=devices)
    assert anna.ring.current.tag != FIRST.tag == key_in(read_key(anna.file)).tag
    assert anna.tells(bert) is Outcome.ADOPTED
    assert anna.opened().current.tag == bert.ring.current.tag == key_in(read_key(anna.file)).tag
    assert len(anna.remembered.chain) == 1
    figures.record("faults injected", 1)


def test_what_is_no_change_of_the_key_changes_nothing(devices: list[Device]) -> None:
    anna, bert, cleo, _ = devices
    sound = forged(anna, [bert, cleo])
    other = forged(bert, [bert, cleo])
    swapped = sound.replace(anna.id.encode(), bert.id.encode())
    attempts: list[tuple[bytes, type[ValueError], str]] = [
        (bundle(FIRST, b""), ValueError, "it is no change of a key"),
        (bundle(FIRST, b"{}" + bytes(64)), ValueError, "it is no change of a key"),
        (bundle(FIRST, b"[" * 5000), ValueError, "it is no change of a key"),
        (bundle(FIRST, sound[:-64] + other[-64:]), Forged, "its signature is not by the key"),
        (bundle(FIRST, sound[:-1] + bytes([sound[-1] ^ 1])), Forged, "its signature is not by the key"),
        (bundle(FIRST, swapped), Forged, "its certificate is not that of bert"),
        (bundle(FIRST, sound.replace(b'"epoch":1', b'"epoch":7')), Forged, "its signature"),
        (bundle(FIRST, forged(anna, [bert], epoch=2)), Forged, "it is change 2 after change 0"),
        (bundle(FIRST, forged(anna, [bert, cleo], raw=b"short")), Forged, "the key in it is none"),
        (bundle(FIRST, sound, context=b"announcement"), SealBroken, "the seal is broken"),
        (bundle(WorkspaceKey(bytes(32)), sound), SealBroken, "sealed with another key"),
        (FIRST.seal(sound, context=BUNDLE), ValueError, "a bundle is cut short"),
        (FIRST.seal(b"\0", context=BUNDLE), ValueError, "a bundle is cut short"),
        (bundle(FIRST, *[sound] * 9), ValueError, "a bundle of more changes than anybody keeps"),
        (b"", SealBroken, "0 bytes are no sealed message"),
    ]
    for payload, kind, reason in attempts:
        with pytest.raises(kind, match=reason):
            cleo.ring.take(cleo.ring.current, payload)
    assert (cleo.ring.current.tag, cleo.ring.trust, cleo.opened().current.tag) == (FIRST.tag, Trust(), FIRST.tag)
    figures.record("bad inputs refused", len(attempts))


def test_a_change_of_another_workspace_is_not_taken(devices: list[Device]) -> None:
    """bert is in both workspaces, and carries what anna said in one of them into the other."""
    anna, bert, cleo, _ = devices
    elsewhere = compose(
        anna.identity,
        bytes(32),
        workspace=WorkspaceKey(bytes(32)).id,
        epoch=1,
        by=anna.id,
        name="anna",
        at=NOON,
        revoked={},
        recipients={cleo.mark: cleo.point},
    )
    with pytest.raises(Forged, match="it is of another workspace"):
        cleo.ring.take(FIRST, bundle(FIRST, elsewhere))
    renamed = elsewhere.replace(WorkspaceKey(bytes(32)).id.encode(), FIRST.id.encode())
    with pytest.raises(Forged, match="its signature is not by the key"):
        cleo.ring.take(FIRST, bundle(FIRST, renamed))
    assert bert.ring.current.tag == FIRST.tag


def test_an_old_change_that_is_said_again_moves_nobody_back(devices: list[Device]) -> None:
    anna, bert, cleo, dora = devices
    anna.revokes(dora, among=devices)
    recorded = anna.ring.bundle(anna.ring.retired[0])
    assert recorded is not None
    anna.tells(bert)
    anna.revokes(cleo, among=[anna, bert, cleo])
    anna.tells(bert)
    assert bert.ring.take(bert.ring.retired[1], recorded) is Outcome.KNOWN
    assert bert.ring.current.epoch == 2


def test_who_was_not_known_to_the_maker_is_left_out(devices: list[Device]) -> None:
    anna, bert, cleo, dora = devices
    anna.revokes(bert, among=[anna, bert, cleo])
    assert anna.tells(dora) is Outcome.EXPELLED
    assert dora.ring.expelled is not None
    assert dora.mark not in dora.ring.expelled.revoked


def test_a_revoked_device_that_is_invited_again_is_one_of_them(devices: list[Device]) -> None:
    anna, bert, cleo, dora = devices
    anna.revokes(dora, among=devices)
    for device in (bert, cleo, dora):
        anna.tells(device)
    os.unlink(dora.file)
    write_key(dora.file, key_text(anna.file))
    assert dora.opened().expelled is None
    assert dora.ring.current.tag == anna.ring.current.tag
    bert.revokes(cleo, among=devices)
    assert [bert.tells(d) for d in (anna, cleo, dora)] == [Outcome.ADOPTED, Outcome.EXPELLED, Outcome.ADOPTED]


def test_a_key_file_that_was_put_back_follows_the_changes_again(devices: list[Device]) -> None:
    anna, bert, _, dora = devices
    old = Path(bert.file).read_bytes()
    anna.revokes(dora, among=devices)
    anna.tells(bert)
    Path(bert.file).write_bytes(old)
    assert bert.opened().current.tag == anna.ring.current.tag


def test_too_many_devices_are_refused_and_a_long_history_is_told_in_parts(devices: list[Device]) -> None:
    anna, bert, cleo, _ = devices
    with pytest.raises(ValueError, match="more than 384 devices, or more than 64 revoked"):
        anna.ring.revoke({}, {f"{n}": bert.point for n in range(400)}, at=NOON)
    assert anna.ring.current.epoch == 0
    many = {f"{n:026d}": bert.point for n in range(380)} | {d.mark: d.point for d in (bert, cleo)}
    for number in range(3):
        anna.ring.revoke({f"x{number}": "x"}, many, at=NOON)
    told = 0
    while anna.tells(cleo) is Outcome.ADOPTED:
        told += 1
    assert 1 < told <= 3
    assert cleo.ring.current.tag == anna.ring.current.tag


def test_what_is_remembered_is_bounded(devices: list[Device]) -> None:
    anna, bert, _, _ = devices
    for number in range(12):
        anna.ring.revoke({f"x{number}": "x"}, {bert.mark: bert.point}, at=NOON)
        assert anna.tells(bert) is Outcome.ADOPTED
    assert len(bert.remembered.chain) == len(read_key(bert.file).previous) == 8
    assert bert.opened().current.tag == key_in(read_key(anna.file)).tag


def test_a_message_is_what_was_composed(devices: list[Device]) -> None:
    anna, bert, _, _ = devices
    said = examine(forged(anna, [bert], raw=b"\7" * 32), FIRST.id)
    assert (said.by, said.issuer, said.epoch, said.unwrap(bert.identity)) == (anna.id, anna.mark, 1, b"\7" * 32)
