"""Networks of a test's own: nobody else hears or disturbs what is sent to a fixed port in them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar, cast

from tests.system.mounts import run_inside

P = ParamSpec("P")
T = TypeVar("T")

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def needs_network(test: Callable[P, T]) -> Callable[P, T]:
    """Let ``test`` run in a network namespace (network_namespaces(7)) with a loopback interface.

    Where we may not make one it is run again inside a user namespace, as with
    :func:`tests.system.mounts.needs_mounts`.
    """
    if inspect.iscoroutinefunction(test):

        @functools.wraps(test)
        async def run(*args: P.args, **kwargs: P.kwargs) -> None:
            with own_network() if _may_unshare() else _elsewhere() as here:
                if here:
                    await test(*args, **kwargs)
    else:

        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            with own_network() if _may_unshare() else _elsewhere() as here:
                if here:
                    test(*args, **kwargs)

    return cast(Callable[P, T], run)


@contextlib.contextmanager
def _elsewhere() -> Iterator[bool]:
    run_inside(os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0], "--net")
    yield False


@contextlib.contextmanager
def own_network() -> Iterator[bool]:
    """Put this thread, and the threads and processes that it starts, into a network of its own."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.unshare(_CLONE_NEWNET))
        try:
            ip("link set lo up")
            yield True
        finally:
            _checked(_libc.setns(home, _CLONE_NEWNET))
    finally:
        os.close(home)


def ip(command: str) -> str:
    """Run ip(8) in the network of this thread and return what it prints."""
    return subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True).stdout


def tc(command: str) -> None:
    """Run tc(8) in the network of this thread."""
    subprocess.run(["tc", *command.split()], check=True)


@functools.cache
def _may_unshare() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "--net", "true"], check=False).returncode == 0


def _checked(returned: int) -> None:
    if returned:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
