"""What comes out of an exchange is the user's until it is known to be what was there before."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from autosync.apply.limbo import Limbo
from autosync.apply.obstacle import Obstacle
from autosync.apply.parents import identity_of
from autosync.apply.rename import Renames, Stepwise, probe
from autosync.apply.rescue import Rescue
from autosync.apply.signature import signature_at
from autosync.apply.swap import Swapper, kept_file
from autosync.core.model import Entry, Kind, ObjectId, RelPath
from autosync.ports import Operation
from tests.edges.faults import install, rest
from tests.edges.forks import alone

OLD, PEERS, SAVED = b"old", b"of a peer", b"saved a moment ago"
FILE = RelPath(b"f")


@dataclass(slots=True)
class Blind:
    """Lets the look number ``at`` (from 1) at a slot fail."""

    at: int

    def __call__(self, name: str, arguments: tuple[object, ...], perform: Callable[[], object]) -> object:
        path = arguments[0] if arguments else None
        if name == "stat" and isinstance(path, bytes) and re.fullmatch(rb"[0-9]+/[0-9]+", path):
            self.at -= 1
            if self.at == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return perform()


def exchange(place: Path, renames: Callable[[bytes], Renames], blind: int, *, saved: bool, restart: bool) -> bytes:
    """Put a peer's version in the place of a file, sweep, and return what stands there; only for a child."""
    root, limbo_at = place / "root", bytes(place / "limbo")
    root.mkdir()
    (root / "f").write_bytes(OLD)
    limbo = Limbo(limbo_at, quiet=0.0)
    swapper = Swapper(renames(limbo_at), limbo)
    parent = os.open(root, os.O_RDONLY)
    was = signature_at(parent, b"f")
    assert was is not None
    old, new = (Entry(kind=Kind.FILE, oid=ObjectId(name)) for name in ("old", "new"))

    def stage(entries: object, directory: bytes) -> None:
        del entries
        Path(os.fsdecode(directory), "0").write_bytes(OLD)

    try:
        with limbo.batch() as batch:
            slot = batch + b"/0"
            Path(os.fsdecode(limbo_at), os.fsdecode(slot)).write_bytes(PEERS)
            (held,) = limbo.intend(batch, [Operation(path=FILE, expected=old, new=new)], lambda _path: was)
            if saved:
                (root / "saving").write_bytes(SAVED)
                os.rename(root / "saving", root / "f")
            install(Blind(blind))
            swapper.replace(kept_file(slot, FILE, old, was, held), new, parent, b"f")
    except (Obstacle, OSError):
        pass
    rest()
    if restart:
        limbo.close()
        limbo = Limbo(limbo_at, quiet=0.0)
        swapper = Swapper(renames(limbo_at), limbo)
    for _ in range(3):
        Rescue(bytes(root), identity_of(bytes(root)), limbo, swapper, stage).sweep()
    assert os.listdir(root) == ["f"]
    return (root / "f").read_bytes()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("renames", [probe, lambda _directory: Stepwise()], ids=["kernel", "stepwise"])
def test_a_save_right_before_an_exchange_stands_whatever_look_fails(
    tmp_path: Path, renames: Callable[[bytes], Renames], *, saved: bool, restart: bool
) -> None:
    for blind in range(1, 5):
        place = tmp_path / str(blind)
        place.mkdir()
        ended = alone(lambda p=place, b=blind: exchange(p, renames, b, saved=saved, restart=restart))  # type: ignore[misc]
        assert (ended.error, ended.result) == ("", SAVED if saved else PEERS), blind
