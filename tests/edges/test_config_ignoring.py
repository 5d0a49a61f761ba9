"""Ignore patterns that a button adds to the configuration."""

from __future__ import annotations

import pytest

from autosync.config import DEFAULT_IGNORES, add_ignore, parse
from autosync.errors import ConfigError

ENVIRON = {"HOME": "/home/you"}
ENTRY = "path: /n\n    workspace: n\n    key-file: /k\n"


def ignored(text: str) -> tuple[str, ...]:
    return parse(text, "/c", ENVIRON).paths[0].ignore[len(DEFAULT_IGNORES) :]


@pytest.mark.parametrize(
    ("before", "after", "old"),
    [
        (f"paths:\n  - {ENTRY}", f"paths:\n  - ignore: [/.env]\n    {ENTRY}", ()),
        (
            f"# mine\npaths:\n  - {ENTRY}    ignore: # why\n      - a\n      - b  # c\n    settle: 1s\n",
            f"# mine\npaths:\n  - {ENTRY}    ignore: # why\n      - /.env\n      - a\n      - b  # c\n    settle: 1s\n",
            ("a", "b"),
        ),
        (
            f"paths:\n  - {ENTRY}    ignore: [a, b] # c\n",
            f"paths:\n  - {ENTRY}    ignore: [a, b, /.env] # c\n",
            ("a", "b"),
        ),
        (f"paths:\n  - {ENTRY}    ignore: []\n", f"paths:\n  - {ENTRY}    ignore: [/.env]\n", ()),
        (f"paths:\r\n- {ENTRY}", f"paths:\r\n- ignore: [/.env]\r\n  {ENTRY}", ()),
    ],
)
def test_a_pattern_is_added_and_every_other_byte_stays(before: str, after: str, old: tuple[str, ...]) -> None:
    if "\r\n" in before:
        before, after = before.replace("\n    ", "\n  "), after.replace("\n    ", "\n  ")
    edited = add_ignore(before, "/n", ["/.env"], "/c", ENVIRON)
    assert edited == after
    assert set(ignored(edited)) == {*old, "/.env"}
    assert add_ignore(edited, "/n", ["/.env"], "/c", ENVIRON) == edited


def test_names_of_any_kind_can_be_ignored() -> None:
    names = ["/a: b", "/#x", "/\udcff", '/"', "/- c", "/{x}", "/a, b]"]
    edited = add_ignore(f"paths:\n  - {ENTRY}    ignore: [z]\n", "/n", names, "/c", ENVIRON)
    assert ignored(edited) == ("z", *names)


@pytest.mark.parametrize(
    "text",
    [
        "paths: [{path: /n, workspace: n, key-file: /k}]",
        f"paths:\n  - {ENTRY}    ignore:\n",
    ],
)
def test_what_cannot_be_added_to_is_left_alone(text: str) -> None:
    with pytest.raises(ConfigError, match="does not add to by itself") as caught:
        add_ignore(text, "/n", ["/.env"], "/c", ENVIRON)
    assert caught.value.hint == "Add this to the entry of /n: ignore: [/.env]"
    with pytest.raises(ConfigError, match="there is no entry of /other"):
        add_ignore(text, "/other", ["/.env"], "/c", ENVIRON)
