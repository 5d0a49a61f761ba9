"""A configuration of dvcs-autosync becomes one of ours, and nothing in it is dropped without a word."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import click.testing
import pytest

from autosync.cli.main import autosync, main
from autosync.config import Commits, Config, PullLock, Vcs, load
from autosync.core.commanded.commands import Action, Commands
from autosync.errors import ConfigError
from tests import figures

GIT = """\
[autosync]
path = ~/amw
pidfile = ~/.autosync.pid
#syncmethod = none
syncmethod = xmpp
notifymethod = all
; a comment in the other form
pulllock = conservative
readfrequency = 5
ignorepath = .git .svn .hg src/packages
    build[1]/out /lib/ ../outside
[dvcs]
statuscmd = git status | grep -iq "nothing to commit"
addcmd = git add %s
rmcmd = git rm -r %s
modifycmd = git add %s
movecmd = git rm %s\x20
    git add %s
startupcmd = git add -A
commitcmd = git commit -m %s
pushcmd = git push
pullcmd = git pull
remoteurlcmd = git config --get remote.hub.url
[xmpp]
username = me@example.org/laptop
password = s3cr%t: "#yes" %(x)s
alsonotify = boss@example.org
[autosync-server]
server = http://sync.example.org
username = me
password = 0ther
"""
HG = """\
[autosync]
path: /srv/notes
syncmethod: none
notifymethod: none
pulllock: optimized
readfrequency: 0
ignorepath: .hg
[dcvs]
statuscmd = test "`hg status`" = ""
addcmd = hg add
rmcmd = hg remove
modifycmd =
movecmd = hg mv %s %s
startupcmd = hg addremove
commitcmd = hg commit -m %s
pushcmd = hg push
pullcmd = hg pull -u
[jabber]
username = me@example.org
password = s3cret
"""
BZR = """\
[autosync]
path = docs
syncmethod = xmpp
pulllock = sideways
readfrequency = 100000
ignorepath =
nosuchkey = 1
[dvcs]
statuscmd = bzr diff --quiet
addcmd = bzr add '%s'
rmcmd = bzr rm --keep %s
modifycmd =
movecmd = bzr mv --after %s %s
startupcmd = /opt/my\\ tools/addremove "all files"
commitcmd = bzr commit -m "%s"
pushcmd = bzr push
pullcmd = bzr pull
    bzr update
