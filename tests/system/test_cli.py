"""The command line as a user meets it: in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from autosync import __version__
from autosync.cli.main import SECTIONS, main
from autosync.config import Vcs, load
from tests.system.commandline import Home
from tests.system.strange_hg import strange_hg
from tests.waiting import PATIENCE

COMMANDS = [name for commands in SECTIONS.values() for name in commands]


@pytest.fixture(scope="module")
def empty_hg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Mercurial repository without any commit, to be copied."""
    place = tmp_path_factory.mktemp("hg")
    Home(place).hg(".", "init", "empty")
    return place / "empty"


def test_version_and_help(home: Home) -> None:
    assert home.run("--version").stdout == f"autosync {__version__}\n"
    shown = home.run("--help")
    assert shown.returncode == 0
    for section, commands in SECTIONS.items():
        assert f"{section}:\n" in shown.stdout
        for command in commands:
            assert re.search(rf"^  {command} +\S", shown.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(home: Home, command: str) -> None:
    shown = home.run(command, "--help")
    assert shown.returncode == 0
    assert f"Example: autosync {command}" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("arguments", [["snyc"], ["sync", "--wiat"], ["sync", "--timeout", "soon"]])
def test_a_wrong_command_line_is_exit_code_2(home: Home, arguments: list[str]) -> None:
    shown = home.run(*arguments)
    assert shown.returncode == 2
    assert "Usage: autosync" in shown.stderr
    assert "Error: " in shown.stderr


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_makes_repository_key_and_configuration(home: Home) -> None:
    (home.path / "notes").mkdir()
    (home.path / "notes/todo").write_text("milk\n")
    shown = home.run("--config", home.config, "init", "notes")
    assert (shown.returncode, shown.stderr) == (0, "")
    key = home.path / "notes.key"
    assert len(base64.b64decode(key.read_text().strip(), validate=True)) == 32
    assert (mode(key), mode(home.config)) == (0o600, 0o600)
    assert home.git("notes", "status", "--porcelain=v2", "--branch").splitlines() == [
        "# branch.oid (initial)",
        "# branch.head main",
        "? todo",
    ]
    (path,) = load(str(home.config), {"HOME": str(home.path)}).paths
    assert (path.path, path.workspace, path.key_file) == (str(home.path / "notes"), "notes", str(key))
    assert path.remote is None
    for words in ("it was a plain folder; it is a git repository now", "On the second device: autosync join LINE"):
        assert words in shown.stdout


def test_init_makes_a_mercurial_repository_where_it_is_asked_to(home: Home) -> None:
    (home.path / "notes").mkdir()
    (home.path / "notes/todo").write_text("milk\n")
    shown = home.run("--config", home.config, "init", "notes", "--vcs", "hg")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "  hg:     it was a plain folder; it is a Mercurial repository now, without any commit yet\n" in shown.stdout
    assert home.hg("notes", "status") == "? todo\n"
    (path,) = load(str(home.config), {"HOME": str(home.path)}).paths
    assert (path.backend, path.hg) == (None, None)


def test_init_leaves_nothing_behind_if_mercurial_is_another_than_expected(home: Home) -> None:
    (home.path / "notes").mkdir()
    text = f"hg: {strange_hg(home.path)}\n"
    shown = home.run("--config", home.configured(text), "init", "notes", "--vcs", "hg")
    title = "Error: Mercurial 6.3.2 makes other changesets than autosync expects of it\n"
    assert (shown.returncode, shown.stdout, shown.stderr.startswith(title)) == (1, "", True)
    assert (list((home.path / "notes").iterdir()), home.config.read_text()) == ([], text)


def test_init_writes_which_is_meant_where_a_folder_is_both(home: Home) -> None:
    home.git(".", "init", "--quiet", "notes")
    home.hg(".", "init", "notes")
    assert home.run("--config", home.config, "init", "notes", "--vcs", "hg").returncode == 0
    (path,) = load(str(home.config), {"HOME": str(home.path)}).paths
    assert path.backend is Vcs.HG


def test_init_without_options_uses_the_standard_places(home: Home) -> None:
    (home.path / "notes").mkdir()
    assert home.run("init", "notes").returncode == 0
    place = home.path / ".config/autosync"
    assert sorted(p.name for p in place.iterdir()) == ["config.yaml", "notes.key"]
    assert mode(place) == 0o700


def test_a_second_device_joins_with_the_key_of_the_first(home: Home) -> None:
    for folder in ("one", "two"):
        (home.path / folder).mkdir()
    first, second = home.path / "first.yaml", home.path / "second.yaml"
    assert home.run("--config", first, "init", "one", "--workspace", "w", "--key-file", "w.key").returncode == 0
    key = (home.path / "w.key").read_bytes()
    shown = home.run("--config", second, "init", "two", "--workspace", "w", "--key-file", "w.key")
    assert shown.returncode == 0
    assert "(joined)" in shown.stdout
    assert "On the second device" not in shown.stdout
    assert (home.path / "w.key").read_bytes() == key
    paths = [load(str(config), {}).paths[0] for config in (first, second)]
    assert paths[0].key_file == paths[1].key_file


def test_init_leaves_a_repository_as_it_is_and_names_its_hub(home: Home) -> None:
    home.git(".", "init", "--quiet", "--bare", "hub.git")
    home.git(".", "clone", "--quiet", "hub.git", "work")
    home.git("work", "commit", "--quiet", "--allow-empty", "-m", "first")
    before = home.git("work", "for-each-ref") + home.git("work", "status")
    shown = home.run("--config", home.config, "init", "work", "--remote", "origin")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert load(str(home.config), {}).paths[0].remote == "origin"
    assert home.git("work", "for-each-ref") + home.git("work", "status") == before


def test_init_keeps_comments_and_a_symlinked_configuration(home: Home) -> None:
    (home.path / "dotfiles").mkdir()
    real = home.path / "dotfiles/autosync.yaml"
    real.write_text("# my devices\ndevice: laptop   # the old one\n")
    real.chmod(0o640)
    home.config.symlink_to(real)
    (home.path / "notes").mkdir()
    assert home.run("--config", home.config, "init", "notes").returncode == 0
    assert home.config.is_symlink()
    assert mode(real) == 0o640
    assert real.read_text().startswith("# my devices\ndevice: laptop   # the old one\npaths:\n  - path: ")


def test_init_takes_a_name_that_is_no_text(home: Home) -> None:
    folder = os.path.join(os.fsencode(home.path), b"caf\xe9 [1] #x: y")
    os.mkdir(folder)
    shown = home.run("--config", home.config, "init", os.fsdecode(folder), "--workspace", "cafe")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert os.fsencode(load(str(home.config), {}).paths[0].path) == folder


@pytest.mark.parametrize(
    ("arguments", "title", "hint"),
    [
        (["gone"], "{home}/gone does not exist", "mkdir -p {home}/gone"),
        (["file"], "{home}/file is not a directory", "mkdir -p"),
        (["work/sub"], "{home}/work/sub lies inside the working copy {home}/work", "Give autosync {home}/work itself"),
        (["work/.git"], "{home}/work/.git lies inside a .git directory", "the folder that holds .git"),
        (["bare.git"], "{home}/bare.git is a bare repository: it has no files to sync", "Clone it"),
        (["hgwork/sub"], "{home}/hgwork/sub lies inside the working copy {home}/hgwork", "hg init {home}/hgwork/sub"),
        (
            ["hgwork", "--remote", "x"],
            'the repository {home}/hgwork has no remote "x"',
            "Add it to {home}/hgwork/.hg/hgrc, below [paths]: x = URL",
        ),
        (["hgwork", "--vcs", "git"], "--vcs: {home}/hgwork is a Mercurial working copy", "Leave the option out"),
        (["work", "--vcs", "hg"], "--vcs: {home}/work is a git working copy", "Leave the option out"),
        (["work/sub", "--vcs", "hg"], "{home}/work/sub lies inside the working copy {home}/work", "Give autosync"),
        (["both"], "{home}/both holds a .git and a .hg", "--vcs git or --vcs hg"),
        (["newer"], "{home}/newer needs another Mercurial: abort: ", "Name your own hg in the config"),
        (["large"], "{home}/large uses the largefiles extension (largefiles)", "Sync another clone"),
        (["subrepos"], "{home}/subrepos cannot be synced: it has subrepositories (.hgsub)", "Sync another clone"),
        (["plain", "--workspace", "../x"], '"../x" cannot be the name of a workspace', "--workspace"),
        (["plain", "--workspace", "known"], 'a workspace "known" is there already: paths[0]', "choose another one"),
        (["known"], "{home}/known is there already: paths[0].path", "Nothing is to be done"),
        (
            ["plain", "--remote", "origin"],
            'the repository {home}/plain has no remote "origin"',
            "remote add origin URL",
        ),
        (["work", "--remote", "orign"], 'the repository {home}/work has no remote "orign"', "It has: origin."),
        (["plain", "--key-file", "plain/k"], "The key file {home}/plain/k would lie in the working copy", "outside"),
        (["plain", "--key-file", "file"], "key-file {home}/file does not hold the base64 of 32 bytes", "Copy the file"),
        (["plain", "--key-file", "open.key"], "key-file {home}/open.key is open to other users", "chmod 600"),
        (
            ["plain", "--workspace", "taken"],
            "There is a key file {home}/taken.key already",
            "--key-file {home}/taken.key",
        ),
        (["."], "paths[0].path: {home}/known lies inside paths[1].path, {home}", "move one out"),
    ],
)
def test_init_refuses_and_changes_nothing(
    home: Home, empty_hg: Path, arguments: list[str], title: str, hint: str
) -> None:
    for folder in ("plain", "known", "both/.git", "both/.hg"):
        (home.path / folder).mkdir(parents=True)
    for folder in ("hgwork", "newer", "large", "subrepos"):
        shutil.copytree(empty_hg, home.path / folder)
    (home.path / "hgwork/sub").mkdir()
    (home.path / "newer/.hg/requires").write_text("what nobody knows\n")
    with (home.path / "large/.hg/requires").open("a") as requires:
        requires.write("largefiles\n")
    (home.path / "subrepos/.hgsub").write_text("a = a\n")
    home.git(".", "init", "--quiet", "--bare", "bare.git")
    home.git(".", "clone", "--quiet", "bare.git", "work")
    (home.path / "work/sub").mkdir()
    (home.path / "file").touch(0o600)
    (home.path / "open.key").write_text(base64.b64encode(b"k" * 32).decode())
    (home.path / "taken.key").touch(0o600)
    assert home.run("--config", home.config, "init", "known").returncode == 0
    before = snapshot(home)
    shown = home.run("--config", home.config, "init", *arguments)
    assert shown.returncode == 1
    assert shown.stdout == ""
    said, next_step = shown.stderr.split("\n", 1)
    assert title.format(home=home.path) in said
    assert hint.format(home=home.path) in next_step
    assert snapshot(home) == before


def snapshot(home: Home) -> dict[str, bytes | None]:
    """Return every file of the home, autosync's private store in repositories aside."""
    found: dict[str, bytes | None] = {}
    for directory, below, files in os.walk(home.path):
        below[:] = [name for name in below if (os.path.basename(directory), name) != (".git", "autosync")]
        found[directory] = None
        found.update({p: Path(p).read_bytes() for p in (os.path.join(directory, name) for name in files)})
    return found


def test_a_failed_init_takes_back_what_it_made(home: Home) -> None:
    (home.path / "notes").mkdir()
    (home.path / "taken").touch()
    shown = home.run("--config", home.path / "taken/config.yaml", "init", "notes", "--key-file", "n.key")
    assert shown.returncode == 1
    assert sorted(p.name for p in home.path.iterdir()) == ["notes", "taken"]
    assert list((home.path / "notes").iterdir()) == []


@pytest.mark.parametrize("command", [["sync"], ["pause"], ["resume"], ["status"]])
def test_without_an_agent_the_next_step_is_told(home: Home, command: list[str]) -> None:
    config = home.configured("device: laptop\nstate-dir: state\n")
    shown = home.run("--config", config, *command)
    assert shown.returncode == 1
    assert "The agent is not running" in shown.stderr
    assert f"Start it with `autosync --config {config} run`." in shown.stderr
    assert not (home.path / "state").exists()


def test_status_without_an_agent_as_json(home: Home) -> None:
    config = home.configured("device: laptop\npaths: [{path: /gone, workspace: notes, key-file: /gone.key}]\n")
    shown = home.run("--config", config, "status", "--json")
    assert (shown.returncode, shown.stderr) == (1, "")
    assert json.loads(shown.stdout) == {
        "device": "laptop",
        "agent": None,
        "channel": None,
        "channels": [],
        "invitations": [],
        "workspaces": [
            {
                "name": "notes",
                "path": "/gone",
                "vcs": None,
                "phase": "stopped",
                "base": None,
                "branch": None,
                "snapshot": None,
                "tree": None,
                "pending": 0,
                "last-sync": None,
                "halt": None,
                "peers": [],
            }
        ],
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stauts", "No such command 'stauts'. Did you mean 'status'?"),
        ("xyzzy", "No such command 'xyzzy'."),
        ("status --jsno", "No such option '--jsno'. Did you mean '--json'?"),
    ],
)
def test_a_word_that_is_mistyped_is_named_with_the_nearest(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    assert capsys.readouterr().err.endswith(f"Error: {said}\n")


def test_names_are_shown_in_any_locale(home: Home) -> None:
    name = 'tab\tü "q".txt'
    environment = {**home.environment, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    argv = home.argv("--config", home.path / name, "status")
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (1, False)
    assert 'tab\\tü "q".txt'.encode() in done.stderr


def test_a_path_that_is_not_kept_is_told(home: Home) -> None:
    config = home.configured("paths: [{path: /notes, workspace: notes, key-file: /k}]\n")
    (home.path / "elsewhere/.git").mkdir(parents=True)
    shown = home.run("--config", config, "status", "elsewhere")
    assert shown.returncode == 1
    assert shown.stderr == (
        f"Error: {home.path}/elsewhere is not in a working copy of {config}\n"
        f"  The working copies there: /notes. Add this one with `autosync --config {config} init "
        f"{home.path}/elsewhere`.\n"
    )
    for command in ("status", "invite", "devices", "revoke --workspace"):
        mistyped = home.run("--config", config, *command.split(), "ntoes", *["desktop"] * (command[0] == "r"))
        assert (mistyped.returncode, mistyped.stderr) == (
            1,
            f"Error: 'ntoes' is neither a workspace of {config} nor a file or folder here\n"
            "  The workspaces there: notes.\n",
        )
    assert "/notes" in home.run("--config", config, "status", "/notes/deep/inside").stdout
    assert "/notes" in home.run("--config", config, "status", "notes").stdout


@pytest.fixture
def running(home: Home) -> Home:
    """A home with one working copy and a configuration for an agent on loopback."""
    (home.path / "notes").mkdir()
    home.configured("device: laptop\nstate-dir: state\nlisten: 127.0.0.1:0\ndiscovery: false\n")
    assert home.run("--config", home.config, "init", "notes").returncode == 0
    return home


def wait_until_it_answers(home: Home) -> dict[str, object]:
    """Return the status of an agent that has just been started."""
    until = time.monotonic() + PATIENCE
    while (shown := home.run("--config", home.config, "status", "--json")).returncode != 0:
        assert time.monotonic() < until, shown.stderr
    answer: dict[str, object] = json.loads(shown.stdout)
    return answer


def test_an_agent_is_asked_steered_and_stopped(running: Home) -> None:
    with running.start("--config", running.config, "run") as agent:
        try:
            status = wait_until_it_answers(running)
            assert status["device"] == "laptop"
            shown = running.run("--config", running.config, "status")
            assert re.match(rf"laptop: agent {agent.pid}, up \d+ s, \d+ MB; channel ", shown.stdout)
            assert re.search(rf"^notes +\S.* main +0 .*{running.path}/notes$", shown.stdout, re.MULTILINE)

            second = running.run("--config", running.config, "run")
            assert second.returncode == 1
            assert second.stderr.startswith(
                f"Error: another autosync agent (pid {agent.pid}) uses {running.path}/state\n"
            )
            assert running.run("--config", running.config, "pause", "notes").stdout == "paused: notes\n"
            assert '"phase": "paused"' in running.run("--config", running.config, "status", "--json").stdout
            assert running.run("--config", running.config, "resume").stdout == "resumed: notes\n"
            assert running.run("--config", running.config, "sync").returncode == 0
            alone = running.run("--config", running.config, "sync", "notes", "--wait", "--timeout", "0.1")
            assert alone.returncode == 1
            assert alone.stderr.startswith("Error: Not in sync: notes: no other device can be reached")
            checked = running.run("--config", running.config, "check")
            assert checked.returncode == 0
            assert f"ok    agent: runs (pid {agent.pid})" in checked.stdout

            agent.send_signal(signal.SIGTERM)
            assert agent.wait(PATIENCE) == 0
        finally:
            agent.kill()
    assert running.run("--config", running.config, "status").returncode == 1


def test_the_log_says_what_was_saved(running: Home) -> None:
    running.git("notes", "commit", "--quiet", "--allow-empty", "-m", "Start")
    base = running.git("notes", "rev-parse", "HEAD")[:10]
    with running.start("--config", running.config, "run") as agent:
        assert agent.stdout is not None
        try:
            up, saved = lines_with((" is up, ", "notes: saved"), agent.stdout)
            assert up.endswith(f"is up, pid {agent.pid}: notes\n")
            assert saved.endswith(f"notes: saved the state at {base}\n")
            (running.path / "notes/first.txt").write_text("text")
            (saved,) = lines_with(("notes: saved",), agent.stdout)
            assert saved.endswith("notes: saved first.txt\n")
        finally:
            agent.kill()


def lines_with(words: Sequence[str], log: Iterable[str]) -> list[str]:
    """Return the log's next line with each of ``words``, in whatever order they come."""
    found: dict[str, str] = {}
    for line in log:
        found.update({each: line for each in words if each in line and each not in found})
        if len(found) == len(words):
            break
    return [found[each] for each in words]


def test_check_counts_the_devices_on_the_hub(running: Home) -> None:
    running.git(".", "init", "--quiet", "--bare", "hub.git")
    running.git("notes", "remote", "add", "origin", "../hub.git")
    running.config.write_text(running.config.read_text().replace("remote: none", "remote: origin"))
    with running.start("--config", running.config, "run") as agent:
        try:
            until = time.monotonic() + PATIENCE
            while not running.git("hub.git", "for-each-ref"):
                assert time.monotonic() < until
        finally:
            agent.kill()
    shown = running.run("--config", running.config, "check")
    assert shown.stderr == ""
    assert "notes, hub origin: can be read and written; devices of this workspace there: 1\n" in shown.stdout


def test_check_tells_what_is_right(running: Home) -> None:
    (running.path / ".autosync").write_text("device: forgotten\n")
    (running.path / ".config/autosync").mkdir(parents=True)
    running.config.rename(running.path / ".config/autosync/config.yaml")
    shown = running.run("check", "--json")
    findings = {(f["level"], f["what"]) for f in json.loads(shown.stdout)["findings"]}
    assert (shown.returncode, json.loads(shown.stdout)["ok"]) == (0, True), shown.stdout
    assert findings >= {("ok", "git"), ("ok", "agent"), ("ok", "listen"), ("ok", "inotify"), ("ok", "notes")}
    assert ("warn", "config") in findings
    assert f"{running.path}/.autosync exists too and is not read" in shown.stdout
