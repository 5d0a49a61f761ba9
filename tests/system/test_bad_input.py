"""What users get wrong: each mistake ends in one message with a next step, exit code 1, and nothing half-done."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from autosync.core.model import WorkspaceId
from autosync.store import StateDirectory
from autosync.trust.sealing import create_key, load_key
from tests.edges.xmpp_servers import DOMAIN, PASSWORD, Prosody, free_port
from tests.system.commandline import Home

HEAD = "device: laptop\nstate-dir: state\nlisten: 127.0.0.1:0\ndiscovery: false\n"
PATHS = "paths:\n- path: notes\n  workspace: notes\n  key-file: notes.key\n"


@pytest.fixture
def home(home: Home) -> Home:
    """A home with a working copy `notes`, its key, and a configuration that is right."""
    (home.path / "notes").mkdir()
    home.configured(HEAD)
    assert home.run("--config", home.config, "init", "notes").returncode == 0
    home.configured(HEAD + PATHS)
    (home.path / "plain").mkdir()
    create_key(str(home.path / "other.key"))
    (home.path / "notes/sub").mkdir()
    return home


def other(path: str, workspace: str = "other") -> str:
    return f"- path: {path}\n  workspace: {workspace}\n  key-file: other.key\n"


STATIC = {
    "unknown key": (
        HEAD + PATHS + "  setle: 50ms\n",
        "{config}, line 9: paths[0].setle: unknown key",
        'Did you mean "settle"?',
    ),
    "mistyped key": (
        "devise: x\n" + PATHS,
        "{config}, line 1: devise: unknown key",
        'Did you mean "device"?',
    ),
    "wrong type": (
        HEAD + "peers: desktop:4711\n" + PATHS,
        "{config}, line 5: peers: must be a list, not text",
        "Write it like this: peers: [first, second]",
    ),
    "no such path": (
        HEAD + PATHS + other("gone"),
        "{config}: paths[1].path: {home}/gone does not exist",
        "Create or mount it, or remove the entry.",
    ),
    "no working copy": (
        HEAD + PATHS + other("plain"),
        "{home}/plain is not a git working copy",
        "Run: git init {home}/plain (or hg init, for Mercurial)",
    ),
    "inside a working copy": (
        HEAD + PATHS.replace("path: notes", "path: notes/sub"),
        "{home}/notes/sub lies inside the working copy {home}/notes",
        "Give autosync {home}/notes itself, or make a repository of its own: git init {home}/notes/sub",
    ),
    "inside another path": (
        HEAD + PATHS + other("notes/sub"),
        "{config}: paths[1].path: {home}/notes/sub lies inside paths[0].path, {home}/notes",
        "Working copies in one another cannot be kept separately: move one out, or remove its entry.",
    ),
    "one path twice": (
        HEAD + PATHS + other("notes"),
        "{config}: paths[0].path and paths[1].path are both {home}/notes",
        "Remove one of the two.",
    ),
    "one workspace twice": (
        HEAD + PATHS + other("plain", "notes"),
        '{config}: paths[0].workspace and paths[1].workspace are both "notes"',
        "A device holds each workspace once: give one of them another name, or remove it.",
    ),
    "no key file": (
        HEAD + PATHS.replace("notes.key", "gone.key"),
        "{config}: paths[0].key-file: {home}/gone.key does not exist",
        "Copy the workspace's key file from another of your devices to that place; "
        "for a new workspace remove the entry and run `autosync --config {config} init`.",
    ),
    "no YAML": (
        "paths:\n- path: 'notes\n",
        "{config}, line 3: this is not valid YAML: found unexpected end of stream",
        "Check the indentation and the quotes there; tabs are not allowed for indenting.",
    ),
}


def failed(home: Home, command: str, title: str, hint: str, *, leaves: set[str] | None = None) -> None:
    """Assert that a command fails with exactly these words; `leaves` are the names it may add to the home."""
    before = {p.name for p in home.path.iterdir()}
    shown = home.run("--config", home.config, command)
    names = {"home": str(home.path), "config": str(home.config)}
    title, hint = title.format(**names), hint.format(**names)
    assert shown.returncode == 1, shown
    if command == "check":
        assert next(line for line in shown.stdout.splitlines() if line.startswith("fail")).endswith(f": {title}")
        assert f"      {hint}\n" in shown.stdout
    else:
        assert shown.stderr.endswith(f"Error: {title}\n  {hint}\n")
    assert {p.name for p in home.path.iterdir()} - before <= (leaves or set())


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("mistake", STATIC)
def test_a_wrong_configuration(home: Home, mistake: str, command: str) -> None:
    text, title, hint = STATIC[mistake]
    home.configured(text)
    failed(home, command, title, hint, leaves={"state"})


@pytest.mark.parametrize("command", ["run", "check", "status"])
def test_a_password_that_others_can_read(home: Home, command: str) -> None:
    home.configured(f"{HEAD}xmpp: {{jid: me@example.org, password: hunter2}}\n{PATHS}").chmod(0o644)
    shown = home.run("--config", home.config, command)
    assert shown.returncode == 1
    assert (
        f"{home.config}: xmpp.password: other users of this machine can read this file (mode 0644)\n"
        in shown.stderr + shown.stdout
    )
    assert f"Run `chmod 600 {home.config}`, or use `password-command` instead of `password`.\n" in (
        shown.stderr + shown.stdout
    )
    assert "hunter2" not in shown.stderr + shown.stdout


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("key", ["password-command", "remote", "key-file", "xmpp", "commits"])
def test_a_key_that_a_paths_own_file_may_not_set(home: Home, key: str, command: str) -> None:
    (home.path / "notes/.autosync").write_text(f"settle: 1s\n{key}: x\n")
    failed(
        home,
        command,
        "{home}/notes/.autosync, line 2: " + key + ": is not allowed in this file, which travels with the working copy",
        "Move it to your own configuration. Here only these may stand: settle, max-wait, commit-after, ignore.",
    )


def test_no_configuration_at_all(home: Home) -> None:
    home.config.unlink()
    failed(
        home,
        "run",
        "{config}: there is no such configuration file",
        "Make one with `autosync --config {config} init PATH`, where PATH is the folder to keep in sync.",
    )


def test_a_key_that_is_none(home: Home) -> None:
    (home.path / "notes.key").write_text("secret")
    failed(
        home,
        "check",
        "key-file {home}/notes.key does not hold the base64 of 32 bytes",
        "Copy the file from another of your devices, byte for byte, and keep it at mode 0600.",
        leaves={"state"},
    )


def test_a_corrupt_state_file(home: Home) -> None:
    state = StateDirectory(str(home.path / "state"))
    workspace: WorkspaceId = load_key(str(home.path / "notes.key")).id
    file = Path(state.path, "workspaces", f"{workspace}.json")
    file.write_text("{")
    shown = home.run("--config", home.config, "run")
    assert shown.returncode == 1
    assert f"Error: {file}: is corrupt (" in shown.stderr
    assert shown.stderr.endswith(
        "  No file of yours is touched: start the agent again, it then looks at the whole working copy afresh.\n"
    )
    (aside,) = file.parent.iterdir()
    assert aside.read_text() == "{"


def test_a_port_that_is_taken(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        home.configured(HEAD.replace("127.0.0.1:0", f"127.0.0.1:{port}") + PATHS)
        failed(
            home,
            "check",
            f"127.0.0.1, port {port}: Address already in use",
            "Choose another port with `listen:`, or 0 for a free one.",
            leaves={"state"},
        )


def with_hub(home: Home, url: str) -> None:
    home.git("notes", "remote", "add", "origin", url)
    home.configured(f"{HEAD}{PATHS}  remote: origin\n")


def findings(home: Home) -> list[tuple[str, str, str]]:
    """Return level, subject and words of each line of `autosync check` that is not ok."""
    shown = home.run("--config", home.config, "check", "--json", timeout=120)
    found = json.loads(shown.stdout)["findings"]
    bad = [(f["what"], f["detail"], f["hint"]) for f in found if f["level"] == "fail"]
    assert shown.returncode == (1 if bad else 0)
    return bad


def test_a_hub_that_is_not_there(home: Home) -> None:
    with_hub(home, "../gone.git")
    assert findings(home) == [
        (
            "notes, hub origin",
            "The hub origin (../gone.git) is not there",
            "Mount the disk it is on, or correct its URL.",
        )
    ]


def test_a_remote_that_is_not_configured(home: Home) -> None:
    home.configured(f"{HEAD}{PATHS}  remote: upstream\n")
    assert findings(home) == [
        (
            "notes, hub upstream",
            f"{home.path}/notes has no remote 'upstream'",
            "Add it with `git remote add upstream URL`, or correct `remote:` for this path.",
        )
    ]


def test_a_hub_that_refuses(home: Home) -> None:
    home.git(".", "init", "--quiet", "--bare", "hub.git")
    hook = home.path / "hub.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho 'only branches here' >&2\nexit 1\n")
    hook.chmod(0o755)
    with_hub(home, "../hub.git")
    ((what, detail, hint),) = findings(home)
    assert what == "notes, hub origin"
    assert detail.startswith("The hub origin (../hub.git) does not take refs/autosync/")
    assert detail.endswith("(pre-receive hook declined); only branches here")
    assert "hub-prefix: refs/heads/autosync" in hint
    assert home.git("hub.git", "for-each-ref") == ""


def test_a_hub_that_takes_our_refs_is_left_as_it_was(home: Home) -> None:
    home.git(".", "init", "--quiet", "--bare", "hub.git")
    with_hub(home, "../hub.git")
    assert findings(home) == []
    assert home.git("hub.git", "for-each-ref") == ""


@pytest.fixture(scope="module")
def prosody() -> Iterator[Prosody]:
    with Prosody(["me"]) as server:
        yield server


def with_account(home: Home, *, port: int, ca_file: Path, password: str = PASSWORD) -> None:
    home.configured(
        f"{HEAD}xmpp: {{jid: me@{DOMAIN}, password: {password}, host: 127.0.0.1, port: {port}, ca-file: {ca_file}}}\n"
        f"{PATHS}"
    )


def test_a_login_that_works(home: Home, prosody: Prosody) -> None:
    with_account(home, port=prosody.port, ca_file=prosody.ca_file)
    assert findings(home) == []


def test_a_wrong_xmpp_password(home: Home, prosody: Prosody) -> None:
    with_account(home, port=prosody.port, ca_file=prosody.ca_file, password="hunter2")
    ((what, detail, _),) = findings(home)
    assert what == "xmpp"
    assert detail.startswith(f"The XMPP server refused the password of me@{DOMAIN} (not-authorized)")
    assert "xmpp.password" in detail


def test_an_xmpp_server_that_is_not_there(home: Home, prosody: Prosody) -> None:
    port = free_port()
    with_account(home, port=port, ca_file=prosody.ca_file)
    ((what, detail, _),) = findings(home)
    assert what == "xmpp"
    assert detail.startswith(f"The XMPP server 127.0.0.1:{port} cannot be reached (")
    assert "Check the network, xmpp.host and xmpp.port" in detail


def test_a_certificate_that_has_expired(home: Home) -> None:
    with Prosody(["me"], days=-1) as server:
        with_account(home, port=server.port, ca_file=server.ca_file)
        ((what, detail, _),) = findings(home)
    assert what == "xmpp"
    assert "has expired" in detail
    assert "Ask the server's administrator to renew it, and check this computer's clock" in detail


def test_a_password_command_that_fails(home: Home) -> None:
    home.configured(
        f"{HEAD}xmpp: {{jid: me@example.org, password-command: [sh, -c, 'echo no key >&2; exit 2']}}\n{PATHS}"
    )
    ((what, detail, _),) = findings(home)
    assert what == "xmpp"
    assert detail.startswith("xmpp.password-command: sh failed with exit code 2: no key")
