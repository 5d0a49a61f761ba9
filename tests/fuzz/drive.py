"""Targets under atheris, coverage-guided, each in a fork of its own: instrumenting takes seconds, once for all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["autosync"]):
    from tests.fuzz.targets import TARGETS


def main(place: Path, names: list[str], jobs: int, options: list[str]) -> None:
    """Feed each target until its time is over or an input breaks it; libFuzzer writes to ``place/<name>.log``."""
    running = 0
    for name in names:
        if running == jobs:
            os.wait()
            running -= 1
        if os.fork() == 0:
            _attack(place, name, options)
        running += 1
    for _ in range(running):
        os.wait()


def _attack(place: Path, name: str, options: list[str]) -> None:
    """Never return: libFuzzer ends the process."""
    grown, scratch = place / f"{name}.corpus", place / f"{name}.scratch"
    log = os.open(place / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        grown.mkdir()
        scratch.mkdir()
        os.environ["TMPDIR"] = str(scratch)
        target = TARGETS[name]
        for number, known in enumerate([*target.seeds(), *target.regressions()]):
            (grown / f"known-{number}").write_bytes(known)
        arguments = [sys.argv[0], *options, f"-artifact_prefix={place}/found/{name}-", str(grown)]
        atheris.Setup(arguments, lambda content: target.feed(content) and None)
        atheris.Fuzz()
    finally:
        os._exit(1)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    main(Path(asked["place"]), asked["names"], asked["jobs"], asked["options"])
