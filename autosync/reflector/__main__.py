"""``python3 -m autosync.reflector --listen HOST:PORT``: the reflector where nothing but Python is installed."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from autosync.errors import AutosyncError
from autosync.reflector.limits import Limits
from autosync.reflector.running import run_reflector


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the reflector and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python3 -m autosync.reflector",
        description="Pass sealed announcements on between devices.",
        allow_abbrev=False,
    )
    parser.add_argument("--listen", metavar="HOST:PORT", required=True, help="where to listen; * is every interface")
    parser.add_argument("--clients", metavar="N", type=int, default=Limits().clients, help="connections at most")
    parser.add_argument(
        "--per-address", metavar="N", type=int, default=Limits().clients_per_address, help="of one address"
    )
    parser.add_argument(
        "--pipes", metavar="N", type=int, default=Limits().pipes, help="pairs of devices that are joined; 0: none"
    )
    parser.add_argument(
        "--pipe-rate", metavar="BYTES", type=int, default=Limits().pipe_rate, help="per second, of each of a pair"
    )
    chosen = parser.parse_args(arguments)
    if chosen.clients < 1 or chosen.per_address < 1:
        parser.error("--clients and --per-address must be at least 1")
    if chosen.pipes < 0 or chosen.pipe_rate < 1024:
        parser.error("--pipes must be at least 0, and --pipe-rate at least 1024")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        limits = Limits(
            clients=chosen.clients,
            clients_per_address=chosen.per_address,
            pipes=chosen.pipes,
            pipe_rate=chosen.pipe_rate,
        )
        return run_reflector(chosen.listen, limits)
    except AutosyncError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
