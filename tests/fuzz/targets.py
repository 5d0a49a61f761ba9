"""All targets by name."""

from __future__ import annotations

from tests.fuzz import formats, objects, servers
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {t.name: t for t in (*formats.TARGETS, *objects.TARGETS, *servers.TARGETS)}
