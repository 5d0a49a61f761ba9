"""Reads the key ``metrics``: where the numbers about this agent are served."""

from __future__ import annotations

import ipaddress
import re

from autosync.config.reading import Value

_EXAMPLE = "Write it like this: 127.0.0.1:9847"


def read_metrics(value: Value) -> tuple[str, int]:
    """Return host and port, both of the loopback interface: the numbers name workspaces and devices."""
    match = re.fullmatch(r"(\[[^][]+\]|[^][:\s]+):(\d{1,5})", value.text())
    if match is None or not 0 < int(match[2]) < 65536:
        raise value.error("must be an address with a port from 1 to 65535", _EXAMPLE)
    host = "127.0.0.1" if match[1].lower() == "localhost" else match[1].strip("[]")
    try:
        is_ours = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_ours = False
    if not is_ours:
        raise value.error(
            f"{match[1]} is not an address of the loopback interface: others must not read this",
            f"{_EXAMPLE}. A Prometheus on another machine reads it through ssh: ssh -L 9847:127.0.0.1:9847 HOST",
        )
    return host, int(match[2])
