"""What users do and what goes wrong, as values: the script of one simulation, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from autosync.core.model import RelPath


class Deed(Enum):
    """One kind of thing that can happen; its value says it in words, with the fields of :class:`Act`."""

    WRITE = "saves {path}"
    LINE = "adds a line to {path}"
    BINARY = "saves binary {path}"
    MODE = "changes the mode of {path}"
    LINK = "makes {path} a symlink"
    SLOW = "writes {path} for {seconds:.1f} s"
    REMOVE = "deletes {path}"
    RENAME = "renames {path} to {other}"
    SWAP = "swaps {path} with {other}"
    INSIDE = "replaces {path} by a directory"
    OUTSIDE = "replaces the directory of {path} by a file"
    COMMIT = "commits"
    AMEND = "amends the last commit"
    CHECKOUT = "goes to branch {branch}"
    BUSY = "rebases for {seconds:.1f} s"
    SAVE_DURING = "saves {path} in the middle of the agent's next command, at step {steps}"
    KILL_DURING = "agent killed in the middle of its next command, at step {steps}; back after {seconds:.1f} s"
    KILL = "agent killed; back after {seconds:.1f} s"
    PAUSE = "agent paused for {seconds:.1f} s"
    CUT = "cut off from d{peer} for {seconds:.1f} s"
    HUB_AWAY = "the hub is away for {seconds:.1f} s"
    JUMP = "wall clock jumps to {hours:+d} h"
    TIDY = "all agents tidy their stores"
    QUIET = "everybody waits until all is quiet"


HISTORY = frozenset({Deed.COMMIT, Deed.AMEND, Deed.CHECKOUT})
"""Deeds that change the history, so that branches can diverge."""
FAULTS = {
    Deed.SAVE_DURING: 7,
    Deed.KILL_DURING: 10,
    Deed.KILL: 3,
    Deed.PAUSE: 2,
    Deed.CUT: 5,
    Deed.HUB_AWAY: 2,
    Deed.JUMP: 3,
    Deed.TIDY: 2,
    Deed.BUSY: 2,
}
EDITS = {
    Deed.WRITE: 26,
    Deed.LINE: 12,
    Deed.BINARY: 4,
    Deed.MODE: 3,
    Deed.LINK: 3,
    Deed.SLOW: 3,
    Deed.REMOVE: 10,
    Deed.RENAME: 10,
    Deed.SWAP: 2,
    Deed.INSIDE: 3,
    Deed.OUTSIDE: 2,
    Deed.QUIET: 2,
}
COMMITS = {Deed.COMMIT: 8, Deed.AMEND: 3}
CHECKOUTS = {Deed.CHECKOUT: 6}

TEXT = RelPath(b"shared.txt")
"""A text of several lines that is there from the beginning."""
SHARED = tuple(map(RelPath, (b"a.txt", b"b.txt", b"dir/c.txt", b"dir/sub/d.txt", b"caf\xc3\xa9\n.txt", TEXT, TEXT)))
OWN = (b"one.txt", b"two.txt")
BRANCHES = ("main", "feature", "other")
STORES, APART, STRUCK = 0.3, 0.6, 0.4
"""Share of the stories with a store; of these, without a hub, those in which nobody reaches anybody else;
and of their faults those that strike the store."""
PAUSES = (0.0, 0.0, 0.005, 0.02, 0.1, 0.5, 3.0)
"""Seconds between two things that happen."""


def is_own(path: RelPath) -> bool:
    """Return whether a path belongs to the user of one device, so that no other touches it."""
    return path.startswith(b"own-")


def own(device: int, name: bytes) -> RelPath:
    """Return a path that only the user of ``device`` touches."""
    return RelPath(b"own-d%d/%s" % (device, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One thing that happens, ``after`` seconds after the one before, on ``device``.

    ``number`` makes what is saved unlike all else; of the other fields only those count
    that the deed speaks of.
    """

    number: int
    after: float
    device: int
    deed: Deed
    path: RelPath
    other: RelPath
    seconds: float
    steps: int
    peer: int
    hours: int
    branch: str

    def __str__(self) -> str:
        words = self.deed.value.format(
            path=_show(self.path),
            other=_show(self.other),
            seconds=self.seconds,
            steps=self.steps,
            peer=self.peer,
            hours=self.hours,
            branch=self.branch,
        )
        return f"+{self.after:.3f} s  d{self.device} {words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Everything that a simulation depends on.

    ``loss`` is the share of announcements that never arrive, ``auto_commit`` stands for
    ``commits: auto``.  With ``store`` one more device keeps snapshots and has no files; if the
    others are ``apart`` they reach only that one.
    """

    seed: int
    devices: int
    loss: float
    hub: bool
    auto_commit: bool
    acts: tuple[Act, ...]
    store: bool = False
    apart: bool = False


def draw(seed: int, *, devices: int | None = None, ops: int = 16) -> Script:
    """Return the script of a seed; without ``devices`` the seed chooses 2 to 4."""
    random = Random(seed)  # noqa: S311  # repeatable by design
    chosen = random.choice((2, 2, 3, 3, 4))
    count = devices or chosen
    weights = {**EDITS, **FAULTS}
    auto_commit = random.random() < 0.15
    hub = auto_commit or random.random() < 0.3
    if not auto_commit and random.random() < 0.4:
        weights |= COMMITS | (CHECKOUTS if random.random() < 0.5 else {})
    if not hub:
        del weights[Deed.HUB_AWAY]
    deeds, shares = list(weights), list(weights.values())
    script = Script(
        seed=seed,
        devices=count,
        loss=random.choice((0.0, 0.0, 0.1, 0.3)),
        hub=hub,
        auto_commit=auto_commit,
        acts=tuple(_act(random, number, count, random.choices(deeds, shares)[0]) for number in range(ops)),
    )
    return _with_store(script, random) if random.random() < STORES else script


def _with_store(script: Script, random: Random) -> Script:
    """Return ``script`` with a store, to which some of the faults happen."""
    acts = tuple(
        replace(act, device=script.devices, peer=random.randrange(script.devices))
        if act.deed in FAULTS and random.random() < STRUCK
        else act
        for act in script.acts
    )
    return replace(script, acts=acts, store=True, apart=not script.hub and random.random() < APART)


def _act(random: Random, number: int, devices: int, deed: Deed) -> Act:
    device = random.randrange(devices)
    names = [*SHARED, own(device, OWN[0]), own(device, OWN[0]), own(device, OWN[1])]
    path = random.choice(names)
    near = [n for n in names if is_own(n) == is_own(path)]
    other = random.choice([*near, RelPath(b"own-d%d/moved" % device if is_own(path) else b"moved/%d" % number)])
    return Act(
        number=number,
        after=random.choice(PAUSES),
        device=device,
        deed=deed,
        path=path,
        other=other,
        seconds=random.choice((0.1, 0.5, 2.0, 6.0)),
        steps=random.randrange(8),
        peer=(device + random.randrange(1, devices)) % devices if devices > 1 else device,
        hours=random.randrange(-30, 31),
        branch=random.choice(BRANCHES),
    )


def _show(path: RelPath) -> str:
    return ascii(path.decode("utf-8", "backslashreplace"))
