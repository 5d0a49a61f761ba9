"""What the tutorial and the how-to pages tell their readers to do is done, and leads to what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, follow
from tests.figures import record

PAGES = [ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/howto").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    record("boxes of commands in the documentation run", follow(page, tmp_path))