remoteurlcmd = bzr config parent_location
[xmpp]
username = me@example.org
password = p ; not part of it
[extra]
x = 1
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home, in which dvcs-autosync was set up and the process runs."""
    for name in ("AUTOSYNC_CONFIG", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    # The figures of the run are written to where it was started.
    monkeypatch.setenv("AUTOSYNC_FIGURES", os.path.abspath(os.environ.get("AUTOSYNC_FIGURES", ".figures.jsonl")))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


Import = Callable[..., dict[str, list[str]]]


@pytest.fixture
def imported(home: Path) -> Import:
    """Imports a file and returns, of each outcome, the lines that tell of keys."""

    def run(content: str | bytes, *arguments: str) -> dict[str, list[str]]:
        raw = content.encode() if isinstance(content, str) else content
        (home / ".autosync").write_bytes(raw)
        done = click.testing.CliRunner().invoke(
            autosync, ["import-config", ".autosync", "--json", *arguments], obj=_invocation(), catch_exceptions=False
        )
        assert done.exit_code == 0
        answer = json.loads(done.output)
        told: dict[str, list[str]] = {}
        for row in answer["keys"]:
            told.setdefault(row["outcome"], []).append(f"{row['key']}: {row['detail']}")
        assert (home / ".autosync").read_bytes() == raw
        return told

    return run


def _invocation() -> object:
    from autosync.cli.invocation import Invocation  # noqa: PLC0415

    return Invocation()


def loaded(home: Path, *, folder: str) -> Config:
    """Return the configuration as the agent loads it, once the working copy's folder is there."""
    Path(home / folder).mkdir(parents=True, exist_ok=True)
    return load(None, os.environ)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what an import that fails says."""
    assert main(["import-config", *arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "s3cr" not in shown.err
    figures.record("bad inputs refused", 1)
    return shown.err


def keys_of(text: str) -> list[str]:
    """Return the keys that stand in an INI file, as `section.key`."""
    found, section = [], ""
    for line in text.splitlines():
        if line.startswith("["):
            section = {"dcvs": "dvcs", "jabber": "xmpp"}.get(line[1:-1], line[1:-1])
        elif line[0].isalpha():
            found.append(f"{section}.{line.replace(':', '=').partition('=')[0].strip()}")
    return found


def test_one_of_git(home: Path, imported: Import) -> None:
    told = imported(GIT)
    config = loaded(home, folder="amw")
    assert config.xmpp is not None
    assert (config.xmpp.jid, config.xmpp.password) == ("me@example.org", 's3cr%t: "#yes" %(x)s')
    path = config.paths[0]
    assert (path.path, path.workspace, path.backend, path.remote) == (str(home / "amw"), "amw", Vcs.GIT, "hub")
    assert (path.commits, path.commit_after, path.pull_lock) == (Commits.AUTO, 5.0, PullLock.CONSERVATIVE)
    assert path.ignore[-4:] == ("/.svn", "/src/packages", "/build\\[1]/out", "/lib")
    assert (
        told["carried over"][0]
        == "autosync.path: `path: ~/amw`; it is not there: make or mount it before `autosync run`"
    )
    assert "xmpp.username: `jid: me@example.org`; the resource is chosen anew" in told["carried over"]
    assert "dvcs.pushcmd: autosync speaks git itself; the hub is `remote: hub`" in told["no longer needed"]
    assert [line.partition(":")[0] for line in told["not supported"]] == ["autosync.notifymethod", "xmpp.alsonotify"]


def test_one_of_hg_in_its_oldest_spelling(home: Path, imported: Import) -> None:
    told = imported(HG.replace("/srv/notes", str(home / "notes")))
    path = loaded(home, folder="notes").paths[0]
    assert (path.path, path.backend, path.remote) == (str(home / "notes"), Vcs.HG, None)
    assert (path.commit_after, path.pull_lock) == (1.0, PullLock.OPTIMIZED)
    assert load(None, os.environ).xmpp is None
    assert "autosync.readfrequency: `commit-after: 1s`; it must be between 1 and 86400 seconds" in told["carried over"]
    assert "xmpp.password: with `syncmethod = none` it was not used" in told["no longer needed"]
    assert "autosync.ignorepath: .hg is never looked into" in told["no longer needed"]
    assert "not supported" not in told


def test_one_of_another_version_control(home: Path, imported: Import) -> None:
    told = imported(BZR)
    config = loaded(home, folder="docs")
    assert config.xmpp is not None
    assert config.xmpp.password == "p"
    path = config.paths[0]
    assert (path.path, path.backend, path.commit_after) == (str(home / "docs"), Vcs.COMMAND, 86400.0)
    assert path.commands == Commands(
        steps={
            Action.STATUS: (("bzr", "diff", "--quiet"),),
            Action.ADD: (("bzr", "add", "{path}"),),
            Action.REMOVE: (("bzr", "rm", "--keep", "{path}"),),
            Action.MOVE: (("bzr", "mv", "--after", "{old}", "{new}"),),
            Action.STARTUP: (("/opt/my tools/addremove", "all files"),),
            Action.COMMIT: (("bzr", "commit", "-m", "{message}"),),
            Action.PUSH: (("bzr", "push"),),
            Action.PULL: (("bzr", "pull"), ("bzr", "update")),
            Action.REMOTE_URL: (("bzr", "config", "parent_location"),),
        }
    )
    assert told["no longer needed"] == ["autosync.ignorepath: it is empty", "dvcs.modifycmd: it is empty"]
    assert told["not supported"] == [
        "autosync.pulllock: it was neither conservative nor optimized; `pull-lock: optimized` is the default",
        "autosync.nosuchkey: dvcs-autosync did not know it either",
        "extra.x: dvcs-autosync did not know it either",
    ]
    assert any("a relative path, taken from the folder of" in line for line in told["carried over"])


@pytest.mark.parametrize("text", [GIT, HG, BZR], ids=["git", "hg", "bzr"])
def test_every_key_is_told_and_no_password(home: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (home / "old.ini").write_text(text)
    assert main(["import-config", "old.ini", "--output", "new/config.yaml"]) == 0
    shown = capsys.readouterr().out
    told = [line.strip().partition(":")[0] for line in shown.splitlines() if line.startswith("  ")]
    assert sorted(told[:-2]) == sorted(keys_of(text))
    assert not any(secret in shown for secret in ("s3cr", "0ther", "`password: p"))
    written = home / "new/config.yaml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE(load(str(written), os.environ, on_disk=False) and os.stat(home / "new").st_mode) == 0o700
    assert f"autosync --config {written} check" in shown


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (
            "statuscmd = bzr status | grep -q .",
            "it was a line for a shell, and autosync runs none: put it in",
        ),
        ("statuscmd = ! bzr st", "it was a line for a shell"),
        ("pushcmd = bzr push 'here", "a quote in it is not closed"),
        ("addcmd = bzr add --file=%s", "a %s in it is only a part of an argument"),
        ("movecmd = bzr mv %s %s %s", "there is one %s more in it than there are values"),
        ("rmcmd = -bzr rm %s", "it does not begin with a program"),
        ("rmcmd = bzr rm {path}", "an argument in it is empty or means something else here"),
        ("rmcmd = bzr rm '' %s", "an argument in it is empty or means something else here"),
    ],
)
def test_a_command_that_cannot_be_carried_over_is_named(home: Path, imported: Import, command: str, why: str) -> None:
    key = command.partition(" ")[0]
    lines = [command if line.startswith(key) else line for line in BZR.splitlines()]
    told = imported("\n".join(lines) + "\n")
    assert any(line.startswith(f"dvcs.{key}: {why}") for line in told["not supported"])
    commands = loaded(home, folder="docs").paths[0].commands
    assert commands is not None
    assert len(commands.steps) == 9 - 1


def test_without_commands_the_folder_itself_tells(home: Path, imported: Import) -> None:
    imported("[DEFAULT]\nreadfrequency = 7\n[autosync]\npath = ~/n\nsyncmethod = autosync-server\n")
    path = loaded(home, folder="n").paths[0]
    assert (path.backend, path.commits, path.commit_after) == (None, Commits.AUTO, 7.0)


def test_of_bytes_that_are_not_utf8_a_path_keeps_them_and_a_password_was_latin_1(home: Path, imported: Import) -> None:
    told = imported(
        b"# caf\xe9\r\n[autosync]\r\npath = ~/caf\xe9\r\nsyncmethod = xmpp\r\n"
        b"[xmpp]\r\nusername = me@example.org\r\npassword = \xe9\xe9\r\n"
    )
    (home / os.fsdecode(b"caf\xe9")).mkdir()
    config = load(None, os.environ)
    assert os.fsencode(config.paths[0].path) == os.fsencode(home) + b"/caf\xe9"
    assert config.xmpp is not None
    assert config.xmpp.password == "éé"
    assert len(told["carried over"]) == 4


def test_an_address_or_a_password_that_is_none_is_left_out(home: Path, imported: Import) -> None:
    told = imported("[autosync]\npath = ~/n\nsyncmethod = xmpp\n[xmpp]\nusername = your id\npassword = s3cret\n")
    assert told["not supported"] == [
        "xmpp.username: the address is none, like me@example.org: write the group `xmpp` by hand",
        "xmpp.password: the address is none, like me@example.org: write the group `xmpp` by hand",
    ]
    assert loaded(home, folder="n").xmpp is None


def test_a_key_that_is_there_is_used_and_one_outside_the_folder_is_made(home: Path, imported: Import) -> None:
    (home / "n").mkdir()
    imported("[autosync]\npath = ~/n\n", "--output", "n/here.yaml")
    key = home / ".config/autosync/n.key"
    made = key.read_bytes()
    imported("[autosync]\npath = ~/n\n")
    assert key.read_bytes() == made
    assert load(None, os.environ).paths[0].key_file == str(key)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "there is nothing in it"),
        (b"# only a comment\n", "there is nothing in it"),
        (b"paths:\n  - path: ~/n\n", "line 1: this is no INI file"),
        (b"[autosync]\nsyncmethod = xmpp\n", "there is no `path` in a section [autosync]"),
        (b"[autosync]\npath =\n", "there is no `path` in a section [autosync]"),
        (b"[autosync]\npath = ~/n\ns3cret\n", "line 3: this is neither `key = value` nor a [section]"),
        (b"[autosync]\npath = ~/n\nreadfrequency = soon\n", "[autosync] readfrequency: must be a number of seconds"),
        (b"[autosync]\npath = ~/n\n[dvcs]\naddcmd = x\n", "[dvcs] commitcmd: there is none"),
        (b"[autosync]\npath = ~/n\n[dvcs]\ncommitcmd = x 's3cret\n", "[dvcs] commitcmd: there is none"),
        (b"\x7fELF\0\0[autosync]\n", "there are NUL bytes in it"),
        (b"[a]\n" * 300_000, "is larger than 1048576 bytes"),
    ],
)
def test_a_file_that_is_none_is_refused_and_nothing_is_written(
    home: Path, capsys: pytest.CaptureFixture[str], content: bytes, problem: str
) -> None:
    (home / "old").write_bytes(content)
    assert f"{home}/old" in (said := failed(capsys, "old"))
    assert problem in said
    assert sorted(os.listdir(home)) == ["old"]


def test_a_file_that_is_not_there_a_directory_and_a_pipe(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in failed(capsys, "nowhere")
    os.mkdir(home / "dir")
    assert "cannot be read: Is a directory" in failed(capsys, "dir")
    os.mkfifo(home / "pipe")
    assert "is not a file" in failed(capsys, "pipe")
    (home / "link").symlink_to("link")
    assert "cannot be read: Too many levels" in failed(capsys, "link")


@pytest.mark.parametrize("arguments", [["--output", "old"], ["--output", "gone"], ["--output", "old/x"]])
def test_no_file_is_overwritten_or_left_half_made(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str]
) -> None:
    (home / "old").write_text("[autosync]\npath = ~/n\n")
    (home / "gone").symlink_to("elsewhere")
    failed(capsys, "old", *arguments)
    assert (home / "old").read_text() == "[autosync]\npath = ~/n\n"
    assert [p.name for p in home.rglob("*") if not p.is_dir()] in (["old", "gone"], ["gone", "old"])


@pytest.mark.parametrize("text", [GIT, "# old\n\n" + HG, "; old\n" + BZR])
def test_who_starts_with_the_old_file_is_told_what_to_do(home: Path, text: str) -> None:
    (home / ".autosync").write_text(text)
    with pytest.raises(ConfigError, match="this is a configuration of dvcs-autosync") as caught:
        load(None, os.environ)
    assert caught.value.hint == f"Turn it into one of autosync with `autosync import-config {home}/.autosync`."
