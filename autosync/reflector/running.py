"""Runs a reflector as a process: signals, limits of the system, exit codes."""

from __future__ import annotations

import logging
import resource
import signal
from dataclasses import replace
from types import FrameType

from autosync.reflector.address import parse_address
from autosync.reflector.limits import Limits
from autosync.reflector.server import Reflector

log = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit code after Ctrl-C (128 + SIGINT)."""
_SPARE = 32
"""File descriptors beside those of the clients."""


def run_reflector(listen: str, limits: Limits | None = None) -> int:
    """Serve at the address ``listen`` until SIGTERM (0) or SIGINT (130); return the exit code.

    SIGHUP writes a line of figures to the log: there is nothing to be read again, and no
    client is dropped.  Raises :class:`AutosyncError` if the address cannot be had.
    """
    host, port = parse_address(listen)
    reflector = Reflector(host, port, _with_descriptors(limits or Limits()))
    ended_by = 0

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal ended_by
        ended_by = number
        reflector.stop()

    def tell(_number: int, _frame: FrameType | None) -> None:
        log.info("%s", reflector.report())

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGHUP, tell)
    log.info("listening on %s, port %d", host or "every interface", reflector.port)
    reflector.serve()
    log.info("ended; %s", reflector.report())
    return INTERRUPTED if ended_by == signal.SIGINT else 0


def _with_descriptors(limits: Limits) -> Limits:
    """Return ``limits`` with no more clients than there can be file descriptors."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.clients + _SPARE
    possible = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(possible, resource.getrlimit(resource.RLIMIT_NOFILE)[0]), most))
    if possible < wanted:
        log.warning("at most %d clients: the system allows %d open files (ulimit -n)", possible - _SPARE, most)
        return replace(limits, clients=max(1, possible - _SPARE))
    return limits
