"""Makes a failing script small: what is left is needed for the failure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from autosync.simulation.deeds import Script

ATTEMPTS = 1500
"""Scripts that are tried at most."""


def shrink(script: Script, fails: Callable[[Script], bool], *, attempts: int = ATTEMPTS) -> Script:
    """Return a smaller script for which ``fails`` is true, as it has to be for ``script``.

    First ever smaller groups of acts are left out (Zeller and Hildebrandt 2002, "Simplifying and
    isolating failure-inducing input"), then what surrounds them is made plain, as long as
    either helps.
    """
    tried: set[Script] = set()
    found = script
    while True:
        smaller = next((s for s in _smaller(found) if _is_new(s, tried, attempts) and fails(s)), None)
        if smaller is None:
            return found
        found = smaller


def _is_new(script: Script, tried: set[Script], attempts: int) -> bool:
    if script in tried or len(tried) >= attempts:
        return False
    tried.add(script)
    return True


def _smaller(script: Script) -> Iterator[Script]:
    """Yield scripts that are simpler than ``script``, the boldest first."""
    acts = script.acts
    size = len(acts)
    while size:
        for start in range(0, len(acts), size):
            yield replace(script, acts=acts[:start] + acts[start + size :])
        size //= 2
    last = script.devices - 1
    if script.store and not script.apart and all(act.device <= last for act in acts):
        yield replace(script, store=False)
    if script.apart:
        yield replace(script, apart=False)
    if last > 1 and not script.store and all(last not in (act.device, act.peer) for act in acts):
        yield replace(script, devices=last)
    if script.loss:
        yield replace(script, loss=0.0)
    if script.auto_commit:
        yield replace(script, auto_commit=False)
    elif script.hub:
        yield replace(script, hub=False)
    for index, act in enumerate(acts):
        for plain in (replace(act, after=0.0), replace(act, after=1.0), replace(act, steps=0), replace(act, peer=0)):
            if plain != act and (act.after != 0.0 or plain.after == act.after) and plain.peer != plain.device:
                yield replace(script, acts=(*acts[:index], plain, *acts[index + 1 :]))
