"""What the page is told: versions of a conflict, settings without secrets, and news only while somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from autosync.errors import AutosyncError, TransientError
from autosync.pidlock import PidLock
from autosync.web.asking import Asking
from autosync.web.overview import Overview
from autosync.web.running import LOCK, PLACE, run_page
from autosync.web.settings import HIDDEN, list_settings
from autosync.web.versions import SHOWN_BYTES, side_by_side
from autosync.web.watching import Watch
from tests.figures import record


def test_lines_that_differ_stand_beside_each_other(tmp_path: Path) -> None:
    lines = [f"{n}\n" for n in range(1, 31)]
    (tmp_path / "left").write_text("".join(lines))
    (tmp_path / "right").write_text("".join([*lines[:9], "ten\n", "more\r\n", *lines[10:]]))
    shown = side_by_side(str(tmp_path), "left", "right")
    assert [shown[side]["kind"] for side in ("left", "right")] == ["text", "text"]
    rows = shown["rows"]
    assert rows[0] == rows[-1] == ("left out", None, "", None, "")
    assert rows[1] == ("equal", 6, "6", 6, "6")
    assert [row for row in rows if row[0] == "changed"] == [
        ("changed", 10, "10", 10, "ten"),
        ("changed", None, "", 11, "more\r"),
    ]
    assert side_by_side(str(tmp_path), "left", "left")["rows"] == []


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text\n")
    (tmp_path / "binary").write_bytes(b"\x89PNG\0")
    (tmp_path / "latin").write_bytes(b"\xe4")
    (tmp_path / "large").write_bytes(b"x" * (SHOWN_BYTES + 1))
    (tmp_path / "many").write_text("\n" * 5000)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    kinds = {"binary": "binary", "latin": "binary", "large": "large", "many": "large", "folder": "folder"}
    for name, kind in {**kinds, "pipe": "other", "none": "gone", "text/below": "gone"}.items():
        shown = side_by_side(str(tmp_path), "text", name)
        assert (shown["right"]["kind"], shown["rows"]) == (kind, None)


def test_no_link_leads_out_of_the_working_copy(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret\n")
    (root / "link").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    shown = side_by_side(str(root), "link", "folder/secret")
    assert shown["right"] == {"kind": "gone", "bytes": None, "modified": None}
    assert shown["left"]["kind"] == "link"
    assert "secret\n" not in json.dumps(shown)
    record("bad inputs refused", 2)


def test_settings_are_shown_with_their_place_and_without_secrets(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    (notes / ".git").mkdir(parents=True)
    (tmp_path / "notes.key").touch()
    (notes / ".autosync").write_text("settle: 250ms\n")
    config = tmp_path / "config.yaml"
    config.write_text(
        "device: laptop\n"
        "xmpp:\n  jid: me@example.org\n  password: hunter2\n"
        "limit-upload: 1M\n"
        "paths:\n"
        f"- path: {notes}\n  workspace: notes\n  key-file: {tmp_path}/notes.key\n"
        "  remote: https://me:hunter2@example.org/notes.git\n"
        "  on-update: [curl, -H, 'token: hunter2', https://example.org]\n"
        "  brakes:\n    huge-file: 5M\n"
    )
    config.chmod(0o600)
    listed = list_settings(str(config))
    device, path = ({row["key"]: row for row in group["rows"]} for group in listed["groups"])
    assert [group["title"] for group in listed["groups"]] == ["This device", "notes"]
    assert device["device"] == {"key": "device", "value": "laptop", "file": str(config), "line": 1}
    assert (device["xmpp.password"]["value"], device["xmpp.password"]["line"]) == (HIDDEN, 4)
    assert (device["limit-upload"]["value"], device["limit-download"]["value"]) == ("1M", "none")
    assert (path["remote"]["value"], path["remote"]["line"]) == ("https://…@example.org/notes.git", 10)
    assert path["brakes.huge-file"] == {"key": "brakes.huge-file", "value": "5M", "file": str(config), "line": 13}
    assert path["settle"] == {"key": "settle", "value": "250ms", "file": str(notes / ".autosync"), "line": None}
    assert (path["poll"]["value"], path["poll"]["line"]) == ("1m", None)
    assert "hunter2" not in json.dumps(listed)
    assert listed["problem"] is None
    (tmp_path / "notes.key").unlink()
    problem = list_settings(str(config))["problem"]
    assert problem["title"] == f"{config}: paths[0].key-file: {tmp_path}/notes.key does not exist"


def test_only_what_the_agent_lists_as_a_conflict_is_read(tmp_path: Path) -> None:
    (tmp_path / "id_rsa").write_text("secret\n")
    row = {"root": str(tmp_path), "file": "a", "copy": "b"}
    asking = Asking(lambda _command, **_arguments: {"conflicts": [row]}, None)
    for question in (
        {"file": "id_rsa", "copy": "b"},
        {"file": "a", "copy": "id_rsa"},
        {"file": "a", "copy": "../id_rsa"},
    ):
        with pytest.raises(AutosyncError, match="This conflict is finished"):
            asking.answer({"ask": "versions", "path": str(tmp_path), **question})
    for question in (None, [], "versions", {}, {"ask": "invite"}, {"ask": ["versions"]}, {"ask": "gc", "path": "/"}):
        with pytest.raises(AutosyncError, match="The page asked what is not known here"):
            asking.answer(question)
    for path in (None, 1, ["/"], "\0", "/a\0", "\ud800"):
        for name in ("pause", "release", "history", "versions"):
            with pytest.raises(AutosyncError, match="The page did not say which path"):
                asking.answer({"ask": name, "path": path})
    for file in (1, ["a"], "\0", "\ud800"):
        with pytest.raises(AutosyncError, match="The page did not say which file"):
            asking.answer({"ask": "restore", "path": str(tmp_path), "file": file, "at": 0})
    record("bad inputs refused", 38)


class Agent:
    """Answers as an agent of one working copy does; ``trees`` counts how often its state is another one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tree = 0

    def ask(self, command: str, **_arguments: Any) -> dict[str, Any]:
        self.asked.append(command)
        if command == "activity":
            return {"run": "1", "next": 0, "missed": 0, "activities": []}
        if command == "status":
            return {"device": "laptop", "agent": {"pid": 1}, "channels": [str(self.tree)], "workspaces": []}
        return {"workspaces": []}


