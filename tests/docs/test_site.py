"""The documentation site is built without a network, has all pages, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autosync.cli.main import SECTIONS
from tests.docs.pages import ROOT

BUILD = ["-m", "mkdocs", "build", "--quiet", "--strict", "--config-file", str(ROOT / "website/mkdocs.yml")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built where there is no network at all."""
    place = tmp_path_factory.mktemp("site") / "site"
    alone = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [*alone, sys.executable, *BUILD, "--site-dir", str(place)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return place


def test_every_page_is_there_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    sources = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    assert sources <= pages
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|link)[^>]*?(?:src|href)=\"([^\"]*)\"", text)
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], page


def test_the_reference_has_every_command_and_key(site: Path) -> None:
    commands = (site / "reference/commands.html").read_text(encoding="utf-8")
    missing = [name for names in SECTIONS.values() for name in names if f'id="{name}"' not in commands]
    assert missing == []
    configuration = re.sub(r"<[^>]*>", "", (site / "reference/configuration.html").read_text(encoding="utf-8"))
    example = (ROOT / "examples/.autosync-example").read_text(encoding="utf-8")
    assert [
        key for key in re.findall(r"^ *([a-z][a-z-]*):", example, re.MULTILINE) if f"{key}:" not in configuration
    ] == []
    codes = (site / "reference/exit-codes.html").read_text(encoding="utf-8")
    assert all(f"<code>{code}</code>" in codes for code in (0, 1, 2, 3, 130))
