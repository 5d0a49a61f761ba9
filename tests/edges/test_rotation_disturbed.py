"""A change of the key that is killed, or that the disk fails, at each of its file-system calls."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from autosync.broadcast import Broadcaster
from autosync.core.events import Event
from autosync.core.model import DeviceId
from autosync.errors import AutosyncError
from autosync.membership import Membership
from autosync.store import StateDirectory
from autosync.trust.identity import load_or_create_identity
from autosync.trust.keyfile import KeyText, make_key
from autosync.trust.keyring import BUNDLE
from autosync.trust.roster import Known, recipients
from autosync.trust.rotation import point
from autosync.trust.sealing import WorkspaceKey, load_key
from autosync.trust.signing import fingerprint_of
from tests.edges.faults import Around, Fault, Kill, Watched, install, rest
from tests.edges.forks import fault_points, kill_points, with_offspring
from tests.edges.points import fast_directory, survive, undisturbed
from tests.figures import record

FIRST = WorkspaceKey(bytes(range(32)))
NAMES = ("anna", "bert", "cleo", "dora")
"""Of these anna revokes dora."""


class _Voice:
    workspace = "notes"

    def post(self, event: Event) -> None:
        """Nobody listens."""


def open_device(place: Path, name: str) -> Membership:
    """Return a device's part in the workspace, as a start of its agent finds it."""
    home = place / name
    identity = load_or_create_identity(str(home))
    states = StateDirectory(str(home))
    speaker = Broadcaster(device=identity.device_id(name), name=name, identity=identity, states=states)
    return speaker.join(_Voice(), str(home / "notes.key"), states.workspace(FIRST.id))


def make_devices(place: Path) -> None:
    """Let all know all."""
    known: dict[DeviceId, Known] = {}
    for name in NAMES:
        identity = load_or_create_identity(str(place / name))
        public = point(identity.key.public_key())
        known[identity.device_id(name)] = Known(name=name, public=public, first=1, last=2, via="lan")
        make_key(str(place / name / "notes.key"), KeyText(raw=bytes(range(32))))
    for name in NAMES:
        states = StateDirectory(str(place / name))
        others = {device: entry for device, entry in known.items() if entry.name != name}
        state = states.workspace(FIRST.id)
        states.save(FIRST.id, type(state)(seq=1, roster=others))


def roster(member: Membership) -> Mapping[str, DeviceId]:
    return {known.name: device for device, known in member.state.roster.items()}


def revoke(anna: Membership) -> None:
    gone = roster(anna).get("dora")
    if gone is not None:
        anna.keyring.revoke({fingerprint_of(gone): "dora"}, recipients(anna.state.roster), at=1_800_000_000)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """``who`` makes the change (anna), or hears of it (bert); ``template`` has the devices before it."""

    directory: Path
    template: Path
    told: bytes
    who: str

    def fresh(self, number: int) -> Path:
        """Return a copy of the devices."""
        place = self.directory / f"{self.who}-{number}"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.template, place)
        return place

    def change(self, member: Membership) -> None:
        """Make or take the change."""
        if self.who == "anna":
            revoke(member)
        else:
            member.keyring.follow(self.told)

    def job(self, place: Path, around: Around) -> None:
        """Do it with ``around`` about each call; after a failure do it again, as the agent that goes on does."""
        member = open_device(place, self.who)
        install(around)
        try:
            self.change(member)
        except AutosyncError:
            assert isinstance(around, Fault), "there was no reason to fail"
            rest()
            assert member.key.tag == FIRST.tag
            self.change(member)
        rest()
        self.look(member)

    def calls(self) -> list[str]:
        """Return the calls of an undisturbed change."""
        watched = Watched()
        self.job(self.fresh(0), watched)
        return [name for name, _ in watched.calls]

    def look(self, member: Membership) -> None:
        """Check that the change is made, whole."""
        assert (member.key.epoch, len(member.keyring.trust.chain), member.keyring.trust.wanted) == (1, 1, {})
        assert sorted(roster(member)) == sorted({*NAMES} - {"dora", self.who})

    def after(self, place: Path) -> str | None:
        """Return what is wrong with what a kill or a fault has left, ``None`` if nothing."""
        member = open_device(place, self.who)
        changed = member.key.epoch == 1
        if ("dora" in roster(member)) is changed:
            return f"the key is of change {member.key.epoch}, and known are {sorted(roster(member))}"
        if not changed:
            self.change(member)
        self.look(member)
        if load_key(str(place / self.who / "notes.key")).tag != member.key.tag:
            return "the key file has another key"
        cleo = open_device(place, "cleo")
        bundle = member.keyring.bundle(member.keyring.retired[0])
        assert bundle is not None
        cleo.keyring.take(cleo.key, bundle)
        return None if cleo.key.tag == member.key.tag else "cleo is told of another key"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, bytes]]:
    """A place, the devices before the change, and the change."""
    with fast_directory(tmp_path_factory.mktemp("rotation")) as place:
        make_devices(place / "template")
        shutil.copytree(place / "template", place / "done")
        anna = open_device(place / "done", "anna")
        revoke(anna)
        bundle = anna.keyring.bundle(anna.keyring.retired[0])
        assert bundle is not None
        yield place, place / "template", FIRST.open(bundle, context=BUNDLE)


@pytest.fixture(params=["anna", "bert"])
def scene(request: pytest.FixtureRequest, template: tuple[Path, Path, bytes]) -> Scene:
    directory, devices, told = template
    return Scene(directory=directory, template=devices, told=told, who=request.param)


def test_a_change_survives_a_kill_at_each_call(scene: Scene) -> None:
    def attempt(number: int, kill: Kill) -> str | None:
        place = scene.fresh(number)
        ended = with_offspring(lambda: scene.job(place, kill))
        return ended.error[-1500:] or scene.after(place)

    record("kills survived", survive(list(kill_points(undisturbed(scene.calls))), 10_000, attempt))


def test_a_change_survives_a_fault_at_each_call(scene: Scene) -> None:
    def attempt(number: int, fault: Fault) -> str | None:
        place = scene.fresh(number)
        ended = with_offspring(lambda: scene.job(place, fault))
        return f"{fault}: {ended.error[-1500:]}" if ended.error else scene.after(place)

    record("faults injected", survive(list(fault_points(undisturbed(scene.calls))), 10_000, attempt))
