"""What popups say of what happens and of how things stand, and which buttons they have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from autosync.core.brakes import HELD_HINT
from autosync.desktop.arrivals import QUIET, Arrivals, committed
from autosync.desktop.deeds import pattern_of
from autosync.desktop.logged import line_of
from autosync.desktop.places import place_of
from autosync.desktop.popup import Ignore, Kind, Popup, Release, Resolve, Show
from autosync.desktop.standing import Gone, Standing
from autosync.desktop.text import LONGEST, MOST_LINES, body, plain

ROOT = "/home/you/notes"


def activity(kind: str, *paths: str, **more: Any) -> dict[str, Any]:
    fields = {"workspace": "notes", "text": "desktop", "count": len(paths), "copy": "", "at_ms": 5.0}
    return {"kind": kind, "paths": paths, **fields, **more}


def status(*, channels: dict[str, str] | None = None, **workspace: Any) -> dict[str, Any]:
    held = {"count": 0, "reasons": {}, "paths": []}
    return {
        "channels": [{"kind": kind, "state": state, "detail": "why"} for kind, state in (channels or {}).items()],
        "workspaces": [{"name": "notes", "path": ROOT, "halt": None, "held": held, **workspace}],
    }


def held(*paths: str, reason: str = "secret", count: int = 0) -> dict[str, Any]:
    rows = [{"path": path, "reason": reason, "text": "looks like a secret by its name"} for path in paths]
    return {"count": count or len(paths), "reasons": {reason: count or len(paths)}, "paths": rows}


# -- what happens ----------------------------------------------------------------------------
def test_a_burst_is_one_popup_and_the_next_burst_another() -> None:
    arrivals = Arrivals()
    first = arrivals.take(activity("applied", "a", "b"), ROOT, 0.0)
    more = arrivals.take(activity("applied", "b", "c", text="server+desktop"), ROOT, QUIET)
    assert first is not None
    assert more is not None
    assert (first.title, more.title) == (
        "notes: 2 files from desktop",
        "notes: 3 files from desktop, server and desktop",
    )
    assert (more.lines, more.key, more.burst) == (("a", "b", "c"), first.key, first.burst)
    assert more.buttons[0].deed == Show(root=ROOT, path="a")
    next_one = arrivals.take(activity("applied", "d"), None, 2 * QUIET + 1)
    assert next_one is not None
    assert (next_one.title, next_one.buttons, next_one.burst) == ("notes: 1 file from desktop", (), first.burst + 1)


def test_saves_of_ones_own_and_what_moves_only_commits_are_no_news() -> None:
    arrivals = Arrivals()
    for each in (activity("saved", "a"), activity("applied"), activity("moving"), activity("of another version")):
        assert arrivals.take(each, ROOT, 0.0) is None


def test_a_conflict_has_buttons_until_there_are_several() -> None:
    arrivals = Arrivals()
    one = arrivals.take(activity("conflict", "a", copy="a (c)", text="a: two versions"), ROOT, 0.0)
    assert one is not None
    assert [button.label for button in one.buttons] == ["Show", "Keep mine", "Keep theirs"]
    assert one.buttons[2].deed == Resolve(root=ROOT, path="a", copy="a (c)", keep="theirs")
    assert (one.title, one.lines, one.lasting) == ("notes: conflict in a", ("two versions",), True)
    deleted = arrivals.take(activity("conflict", "b", text="b: deleted here"), ROOT, 1.0)
    assert deleted is not None
    assert (deleted.title, [b.label for b in deleted.buttons]) == ("notes: conflicts in 2 files", ["Show"])
    arrivals.answered("notes", "a")
    arrivals.answered("other", "a")
    again = arrivals.take(activity("conflict", "b", text="b: deleted here"), ROOT, 2.0)
    assert again is not None
    assert (again.title, [b.label for b in again.buttons]) == ("notes: conflict in b", ["Show"])
    many = arrivals.take(activity("conflict", count=7, text="7 more files in two versions"), None, 3.0)
    assert many is not None
    assert (many.title, many.buttons) == ("notes: conflicts in 8 files", ())


def test_a_failed_hook_and_a_commit_are_told() -> None:
    hook = Arrivals().take(activity("hook-failed", text="server: make restart failed\ncode 2\nmore"), ROOT, 0.0)
    assert hook is not None
    assert (hook.kind, hook.title, hook.lines) == (Kind.HOOK, "server: make restart failed", ("code 2", "more"))
    assert hook.lasting
    well = Arrivals().take(
        activity("hook-recovered", text="server: make restart succeeded", made_by="server"), ROOT, 0.0
    )
    assert well is not None
    assert (well.title, well.lines, well.lasting) == ("server: make restart succeeded", (), False)
    there = Arrivals().take(activity("presence", "a.py", text="desktop is editing a.py", made_by="desktop"), ROOT, 0.0)
    assert there is not None
    assert (there.kind, there.title, there.lines) == (Kind.PRESENCE, "desktop is editing a.py", ())
    commit = committed(activity("committed", text="abc"), ROOT, "Change a")
    assert (commit.title, commit.lines, commit.buttons[0].label) == ("notes: committed", ("Change a",), "Describe…")


# -- how things stand -------------------------------------------------------------------------
def test_what_is_held_is_asked_about_once_and_no_more_when_it_is_gone() -> None:
    standing = Standing(lost_after=300)
    (popup,) = standing.compare(status(held=held(".env")), [activity("told", text=f"x. {HELD_HINT}")], 0.0)
    assert isinstance(popup, Popup)
    assert (popup.title, popup.lines) == ("notes holds back .env", ("It looks like a secret by its name.",))
    assert [b.deed for b in popup.buttons] == [
        Release(root=ROOT, paths=(".env",)),
        Ignore(root=ROOT, paths=(".env",)),
    ]
    assert standing.compare(status(held=held(".env")), [], 1.0) == []
    (more,) = standing.compare(status(held=held(".env", "b.pem")), [], 2.0)
    assert isinstance(more, Popup)
    assert (more.key, more.title) == (popup.key, "notes holds back 2 paths")
    assert standing.compare(status(held=held("b.pem")), [], 3.0) == []
    assert standing.compare(status(), [], 4.0) == [Gone(popup.key)]


def test_deletions_can_be_taken_back_and_too_many_paths_are_not_ignored_at_once() -> None:
    (deletions,) = Standing(300).compare(status(held=held("a", "b", reason="deletion", count=2000)), [], 0.0)
    assert isinstance(deletions, Popup)
    assert [(b.label, b.deed) for b in deletions.buttons] == [
        ("Sync", Release(root=ROOT, paths=(), count=2000)),
        ("Restore", Release(root=ROOT, paths=(), restore=True)),
    ]
    assert deletions.lines[-1] == "and 1,998 more"
    (many,) = Standing(300).compare(status(held=held(*map(str, range(21)))), [], 0.0)
    assert isinstance(many, Popup)
    assert [b.label for b in many.buttons] == ["Sync"]


def test_a_halt_says_what_to_do_and_goes_when_it_is_over() -> None:
    standing, halt = Standing(300), {"title": "The folder is gone", "hint": "Mount it."}
    said = activity("told", text="The folder is gone. Mount it.")
    (popup,) = standing.compare(status(halt=halt), [said], 0.0)
    assert isinstance(popup, Popup)
    assert (popup.title, popup.lines) == ("notes is not in sync: The folder is gone", ("Mount it.",))
    assert standing.compare(status(halt=halt), [], 1.0) == []
    assert standing.compare(status(), [], 2.0) == [Gone(popup.key)]
    (other,) = standing.compare(status(), [activity("told", text="The hub refuses. Log in.")], 3.0)
    assert isinstance(other, Popup)
    assert (other.title, other.lines) == ("notes needs you", ("The hub refuses. Log in.",))


def test_a_server_is_missed_after_a_while_and_welcomed_back() -> None:
    standing = Standing(lost_after=300)
    for now in (0.0, 299.0):
        assert standing.compare(status(channels={"xmpp": "offline", "lan": "offline"}), [], now) == []
    (lost,) = standing.compare(status(channels={"xmpp": "connecting", "lan": "offline"}), [], 300.0)
    assert isinstance(lost, Popup)
    assert lost.title == "The XMPP server has not been connected for 5 minutes"
    assert standing.compare(status(channels={"xmpp": "offline"}), [], 400.0) == []
    (back,) = standing.compare(status(channels={"xmpp": "online"}), [], 7500.0)
    assert isinstance(back, Popup)
    assert (back.key, back.title, back.lines) == (
        lost.key,
        "The XMPP server is connected again",
        ("It was not for 2 hours.",),
    )
    assert standing.compare(status(channels={"xmpp": "offline"}), [], 7600.0) == []
    assert standing.compare(status(channels={"xmpp": "online"}), [], 7601.0) == []


# -- text -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\u202ex", "\\u202ex"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\udcff", "\\udcff"),
        ("é 🙂", "é 🙂"),
    ],
)
def test_what_is_not_printable_is_an_escape(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_what_is_long_or_much_is_cut_and_markup_is_none() -> None:
    assert len(plain("x" * 5000)) == LONGEST
    assert body(["<b>&"], markup=True) == "&lt;b&gt;&amp;"
    assert body(["<b>&", "", "c"], markup=False) == "<b>&\nc"
    assert body([str(n) for n in range(20)], markup=True).splitlines() == [*map(str, range(MOST_LINES - 1)), "…"]
    assert line_of(Popup(kind=Kind.HALT, key="k", title="t\n", lines=("a", "", "b"))) == "t\\n | a | b"


def test_a_shown_path_is_found_again_whatever_its_bytes(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    os.makedirs(root + b"/d\xff")
    for name in (b"d\xff/a\xfe", b"\\xff", b"plain"):
        with open(os.path.join(root, name), "wb"):
            pass
    names = {"d\\xff/a\\xfe": b"d\xff/a\xfe", "\\xff": b"\\xff", "plain": b"plain", "no\\x00": b"no\\x00"}
    for shown, name in names.items():
        assert os.fsencode(place_of(str(tmp_path), shown)) == os.path.join(root, name)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [(".env", "/.env"), ("a b*[x]?\\", "/a\\ b\\*\\[x]\\?\\\\"), ("new\nline", "/new?line"), ("!d/#x", "/!d/#x")],
)
def test_a_path_is_ignored_by_a_pattern_that_names_it_alone(path: str, pattern: str) -> None:
    assert pattern_of(path) == pattern