async def test_the_agent_is_asked_while_somebody_looks_and_no_longer() -> None:
    agent = Agent()
    watch = Watch(agent.ask, "autosync run")
    running = asyncio.ensure_future(watch.run())
    await asyncio.sleep(0)
    assert watch.rests.is_set()
    assert agent.asked == []
    async with contextlib.aclosing(watch.news()) as first, contextlib.aclosing(watch.news()) as second:
        for reader in (first, second):
            assert json.loads((await anext(reader)).partition(b"data: ")[2])["channels"] == ["0"]
        agent.tree = 1
        for reader in (first, second):
            assert json.loads((await anext(reader)).partition(b"data: ")[2])["channels"] == ["1"]
    await watch.rests.wait()  # the look that is under way is the last one
    running.cancel()


def test_the_conflicts_are_asked_for_when_there_may_be_others() -> None:
    workspace = {"path": "/notes", "tree": "1", "snapshot": None, "conflicts": [{"path": "a"}], "peers": []}
    asked: list[str] = []

    def ask(command: str, **_arguments: Any) -> dict[str, Any]:
        asked.append(command)
        if command == "conflicts" and workspace["tree"] == "torn":
            raise TransientError("It is being looked at", hint="Try again.")
        if command == "status":
            return {"device": "laptop", "agent": {"pid": 1}, "channels": [], "workspaces": [workspace]}
        return {"workspaces": [], "conflicts": [{"file": "a"}]}

    overview = Overview(ask)
    for tree, conflicts, times in (
        ("1", ["a"], 1),
        ("1", ["a"], 1),
        ("2", ["a"], 2),
        ("2", ["a", "b"], 3),
        ("3", [], 3),
    ):
        workspace |= {"tree": tree, "conflicts": [{"path": path} for path in conflicts]}
        assert overview.look()["conflicts"] == ([{"file": "a"}] if conflicts else [])
        assert asked.count("conflicts") == times
    workspace |= {"tree": "torn", "conflicts": [{"path": "a"}]}
    for times in (4, 5):  # nothing was learned: asked again
        assert overview.look()["conflicts"] == []
        assert asked.count("conflicts") == times


