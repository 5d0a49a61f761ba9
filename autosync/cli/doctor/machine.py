"""Examines the limits of a process, and whether the kernel's clock is kept right."""

from __future__ import annotations

import ctypes
import resource
import sys
from collections.abc import Iterator

from autosync.cli.finding import Finding, Level
from autosync.config import Config
from autosync.control import call
from autosync.errors import AutosyncError

_NEEDED = 256
"""Files that an agent with one working copy has open at most: its processes, links and locks."""
_FOR_EACH = 64
_UNSYNCHRONISED = 0x40
_TIMEX_BYTES = 512
"""More than struct timex takes on any architecture (adjtimex(2))."""


def check_open_files(config: Config | None) -> Iterator[Finding]:
    """Tell whether as many files may be open as an agent may need; of one that runs its own limit counts."""
    soft, hard = _limits(config)
    needed = _NEEDED + _FOR_EACH * (len(config.paths) if config else 0)
    detail = f"{soft} may be open at once; {needed} may be needed"
    if soft >= needed:
        yield Finding(Level.OK, "open files", detail)
        return
    wanted = max(1024, 2 * needed)
    hint = f"ulimit -n {wanted}    before `autosync run`; in a systemd unit LimitNOFILE={wanted}"
    if 0 < hard < wanted:
        hint += (
            f"\nIt may not be raised beyond {hard}: as root add to /etc/security/limits.conf: * hard nofile {wanted}"
        )
    yield Finding(Level.WARN, "open files", detail, hint)


def _limits(config: Config | None) -> tuple[int, int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if config is not None:
        try:
            pid = int(call(config.state_dir, "status")["agent"]["pid"])
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        except (AutosyncError, OSError):
            pass
    most = 2**31
    return (most if soft == resource.RLIM_INFINITY else soft), (most if hard == resource.RLIM_INFINITY else hard)


def check_kernel_clock() -> Iterator[Finding]:
    """Tell whether anything keeps the clock right (adjtimex(2), STA_UNSYNC)."""
    status = _clock_status()
    if status is None or not status & _UNSYNCHRONISED:
        yield Finding(Level.OK, "clock", "is kept right over the network" if status is not None else "cannot be asked")
    else:
        detail = "nothing keeps this machine's clock right"
        hint = "sudo timedatectl set-ntp true    (without systemd: sudo apt-get install chrony)"
        yield Finding(Level.WARN, "clock", detail, hint)


def _clock_status() -> int | None:
    buffer = (ctypes.c_char * _TIMEX_BYTES)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(buffer) == -1:
        return None
    # struct timex begins: unsigned modes; long offset, freq, maxerror, esterror; int status.
    long = ctypes.sizeof(ctypes.c_long)
    offset = long + 4 * long
    return int.from_bytes(bytes(buffer)[offset : offset + 4], sys.byteorder)
