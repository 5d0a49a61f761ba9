"""What one entry of the configuration says is said of another one in the same words."""

from __future__ import annotations

from dataclasses import replace

from autosync.config import Addition, add_path, inheritable, parse

TEXT = """\
paths:
- {path: /first, workspace: first, key-file: /first.key}
- path: /notes  # mine
  workspace: notes
  key-file: /notes.key
  remote: origin
  mode: receive
  on-update: [make, restart]
  ignore:
  - "x # y"
  - 'a: b'   # why
  - &many "{ü,\\u00e4}"
  - *many
  hg: [/usr/bin/hg, --config, "ui.x=1"]
  commits: >-
    auto
  brakes:
    huge-file: 5m
  settle: 20ms
"""


def test_settings_of_any_form_mean_the_same_in_the_new_entry() -> None:
    settings, left = inheritable(TEXT, "/config", 1)
    assert left == ("mode", "on-update")
    new = Addition(path="/fix", workspace="fix", key_file="/fix.key", remote="origin", settings=settings)
    _, notes, fix = parse(add_path(TEXT, new, "/config", {}), "/config", {}).paths
    own = replace(notes, path="/fix", workspace="fix", key_file="/fix.key", mode=fix.mode, on_update=None)
    assert fix == own
    assert (fix.ignore[-3:], fix.commits.value, fix.settle) == (("a: b", "{ü,ä}", "{ü,ä}"), "auto", 0.02)


def test_an_entry_in_one_line_and_the_usual_mode_are_nothing_to_tell_of() -> None:
    text = "paths: [{path: /a, workspace: a, key-file: /k, mode: two-way}]"
    assert inheritable(text, "/config", 0) == ((), ())
