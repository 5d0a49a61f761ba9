"""Waits until what was saved is recorded: an agent that has not looked yet has nothing pending either."""

from __future__ import annotations

from tests.system.fleet import Device
from tests.waiting import until


def recorded(device: Device, path: str) -> None:
    """Wait until the agent tells that it has recorded ``path``, for the first time since its start.

    The very first state of a working copy tells no paths: what is to be waited for comes after it.
    """
    until(lambda: any(path in told["paths"] for told in device.activities("saved")), why=lambda: device.log[-3000:])
