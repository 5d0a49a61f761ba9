"""``autosync reflector``: the server that passes on what is said between devices."""

from __future__ import annotations

import logging

import click

from autosync.reflector.limits import Limits
from autosync.reflector.running import run_reflector

_LIMITS = Limits()


@click.command(
    epilog="Example: autosync reflector --listen '*:1986', and on every device: reflector: HOST:1986",
    short_help="Serve as the meeting point of devices that have no other.",
)
@click.option("--listen", metavar="HOST:PORT", required=True, help="Where to listen; * is every interface.")
@click.option(
    "--clients",
    metavar="N",
    type=click.IntRange(min=1),
    default=_LIMITS.clients,
    show_default=True,
    help="Connections at most.",
)
@click.option(
    "--per-address",
    metavar="N",
    type=click.IntRange(min=1),
    default=_LIMITS.clients_per_address,
    show_default=True,
    help="Clients of one address at most.",
)
@click.option(
    "--pipes",
    metavar="N",
    type=click.IntRange(min=0),
    default=_LIMITS.pipes,
    show_default=True,
    help="Pairs of devices that are joined at most; 0: announcements alone.",
)
@click.option(
    "--pipe-rate",
    metavar="BYTES",
    type=click.IntRange(min=1024),
    default=_LIMITS.pipe_rate,
    show_default=True,
    help="What each of such a pair may send per second.",
)
def reflector(*, listen: str, clients: int, per_address: int, pipes: int, pipe_rate: int) -> int:
    """Pass announcements on between devices, and keep the last of each for those who come later.

    Devices that reach each other by no other way are joined through it: what they fetch and send passes too.

    Everything that passes is sealed: who runs this learns who is there when, and how much is said.
    It runs until SIGTERM or Ctrl-C; SIGHUP writes figures to the log. SparkleShare up to 1.5.1 can use
    the same port. No configuration is read, and where only Python is installed it runs as
    `python3 -m autosync.reflector`.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    limits = Limits(clients=clients, clients_per_address=per_address, pipes=pipes, pipe_rate=pipe_rate)
    return run_reflector(listen, limits)
