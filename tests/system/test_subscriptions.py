"""`subscribe:` and its commands as users meet them: an agent follows names of the hub, and nothing else of it."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from autosync.cli.main import main
from autosync.control import call
from autosync.errors import AutosyncError
from tests.system.commandline import Home
from tests.waiting import until


class Desk:
    """A working copy in ``notes``, a hub with branches or bookmarks beside it, and the command line."""

    def __init__(self, home: Home, vcs: str, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.home, self.vcs, self._capsys = home, vcs, capsys
        patch.setenv("HOME", str(home.path))
        patch.setenv("HGRCPATH", "/dev/null")
        self.hub, self.root = home.path / "hub", home.path / "notes"
        self._make_git() if vcs == "git" else self._make_hg()
        self.text = (
            f"device: desk\nstate-dir: {home.path}/state\nlisten: none\ndiscovery: false\npaths:\n"
            f"  - path: {self.root}\n    workspace: notes\n    key-file: {home.path}/key\n"
            f"    remote: {'origin' if vcs == 'git' else 'default'}\n    poll: 1h\n"
        )
        home.configured("device: desk\n")
        patch.chdir(home.path)
        self("init", str(self.root), "--key-file", str(home.path / "key"))
        home.configured(self.text)
        patch.chdir(self.root)

    def _make_git(self) -> None:
        home = self.home
        home.git(".", "init", "-q", "-b", "main", "notes")
        (self.root / "a").write_text("a\n")
        home.git("notes", "add", "a")
        home.git("notes", "commit", "-q", "-m", "one")
        home.git(".", "clone", "-q", "--bare", "notes", "hub")
        for name in ("topic", "feature/a", "feature/b", "other"):
            home.git("hub", "branch", name, "main")
        home.git("notes", "remote", "add", "origin", str(self.hub))

    def _make_hg(self) -> None:
        home = self.home
        home.hg(".", "init", "notes")
        (self.root / "a").write_text("a\n")
        home.hg("notes", "commit", "-q", "-A", "-m", "one")
        shutil.copytree(self.root, self.hub)
        node = home.hg("hub", "log", "-r", "tip", "-T", "{node}")
        names = ("feature/a", "feature/b", "other", "topic")
        (self.hub / ".hg/bookmarks").write_text("".join(f"{node} {name}\n" for name in names))
        (self.root / ".hg/hgrc").write_text(f"[paths]\ndefault = {self.hub}\n")

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Return what a command prints that ends so."""
        self._capsys.readouterr()
        ended = main(["--config", str(self.home.config), *arguments])
        said = self._capsys.readouterr()
        assert ended == code, (said.out, said.err)
        return said.out + said.err

    def told(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def here(self) -> set[str]:
        """Return what the user's own version control shows of the hub's names."""
        if self.vcs == "git":
            return set(self.home.git("notes", "branch", "-r", "--format=%(refname:lstrip=3)").split())
        return set(self.home.hg("notes", "bookmarks", "-T", "{bookmark} ").split())

    def followed(self) -> dict[str, str]:
        """Return what the running agent says that it follows."""
        try:
            found = call(str(self.home.path / "state"), "status")["workspaces"][0]["follows"]["names"]
        except (AutosyncError, LookupError):
            return {}
        return {each["name"]: each["state"] for each in found}


@pytest.fixture(params=["git", "hg"])
def desk(
    home: Home, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    return Desk(home, request.param, capsys, monkeypatch)


@pytest.fixture
def agent(desk: Desk) -> Iterator[None]:
    """An agent that follows topic."""
    desk.home.configured(desk.text + "    subscribe: [topic]\n")
    process = desk.home.start("--config", desk.home.config, "run")
    yield
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


@pytest.mark.usefixtures("agent")
def test_an_agent_follows_what_the_configuration_says(desk: Desk) -> None:
    until(lambda: desk.followed() == {"topic": "current"}, why=desk.followed)
    assert desk.here() == {"topic"}
    assert "notes follows 1 name of its hub" in desk("status")
    desk.home.configured(desk.text + '    subscribe: ["feature/*", gone]\n')
    assert f"{desk.root} follows other names of its hub from now on." in desk("reload")
    until(lambda: "gone" in desk.followed(), why=desk.followed)
    assert desk.followed() == {"feature/a": "current", "feature/b": "current", "gone": "absent"}
    assert desk.here() == {"topic", "feature/a", "feature/b"}
    desk("subscribe", "other")
    desk("sync")
    until(lambda: "other" in desk.followed(), why=desk.followed)
    assert "`subscribe:`" in desk("unsubscribe", "gone", code=1)


def test_commands_list_extend_and_shrink_what_is_followed(desk: Desk) -> None:
    assert desk("branches") == "Nothing of the hub is followed but what is checked out.\n"
    page = desk.told("branches", "--remote", "feature/*", "--limit", "1")
    assert [row["name"] for row in page["branches"]] == ["feature/a"] == [page["next"]]
    assert "There are more: --after feature/a" in desk("branches", "--remote", "--limit", "1")
    page = desk.told("branches", "--remote", "feature/*", "--after", "feature/a")
    assert ([row["name"] for row in page["branches"]], page["next"]) == (["feature/b"], None)
    assert desk("branches", "--remote", "none") == "The hub has no none.\n"
    assert "topic" in desk("subscribe", "topic", "feature/b*")
    assert desk.here() == {"topic", "feature/b"}
    rows = desk.told("branches")["followed"]
    assert {(row["name"], row["from"]) for row in rows} == {("topic", "here"), ("feature/b*", "here")}
    assert "yes" in desk("branches", "--remote", "topic")
    assert "The hub has no missing" in desk("subscribe", "missing", code=1)
    assert "names no b" in desk("subscribe", "a*b", code=1)
    assert "is not followed here" in desk("unsubscribe", "other", code=1)
    assert "What is here of it stays" in desk("unsubscribe", "topic", "feature/b*")
    assert desk.told("branches")["followed"] == []
    assert desk.here() == {"topic", "feature/b"}


@pytest.mark.parametrize("desk", ["git"], indirect=True)
def test_what_can_follow_nothing_is_told(desk: Desk) -> None:
    desk.home.configured(desk.text.replace("remote: origin", "remote: none").replace("remote: default", "remote: none"))
    assert "has no hub" in desk("subscribe", "topic", code=1)
    assert "has no hub" in desk("branches", "--remote", code=1)
    assert desk.told("branches")["followed"] == []
