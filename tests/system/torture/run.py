"""One run of the torture: three users, three agents, trouble, quiet, judgement."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.system.fleet import Fleet
from tests.system.hgfleet import HgFleet
from tests.system.torture import gitchecks, hgchecks
from tests.system.torture.checks import Verdict, judge
from tests.system.torture.gituser import GitUser
from tests.system.torture.hguser import NAMEABLE, HgUser
from tests.system.torture.ledger import Ledger
from tests.system.torture.network import Network
from tests.system.torture.trouble import Trouble
from tests.system.torture.users import NAMES, User

QUIET = 90.0
"""Seconds within which all have to be equal after the users and the trouble have ended."""


@dataclass
class Outcome:
    """What was done and what became of it."""

    operations: int
    kills: int
    commands: int
    verdict: Verdict


def torture(place: Path, *, seed: int, shared: bool, cut: bool, seconds: float, vcs: str = "git") -> Outcome:
    """Let users work in ``place`` for ``seconds``; raises :class:`AssertionError` if a promise is broken.

    ``shared``: all work on the same files, and one of them with git, or with hg, as ``vcs`` says.
    ``cut``: the network and the hub fail as well; without that, files of one's own never come to a
    conflict copy.
    """
    is_hg = vcs == "hg"
    ledger = Ledger(algorithm="sha256" if is_hg else "sha1")
    check, kept = (hgchecks.check, hgchecks.kept) if is_hg else (gitchecks.check, gitchecks.kept)
    with HgFleet(place) if is_hg else Fleet(place) as fleet:
        devices = fleet.clone(fleet.seed({"README": "hello\n"}), "laptop", "desktop", "server")
        fleet.configure(devices, remote="default" if is_hg else "origin", brakes="none")  # they do delete most
        try:
            with Network(fleet) as network:
                fleet.start()
                fleet.equal()
                places = [b"shared"] * 3 if shared else [b"laptop", b"desktop", b"server"]
                users: list[User] = []
                for number, (device, below) in enumerate(zip(devices, places, strict=True)):
                    kind = User if not shared or number else HgUser if is_hg else GitUser
                    names = NAMEABLE if is_hg else NAMES
                    users.append(kind(device, below, seed * 10 + number, ledger, seconds, names=names))
                trouble = Trouble(devices, network, fleet.hub, seed, time.monotonic() + seconds, cut=cut, freeze=is_hg)
                for thread in (*users, trouble):
                    thread.start()
                for thread in (*users, trouble):
                    thread.join()
                for thread in (*users, trouble):
                    if thread.error is not None:
                        raise thread.error
                fleet.equal(seconds=QUIET)
                for device in devices:
                    check(device, conflicts=shared or cut, commits=shared and device is devices[0])
                verdict = judge(ledger, devices, trouble.away, kept)
                workers = [user for user in users if isinstance(user, GitUser | HgUser)]
                assert [line for user in workers for line in user.refused] == []
                assert verdict.lost == []
                return Outcome(
                    operations=sum(user.done for user in users),
                    kills=trouble.kills + sum(user.killed for user in workers),
                    commands=sum(user.commands for user in workers),
                    verdict=verdict,
                )
        finally:
            ledger.write(place / "ledger.json")
            if "trouble" in locals():
                (place / "trouble.log").write_text("".join(f"{line}\n" for line in trouble.done))
