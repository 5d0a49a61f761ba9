"""What a running agent takes up of a changed configuration, and how keys are added to its text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autosync.config import Config, PathConfig, Popups, Urgency, Vcs, add_settings, parse
from autosync.config.changes import Changes, compare
from autosync.errors import ConfigError

ENVIRON = {"HOME": "/home/you"}
PATH = PathConfig(path="/home/you/notes", workspace="notes", key_file="/home/you/notes.key")
OTHER = PathConfig(path="/home/you/work", workspace="work", key_file="/home/you/work.key")
RUNNING = Config(source="/c", device="laptop", state_dir="/s", paths=(PATH,))


def test_a_new_path_is_taken_up_and_an_equal_configuration_changes_nothing() -> None:
    assert compare(RUNNING, RUNNING) == Changes()
    assert compare(RUNNING, replace(RUNNING, paths=(OTHER, PATH))) == Changes(added=(OTHER,))


def test_what_others_entries_hide_in_a_path_is_no_change_of_it() -> None:
    """The key file of a new entry may lie in an old path, which then ignores it."""
    inner = replace(OTHER, key_file="/home/you/notes/work.key")
    hidden = replace(PATH, ignore=(*PATH.ignore, "/work.key"))
    assert compare(RUNNING, replace(RUNNING, paths=(hidden, inner))) == Changes(added=(inner,))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (replace(RUNNING, paths=()), "/home/you/notes was removed"),
        (replace(RUNNING, paths=(replace(PATH, settle=1.0),)), "`settle` of /home/you/notes was changed"),
        (
            replace(RUNNING, paths=(replace(PATH, ignore=("*.iso",), poll=1.0),)),
            "`ignore`, `poll` of /home/you/notes was changed",
        ),
        (replace(RUNNING, log_level="DEBUG"), "`log-level` was changed"),
        (replace(RUNNING, peers=("a:1",)), "`peers` was changed"),
    ],
)
def test_what_needs_a_restart_is_told(wanted: Config, words: str) -> None:
    assert compare(RUNNING, wanted) == Changes(restart=(words,))


def test_what_is_ignored_changes_at_once_but_for_what_commands_keep() -> None:
    changed = replace(PATH, ignore=("*.iso",))
    assert compare(RUNNING, replace(RUNNING, paths=(changed, OTHER))) == Changes(added=(OTHER,), ignoring=(changed,))
    by_commands = replace(PATH, backend=Vcs.COMMAND)
    wanted = replace(RUNNING, paths=(replace(by_commands, ignore=("*.iso",)),))
    told = Changes(restart=("`ignore` of /home/you/notes was changed",))
    assert compare(replace(RUNNING, paths=(by_commands,)), wanted) == told


def test_what_is_followed_changes_at_once_and_beside_what_is_ignored() -> None:
    changed = replace(PATH, subscribe=("main",))
    assert compare(RUNNING, replace(RUNNING, paths=(changed,))) == Changes(following=(changed,))
    both = replace(changed, ignore=("*.iso",))
    assert compare(RUNNING, replace(RUNNING, paths=(both,))) == Changes(following=(both,), ignoring=(both,))


def test_popups_follow_the_configuration_by_themselves() -> None:
    """Unless there were none, or are none any more: then a process of its own begins or ends."""
    other = Popups(arrived=Urgency.NONE)
    assert compare(RUNNING, replace(RUNNING, popups=other)) == Changes()
    assert compare(RUNNING, replace(RUNNING, popups=None)) == Changes(restart=("`popups` was changed",))


def test_a_channel_is_started_if_it_is_new_and_not_if_it_is_another() -> None:
    first, second = (
        parse(f"xmpp: {{jid: {jid}@example.org, password: p}}", "/c", ENVIRON).xmpp for jid in ("me", "you")
    )
    assert compare(RUNNING, replace(RUNNING, xmpp=first)) == Changes(started=("xmpp",))
    for other in (second, None):
        assert compare(replace(RUNNING, xmpp=first), replace(RUNNING, xmpp=other)).restart == ("`xmpp` was changed",)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "reflector: a:1\n"),
        ("# mine\n\ndevice: x # why\n", "# mine\n\nreflector: a:1\ndevice: x # why\n"),
        ("---\ndevice: x\n", "---\nreflector: a:1\ndevice: x\n"),
        ("device: x\r\npaths:\r\n", "reflector: a:1\r\ndevice: x\r\npaths:\r\n"),
    ],
)
def test_a_setting_is_added_and_every_other_byte_stays(before: str, after: str) -> None:
    edited = add_settings(before, {"reflector": "a:1"}, "/c", ENVIRON)
    assert edited.endswith(after)
    assert parse(edited, "/c", ENVIRON) == replace(parse(before, "/c", ENVIRON), reflector="a:1")
    assert add_settings(before, {}, "/c", ENVIRON) == before


@pytest.mark.parametrize("text", ["{device: x}", "reflector: b:2\n", "--- {device: x}\n"])
def test_what_cannot_be_added_to_is_left_and_told(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        add_settings(text, {"reflector": "a:1"}, "/c", ENVIRON)
    assert caught.value.title == "/c: is written in a way that autosync does not add to by itself; nothing was changed"
    assert "reflector: a:1" in caught.value.hint