async def test_an_agent_that_gives_no_answer_is_not_said_to_be_stopped() -> None:
    def silent(_command: str, **_arguments: Any) -> dict[str, Any]:
        raise TransientError("The agent gave no answer within 10 seconds", hint="Try again.")

    watch = Watch(silent, "autosync run")
    running = asyncio.ensure_future(watch.run())
    async with contextlib.aclosing(watch.news()) as news:
        told = json.loads((await anext(news)).partition(b"data: ")[2])
    assert told["stopped"] == {
        "title": "The agent gave no answer within 10 seconds",
        "hint": "Try again.",
        "start": None,
    }
    running.cancel()


def test_a_page_that_gives_no_answer_is_told(tmp_path: Path) -> None:
    lock = PidLock(str(tmp_path / LOCK))
    for place in (None, "", "{}", "[]", '{"port": 1, "root": "/x/", "bearer": "y"}'):
        if place is not None:
            (tmp_path / PLACE).write_text(place)
        with pytest.raises(AutosyncError, match=f"is served by process {os.getpid()} already, which gives no answer"):
            run_page(str(tmp_path), None, 0, "autosync run", print)
    lock.release()


class Telling(Agent):
    """Has told one thing, and answers the calls in :attr:`wrong`, counted from 1, in another way."""

    def __init__(self, wrong: dict[int, Exception | dict[str, Any]]) -> None:
        super().__init__()
        self.wrong = wrong
        self.since: list[tuple[int, str]] = []

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        answer = super().ask(command, **arguments)
        if command == "activity":
            since, run = arguments["since"], arguments["run"]
            self.since.append((since, run))
            told = [{"kind": "saved", "paths": ["a"]}]
            answer |= {"next": 1, "activities": told if (since, run) != (1, "1") else []}
        elif command == "status":
            wrong = self.wrong.get(self.asked.count("status"))
            if isinstance(wrong, Exception):
                raise wrong
            return answer if wrong is None else wrong
        return answer


@pytest.mark.parametrize(
    ("wrong", "title"),
    [
        (TransientError("The agent gave no answer", hint="Try again."), "The agent gave no answer"),
        ({}, "The agent's answer was not understood"),
    ],
)
async def test_after_a_look_that_failed_nothing_is_told_twice(wrong: Exception | dict[str, Any], title: str) -> None:
    agent = Telling({2: wrong})
    watch = Watch(agent.ask, "autosync run", longest_look=0.0)
    running = asyncio.ensure_future(watch.run())
    states, activities = [], []
    async with contextlib.aclosing(watch.news()) as news, asyncio.timeout(30):
        while len(states) < 3:
            name, _, value = (await anext(news)).decode().partition("\ndata: ")
            (states if name == "event: state" else activities).append(json.loads(value))
    assert [state.get("stopped", {}).get("title") for state in states] == [None, title, None]
    assert [len(told) for told in activities] == [1]
    assert agent.since[:3] == [(0, ""), (1, "1"), (1, "1")]
    running.cancel()


async def test_who_comes_after_a_rest_is_not_shown_how_it_was_before() -> None:
    agent = Agent()
    watch = Watch(agent.ask, "autosync run")
    running = asyncio.ensure_future(watch.run())
    for tree in (0, 1):
        agent.tree = tree
        async with contextlib.aclosing(watch.news()) as news:
            assert json.loads((await anext(news)).partition(b"data: ")[2])["channels"] == [str(tree)]
        await watch.rests.wait()
    running.cancel()
