"""``autosync torture``: lets simulated devices suffer and shows that they end up equal with nothing lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import click

from autosync.cli.failures import FAILED, OK
from autosync.cli.progress import Progress
from autosync.simulation.campaign import Campaign, make_small, run_everywhere
from autosync.simulation.run import Outcome

SEEDS = 200
SHOWN = 3
"""Failures that are told in full, as short as they can be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A failure, its shortest form, and the command line that repeats it."""

    whole: Outcome
    small: Outcome
    again: str

    def row(self) -> Mapping[str, object]:
        script = self.small.script
        return {
            "seed": script.seed,
            "invariant": self.small.broken,
            "detail": self.small.detail,
            "devices": script.devices,
            "loss": script.loss,
            "hub": script.hub,
            "commits": "auto" if script.auto_commit else "manual",
            "operations": [str(act) for act in script.acts],
            "again": self.again,
        }


@click.command(epilog="Example: autosync torture --seeds 1000", short_help="Show on simulated devices what holds.")
@click.option("--seed", type=click.IntRange(min=0), help="The seed to run, or to begin with.  [default: 0]")
@click.option("--seeds", type=click.IntRange(min=1), help=f"How many seeds to run.  [default: {SEEDS}; 1 with --seed]")
@click.option(
    "--devices", type=click.IntRange(2, 9), help="How many devices there are.  [default: 2 to 4, by the seed]"
)
@click.option(
    "--ops", type=click.IntRange(0, 1000), default=12, show_default=True, help="How many things happen in each run."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def torture(*, seed: int | None, seeds: int | None, devices: int | None, ops: int, as_json: bool) -> int:
    """Simulate devices on which everything goes wrong at once, and check what autosync promises.

    Every seed is another story, and always the same one: messages are lost, late, repeated and out
    of order, agents are killed at any step, networks are cut, clocks jump, files are edited, renamed
    and deleted everywhere at once. Then all comes to rest: now all devices have to be equal, every
    content that was ever saved has to be somewhere, and nothing that was deleted may be back.

    A story that ends badly is told again, as short as it can be made. Nothing of yours is touched.
    """
    count = seeds or (SEEDS if seed is None else 1)
    campaign = Campaign(first=seed or 0, count=count, devices=devices, ops=ops)
    failed = _run(campaign, quiet=as_json)
    told = [_Failure(whole=f, small=make_small(f), again=_again(f, campaign)) for f in failed[:SHOWN]]
    if as_json:
        numbers = [failure.script.seed for failure in failed]
        report = {"ok": not failed, "seeds": count, "failed": numbers, "failures": [f.row() for f in told]}
        click.echo(json.dumps(report, indent=2))
        return FAILED if failed else OK
    for failure in told:
        _tell(failure)
    if failed:
        click.echo(f"{len(failed):,} of {count:,} seeds failed: " + ", ".join(str(f.script.seed) for f in failed[:20]))
        return FAILED
    runs = "1 seed" if count == 1 else f"{count:,} seeds"
    click.echo(f"{runs}: nothing was lost, and all devices ended up equal or said why not.")
    return OK


def _run(campaign: Campaign, *, quiet: bool) -> list[Outcome]:
    """Run the campaign and return the failures; it is shown how far it is."""
    failed: list[Outcome] = []
    done = 0
    with Progress(quiet=quiet) as tell:
        tell.step("seeds, 0 failed", total=campaign.count)
        for report in run_everywhere(campaign):
            done += report.seeds
            failed += report.failures
            tell.step(f"seeds, {len(failed):,} failed", done=done, total=campaign.count)
    return failed


def _again(failure: Outcome, campaign: Campaign) -> str:
    devices = "" if campaign.devices is None else f" --devices {campaign.devices}"
    return f"autosync torture --seed {failure.script.seed}{devices} --ops {campaign.ops}"


def _tell(failure: _Failure) -> None:
    script = failure.small.script
    surroundings = [f"{script.devices} devices"]
    surroundings += [f"{script.loss:.0%} of the announcements lost"] if script.loss else []
    surroundings += ["a hub"] if script.hub else []
    surroundings += ["a store"] if script.store else []
    surroundings += ["reaching nobody else"] if script.apart else []
    surroundings += ["commits: auto"] if script.auto_commit else []
    click.echo(f"Seed {script.seed} breaks: {failure.small.broken}")
    click.echo(f"  {failure.small.detail}")
    click.echo(
        f"  {len(script.acts)} of {len(failure.whole.script.acts)} operations are enough ({', '.join(surroundings)}):"
    )
    for act in script.acts:
        click.echo(f"    {act}")
    click.echo(f"  Again: {failure.again}")
    click.echo("")
