"""Runs one script from its beginning until all is quiet and everything has been checked."""

from __future__ import annotations

import hashlib
import traceback
from dataclasses import dataclass, replace

from autosync.simulation.deeds import Act, Deed, Script
from autosync.simulation.device import Spinning
from autosync.simulation.invariants import CRASHES, SPINS, Broken, check, settle, stay_still
from autosync.simulation.users import Users
from autosync.simulation.world import DEFAULT, World

WARM_UP = 1.0
"""Seconds that the devices have to find each other before anything happens."""
COMMIT_AFTER = 5.0
"""Seconds of quiet before a commit with ``commits: auto``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a script ended: ``broken`` is the invariant that did not hold, "" if all did.

    ``trace`` is the hash of all that happened, in order.
    """

    script: Script
    broken: str
    detail: str
    trace: str


class Play:
    """One script in one world."""

    def __init__(self, script: Script) -> None:
        self.script = script
        settings = replace(DEFAULT, auto_commit=script.auto_commit, commit_after=COMMIT_AFTER)
        self.world = World(
            script.seed,
            devices=script.devices,
            loss=script.loss,
            hub=script.hub,
            store=script.store,
            apart=script.apart,
            settings=settings,
        )
        self.users = Users(self.world)

    def perform(self) -> None:
        """Let everything happen and check it.  Raises :class:`Broken`."""
        try:
            self.world.clock.run(WARM_UP)
            for act in self.script.acts:
                self.world.clock.run(act.after)
                self._carry_out(act)
            self._check()
            stay_still(self.world)
        except Spinning as error:
            raise Broken(SPINS, str(error)) from error
        except Broken:
            raise
        except Exception as error:  # whatever it is, it is a finding with a seed
            raise Broken(CRASHES, traceback.format_exc()) from error

    def _carry_out(self, act: Act) -> None:
        world, device = self.world, self.world.devices[act.device]
        world.expect_rest()
        match act.deed:
            case Deed.SAVE_DURING:
                device.interrupt(act.steps, lambda: self.users.carry_out(act))
            case Deed.KILL_DURING:
                device.interrupt(act.steps, lambda: world.kill_during(device, act.seconds))
            case Deed.KILL:
                world.kill(device, act.seconds)
            case Deed.PAUSE:
                world.pause(device, act.seconds)
            case Deed.CUT:
                world.cut(device, world.devices[act.peer], act.seconds)
            case Deed.HUB_AWAY:
                world.take_hub_away(act.seconds)
            case Deed.JUMP:
                device.wall_skew += act.hours * 3600.0
            case Deed.TIDY:
                for each in world.devices:
                    each.performer.tidy()
            case Deed.QUIET:
                self._check()
                world.network.calm = False
            case _:
                self.users.carry_out(act)

    def _check(self) -> None:
        settle(self.world)
        check(self.world, checked_out=self.users.checked_out)


def run(script: Script) -> Outcome:
    """Run a script and return how it ended."""
    play = None
    broken = detail = ""
    try:
        play = Play(script)
        play.perform()
    except Broken as error:
        broken, detail = error.invariant, error.detail
    trace = repr(play.world.trace) if play else ""
    return Outcome(script=script, broken=broken, detail=detail, trace=hashlib.sha256(trace.encode()).hexdigest())
