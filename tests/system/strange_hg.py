"""An hg that commits other changesets than any that autosync knows."""

from __future__ import annotations

from pathlib import Path

_PROGRAM = """\
#!/usr/bin/python3
from mercurial import changelog, dispatch

add = changelog.changelog.add


def louder(self, manifest, files, desc, *args, **named):
    return add(self, manifest, files, desc + b"!", *args, **named)


changelog.changelog.add = louder
dispatch.run()
"""


def strange_hg(place: Path) -> Path:
    """Return a program below ``place`` that is hg 6.3.2 in all but what it writes into changesets."""
    program = place / "strange-hg"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    return program
