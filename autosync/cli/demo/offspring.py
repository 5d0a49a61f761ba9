"""Ends the demo's processes with the demo, however it ends."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1

_prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec as little as possible should happen


def end_with_parent() -> None:
    """Have this process terminated when its parent is gone (prctl(2)); for ``Popen(preexec_fn=…)``.

    A demo that is killed cannot end its agents, and nobody would look for them.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
