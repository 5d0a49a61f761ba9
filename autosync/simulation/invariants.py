"""What has to be true of a world in which nothing happens any more."""

from __future__ import annotations

from autosync.backends.memory.objects import text_id
from autosync.core.copies import parse_conflict_name
from autosync.core.model import RelPath
from autosync.simulation.deeds import is_own
from autosync.simulation.device import Device
from autosync.simulation.ledger import Standing, tokens
from autosync.simulation.world import World

EQUAL = "all devices are equal, or say why not"
KEPT = "what was saved is still somewhere"
STAYS = "what nobody touched stays as it was, and what was deleted does not come back"
VISIBLE = "what nobody took away is there for everybody to see"
FRESH = "every state that is recorded is a new one"
OWN = "what one user alone touches is everywhere as he left it"
KNOWN = "every device knows its own files and where the others are"
HALTED = "who halts says why"
STILL = "nothing moves when nobody does anything"
SPINS = "no session spins"
CRASHES = "nothing fails unexpectedly"

ROUND, PATIENCE = 5.0, 400.0
"""Seconds between looks at whether all is quiet, and until it has to be."""
IDLE = 130.0
"""Seconds for which nothing may move at the end: longer than any pause between attempts."""


class Broken(Exception):
    """An invariant does not hold; ``detail`` says where."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant
        self.detail = detail


def settle(world: World) -> None:
    """End every fault and let time pass until all is quiet, as long as that may take."""
    world.make_well()
    waited = 0.0
    while waited < PATIENCE and (waited == 0.0 or not _is_settled(world)):
        world.clock.run(ROUND)
        waited += ROUND


def check(world: World, *, checked_out: bool) -> None:
    """Raise :class:`Broken` unless all is as promised.  Call it when the world has settled.

    With ``checked_out`` some user went to another branch, which rightly changes files that
    nobody touched.
    """
    _nothing_is_lost(world)
    _halts_have_reasons(world)
    _states_are_new(world)
    halted = [d for d in world.devices if d.session.halt]
    well = [d for d in world.devices if not d.session.halt]
    for device in well[1:]:
        if _state(device) != _state(well[0]):
            raise Broken(EQUAL, _differences(well[0], device))
    for device in world.devices:
        _knows_its_files(device)
    if not checked_out:
        _own_files_are_as_left(world, everywhere=not halted)
    if halted:
        return
    for device in well:
        waits = [p.name for p in device.session.unconfirmed() if p.heard]
        if not device.session.quiet() or waits:
            raise Broken(KNOWN, f"{device.name} still waits for {waits}: {device.describe()}")
    if not checked_out:
        _untouched_files_are_as_they_were(world)
        _live_saves_are_visible(world)
    world.agreed = dict(well[0].files)
    world.ledger.agreed()


def stay_still(world: World) -> None:
    """Raise :class:`Broken` if any device moves without being touched."""
    before = [_state(device) for device in world.devices]
    world.clock.run(IDLE)
    for device, state in zip(world.devices, before, strict=True):
        if _state(device) != state:
            raise Broken(STILL, f"{device.name} went from {state} to {_state(device)}")


def _state(device: Device) -> tuple[object, ...]:
    current = device.session.current
    return (current and current.id, device.base(), dict(device.files))


def _is_settled(world: World) -> bool:
    first = world.devices[0]
    for device in world.devices:
        session = device.session
        if session.halt or not session.quiet() or session.unconfirmed() or session.current is None:
            return False
        if session.settings.auto_commit and device.copy.tree_of(session.current.base.commit) != session.current.tree:
            return False
    return all(_state(device) == _state(first) for device in world.devices[1:])


def _nothing_is_lost(world: World) -> None:
    kept = world.kept()
    lost = sorted(content for content in world.ledger.owed if text_id(content) not in kept)
    if lost:
        raise Broken(KEPT, ", ".join(repr(content) for content in lost))


def _halts_have_reasons(world: World) -> None:
    for device in world.devices:
        halt = device.session.halt
        if halt is None:
            continue
        if "unexpectedly" in halt.title:
            raise Broken(CRASHES, f"{device.name}: {halt.title}")
        if not halt.title or not halt.hint or halt.title not in device.told:
            raise Broken(HALTED, f"{device.name}: {halt}; its user was told {device.told}")


def _knows_its_files(device: Device) -> None:
    current = device.session.current
    listing = {} if current is None else device.copy.store.listing(current.tree)
    known = {path: (entry.kind, entry.oid) for path, entry in listing.items()}
    standing = {path: (kind, text_id(content)) for path, (kind, content) in device.files.items()}
    if known != standing:
        wrong = sorted(p for p in known.keys() | standing.keys() if known.get(p) != standing.get(p))
        raise Broken(KNOWN, f"{device.name} has not seen {wrong}: {device.describe()}")
    if current is not None and current.base != device.base():
        raise Broken(KNOWN, f"{device.name} takes {device.base()} for {current.base}")


def _own_files_are_as_left(world: World, *, everywhere: bool) -> None:
    for (number, path), left in world.ledger.last.items():
        if not is_own(path):
            continue
        for device in world.devices if everywhere else [world.devices[number]]:
            found = device.files.get(path)
            if found != left:
                raise Broken(OWN, f"{path!r} was left as {left} by d{number}, but on {device.name} it is {found}")


def _untouched_files_are_as_they_were(world: World) -> None:
    before, after = world.agreed, world.devices[0].files
    for path in sorted((before.keys() | after.keys()) - world.ledger.touched):
        if before.get(path) != after.get(path) and not _is_new_copy(path, before.get(path)):
            raise Broken(STAYS, f"{path!r} was {before.get(path)} and is {after.get(path)}")


def _live_saves_are_visible(world: World) -> None:
    missing = world.ledger.alive - tokens(content for _, content in world.devices[0].files.values())
    if missing:
        raise Broken(VISIBLE, ", ".join(repr(token) for token in sorted(missing)))


def _states_are_new(world: World) -> None:
    for device in world.devices:
        snapshots = device.copy.store.snapshots
        for snapshot in set(device.copy.pins().values()):
            made = snapshots[snapshot]
            parent = snapshots.get(made.parents[0]) if len(made.parents) == 1 else None
            if parent is not None and (parent.tree, parent.base) == (made.tree, made.base):
                raise Broken(FRESH, f"{made.id[:12]} of {made.device} on {device.name} is as its parent was")


def _is_new_copy(path: RelPath, before: Standing | None) -> bool:
    return before is None and parse_conflict_name(path) is not None


def _differences(one: Device, other: Device) -> str:
    files, others = one.files, other.files
    differing = sorted(p for p in files.keys() | others.keys() if files.get(p) != others.get(p))
    lines = [f"{p!r}: {files.get(p)} on {one.name}, {others.get(p)} on {other.name}" for p in differing]
    lines += [f"{d.name}: {d.base()}, {d.describe()}" for d in (one, other)]
    return "; ".join(lines)
