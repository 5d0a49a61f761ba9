"""Changegroups that no Mercurial makes do to a store with light-weight copies what they do to any other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import figures
from tests.hgext.lightweight import EXTENSION, Hosts, Side, mercurials, same

VERSIONS = ("7.2", "6.3.2") if os.environ.get("AUTOSYNC_INTEROP") != "all" else ("7.2", "6.9.5", "6.3.2")


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_else_happens(tmp_path: Path, pytestconfig: pytest.Config, version: str) -> None:
    """Rings, files in parts and twice, sources that are nowhere or outside of the store, what nothing needs."""
    found = mercurials(pytestconfig)
    hg = found[version]
    script = [*hg.python, os.fspath(Path(__file__).parent / "oddities.py"), hg.place, EXTENSION, os.fspath(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[tuple[str, str], dict[str, str]] = {}
    for line in done.stdout.splitlines():
        number, name, kind, raised = line.split(" | ")
        told.setdefault((number, name), {})[kind] = raised
    differing = {name: raised for name, raised in told.items() if raised["light"] != raised["plain"]}
    assert differing.keys() <= {("0", "a revision that nothing needs")}, differing  # another file is the first
    added = [" ".join(name) for name, raised in told.items() if raised["light"] == "added"]
    hosts = tmp_path / "hosts"
    hosts.mkdir()
    roots = [tmp_path / f"{kind} {name}" for kind in ("light", "plain") for name in added]
    held = Hosts(hosts, found).held(Side(version, "light"), *roots)
    for name, light, plain in zip(added, held[: len(added)], held[len(added) :], strict=True):
        assert same(light, plain), name
        assert name.startswith("1") or light["light"] > 0, name
    figures.record("odd changegroups", len(told))
