"""``autosync doctor``: the command."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial

import click

from autosync.cli.channelcheck import check_channel, configured_channels
from autosync.cli.checkup import check_configuration, check_device, check_path
from autosync.cli.clocks import check_hub, check_peers, check_reflector
from autosync.cli.doctor.agents import check_locks, check_service, check_twins
from autosync.cli.doctor.machine import check_kernel_clock, check_open_files
from autosync.cli.doctor.places import check_file_systems, check_rights, check_room
from autosync.cli.doctor.probing import Probe, run_probes
from autosync.cli.doctor.programs import check_libraries, check_python
from autosync.cli.doctor.syncing import check_syncing
from autosync.cli.finding import Finding, Level, tell
from autosync.cli.invocation import Invocation, pass_invocation
from autosync.cli.programs import check_programs
from autosync.cli.watches import check_instances, check_watches
from autosync.config import Config, candidates, default_state_dir
from autosync.desktop.packages import popup_finding
from autosync.errors import AutosyncError

_OVER_NETWORK = 45.0
"""Seconds that a hub or a server is given: a login takes several exchanges, and git tries each address."""


@click.command(epilog="Example: autosync doctor", short_help="Examine everything; say which line mends what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@pass_invocation
def doctor(invocation: Invocation, *, as_json: bool) -> int:
    """Examine all that syncing depends on, and say which line mends what is wrong.

    That is the configuration, the working copies and their hubs (each is written to, and left as it was), what the
    running agent says against them (halted, paused, waiting, held back, in conflict), the channels, and this machine:
    versions, limits, clocks, disks and their file systems, rights, popups, whether the agent is started at login,
    whether two of them are at one folder.

    Each line says ok, warn or fail; the exit code is 1 if anything failed. It needs neither a running agent nor a
    configuration, changes nothing, and takes less than a minute also where something does not answer.
    """
    return tell(diagnose(invocation), invocation.reword, as_json=as_json)


def diagnose(invocation: Invocation) -> Iterator[Finding]:
    """Yield everything that is found."""
    config, found = _configuration(invocation)
    yield from found
    yield from run_probes(_probes(config))


def _configuration(invocation: Invocation) -> tuple[Config | None, list[Finding]]:
    """Return the configuration, if it can be read, and what there is to say of it."""
    option = invocation.config_option
    if not any(os.path.lexists(place) for place in candidates(option, os.environ)) and option is None:
        return None, [Finding(Level.WARN, "config", "there is none yet", "Begin with `autosync init PATH`.")]
    try:
        config = invocation.load(on_disk=True)
    except AutosyncError as error:
        failed = Finding(Level.FAIL, "config", error.title, error.hint)
    else:
        return config, list(check_configuration(config, option))
    try:  # it may be a folder that is not there: all else can be examined
        config = invocation.load(on_disk=False)
    except AutosyncError:
        return None, [failed]
    return config, [failed, *check_configuration(config, option)]


def _probes(config: Config | None) -> Sequence[Probe]:
    state_dir = config.state_dir if config else default_state_dir(os.environ)
    probes = [
        Probe(what="python", find=check_python),
        Probe(what="libraries", find=check_libraries),
        Probe(what="open files", find=partial(check_open_files, config)),
        Probe(what="inotify instances", find=lambda: [check_instances()]),
        Probe(what="clock", find=check_kernel_clock),
        Probe(what="disk", find=partial(check_room, config, state_dir)),
        Probe(what="rights", find=partial(check_rights, config, state_dir)),
        Probe(what="service", find=partial(check_service, os.environ)),
        Probe(what="popups", find=lambda: [popup_finding()]),
    ]
    if config is None:
        nothing = Config(source="", device="", state_dir=state_dir)
        return [*probes, Probe(what="programs", find=partial(check_programs, nothing))]
    return [*probes, *_configured(config)]


def _configured(config: Config) -> Iterator[Probe]:
    """Yield what can be examined of that which the configuration names."""
    yield Probe(what="programs", find=partial(check_programs, config))
    yield Probe(what="agent", find=partial(check_device, config))
    yield Probe(what="syncing", find=partial(check_syncing, config))
    yield Probe(what="inotify", find=lambda: [check_watches(config)])
    yield Probe(what="agents", find=partial(check_twins, config))
    yield Probe(what="clock", find=partial(check_peers, config))
    for path in config.paths:
        yield Probe(what=path.workspace, find=partial(check_file_systems, [path]))
        yield Probe(what=path.workspace, find=partial(check_locks, path))
        yield Probe(what=path.workspace, find=partial(check_path, config, path), patience=_OVER_NETWORK)
        if path.remote is not None:
            yield Probe(what="clock", find=partial(check_hub, path), patience=_OVER_NETWORK)
    for key in configured_channels(config):
        yield Probe(what=key, find=partial(check_channel, config, key), patience=_OVER_NETWORK)
    if config.reflector is not None:
        yield Probe(what="clock", find=partial(check_reflector, config.reflector), patience=_OVER_NETWORK)
