"""Adds to the status of each peer what it has confirmed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from autosync.answers.report import iso
from autosync.confirmations import Confirmations


def tell_confirmed(peers: Sequence[dict[str, Any]], confirmations: Confirmations) -> None:
    """Add the key ``confirmed``: the last common ``tree``, the ``time`` at which the device last said that it has it,
    and for how many seconds the two have been ``apart`` since: 0 if they are not, ``None`` if that is not known."""
    now = time.time()
    for peer in peers:
        known = confirmations.of(peer["id"])
        is_equal = known.at is not None and known.apart_since is None
        apart = 0.0 if is_equal else None if known.apart_since is None else max(0.0, round(now - known.apart_since, 1))
        peer["confirmed"] = {"tree": known.tree, "time": iso(known.at), "apart": apart}
