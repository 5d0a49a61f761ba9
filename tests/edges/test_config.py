"""The configuration: what it accepts, what it says of mistakes, and how it is added to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backends.fail
import keyring.backends.null
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.config import (
    DEFAULT_IGNORES,
    Addition,
    Commits,
    Config,
    Mode,
    PathConfig,
    PullLock,
    Vcs,
    XmppConfig,
    add_path,
    candidates,
    fetch_password,
    load,
    parse,
    read_overrides,
)
from autosync.core.brakes import BrakeLimits
from autosync.core.commanded.commands import Action, Commands
from autosync.core.retention import Retention
from autosync.errors import ConfigError

ENVIRON = {"HOME": "/home/you"}
SMALLEST = """\
device: laptop
state-dir: ~/.local/state/autosync
listen: 127.0.0.1:0          # where peers reach this agent; default: all interfaces, free port
peers: []                    # static addresses for networks without multicast
xmpp: {jid: me@example.org, password-command: [pass, show, xmpp]}    # optional
paths:
  - path: ~/notes
    workspace: notes
    key-file: ~/.config/autosync/notes.key
    remote: origin           # or none
"""


def only_path(*lines: str) -> str:
    return "paths:\n- path: /a\n  workspace: a\n  key-file: /k\n" + "".join(f"  {line}\n" for line in lines)


def test_the_smallest_config_has_these_values_and_the_defaults() -> None:
    assert parse(SMALLEST, "/c", ENVIRON) == Config(
        source="/c",
        device="laptop",
        state_dir="/home/you/.local/state/autosync",
        listen=("127.0.0.1", 0),
        xmpp=XmppConfig(jid="me@example.org", password_command=("pass", "show", "xmpp")),
        paths=(
            PathConfig(
                path="/home/you/notes",
                workspace="notes",
                key_file="/home/you/.config/autosync/notes.key",
                remote="origin",
            ),
        ),
    )


def test_every_key_of_a_path_is_read() -> None:
    text = only_path(
        "remote: origin",
        "subscribe: [main, 'feature/*']",
        "mode: send",
        "commits: auto",
        "commit-after: 1m",
        "settle: 20ms",
        "max-wait: 3",
        "ignore: ['*.iso', '!*~']",
        "inline-limit: 32k",
        "hub-prefix: refs/heads/autosync",
        "poll: 1.5s",
        "pull-lock: conservative",
        "rescan: 2h",
        "backend: hg",
        "hg: /usr/bin/hg",
    )
    assert parse(text, "/c", ENVIRON).paths == (
        PathConfig(
            path="/a",
            workspace="a",
            key_file="/k",
            remote="origin",
            subscribe=("main", "feature/*"),
            mode=Mode.SEND,
            commits=Commits.AUTO,
            commit_after=60,
            settle=0.02,
            max_wait=3,
            ignore=(*DEFAULT_IGNORES, "*.iso", "!*~"),
            inline_limit=32768,
            hub_prefix="refs/heads/autosync",
            poll=1.5,
            pull_lock=PullLock.CONSERVATIVE,
            rescan=7200,
            backend=Vcs.HG,
            hg=("/usr/bin/hg",),
        ),
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("hg", ("hg",)),
        ("~/bin/hg", ("/home/you/bin/hg",)),
        ("./hg", ("/etc/hg",)),
        ("[python3, /opt/hg, --traceback]", ("python3", "/opt/hg", "--traceback")),
        ("a program", ("a program",)),
    ],
)
def test_which_mercurial_is_run(written: str, meant: tuple[str, ...]) -> None:
    config = parse(f"hg: {written}\n{only_path()}- {{path: /b, workspace: b, key-file: /k, hg: x}}", "/etc/c", ENVIRON)
    assert (config.hg, [path.hg for path in config.paths]) == (meant, [meant, ("x",)])


@pytest.mark.parametrize(
    ("written", "problem", "hint"),
    [
        ("hg: []", "hg: must name a program", "Write it like this: hg: /usr/bin/hg"),
        ("hg: 7", "hg: must be text, not a number", 'Write it like this: hg: "…" '),
        ("hg: [hg, {}]", "hg[1]: must be text, not a group of keys", "Write it like this: "),
        (only_path("backend: svn"), "paths[0].backend: must be one of: git, hg, command", "Write one of these words."),
    ],
)
def test_a_mercurial_that_cannot_be(written: str, problem: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(written, "/c", ENVIRON)
    assert caught.value.title.endswith(f": {problem}")
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("none", BrakeLimits(huge_file=None, burst=None, mass_deletion=None, secrets=())),
        ("{huge-file: 2g}", BrakeLimits(huge_file=2 << 30)),
        ("{huge-file: none, burst: 0}", BrakeLimits(huge_file=None, burst=None)),
        ("{mass-deletion: 7}", BrakeLimits(mass_deletion=7)),
        ("{mass-deletion: none, secrets: [Vault.*]}", BrakeLimits(mass_deletion=None, secrets=("vault.*",))),
        ("{secrets: none}", BrakeLimits(secrets=())),
    ],
)
def test_brakes(written: str, meant: BrakeLimits) -> None:
    path = "{path: /p, workspace: w, key-file: /k, brakes: " + written + "}"
    assert parse(f"paths: [{path}]", "/c", ENVIRON).paths[0].brakes == meant


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("some", "paths[0].brakes: must be a group of keys"),
        ("{mass-deletion: 0}", "paths[0].brakes.mass-deletion: must be between"),
        ("{huge-file: big}", "paths[0].brakes.huge-file: must be a size"),
        ("{hugefile: 1m}", "paths[0].brakes.hugefile: unknown key"),
    ],
)
def test_wrong_brakes_are_named(written: str, named: str) -> None:
    path = "{path: /p, workspace: w, key-file: /k, brakes: " + written + "}"
    with pytest.raises(ConfigError) as caught:
        parse(f"paths: [{path}]", "/c", ENVIRON)
    assert named in caught.value.title


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{}", Retention()),
        ("{all: 2h}", Retention(all_for=7200.0)),
        ("{all: 2d}", Retention(all_for=172800.0, minutely_for=172800.0)),
        ("{hourly: 30m}", Retention(all_for=1800.0, minutely_for=1800.0, hourly_for=1800.0)),
        ("{minutely: 60d}", Retention(minutely_for=5184000.0, hourly_for=5184000.0)),
        (
            "{all: 0, minutely: 0, hourly: 0, quota: none}",
            Retention(all_for=0, minutely_for=0, hourly_for=0, quota=None),
        ),
        ("{quota: 500m}", Retention(quota=500 << 20)),
        ("{quota: 2GB}", Retention(quota=2 << 30)),
    ],
)
def test_history(written: str, meant: Retention) -> None:
    path = "{path: /p, workspace: w, key-file: /k, history: " + written + "}"
    assert parse(f"paths: [{path}]", "/c", ENVIRON).paths[0].history == meant


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("{all: 2h, minutely: 1h}", "/c, line 1: paths[0].history.minutely: must not be shorter than `all`"),
        ("{all: 2h, hourly: 1h}", "/c, line 1: paths[0].history.hourly: must not be shorter than `all`"),
        ("{daily: 1d}", "/c, line 1: paths[0].history.daily: unknown key"),
        ("{all: 1 month}", '/c, line 1: paths[0].history.all: "month" is no unit'),
        ("{hourly: 4000d}", "/c, line 1: paths[0].history.hourly: must be between 0 and 3.1536e+08 seconds"),
        ("{quota: much}", "/c, line 1: paths[0].history.quota: must be a size, not text"),
        ("1h", "/c, line 1: paths[0].history: must be a group of keys, not text"),
    ],
)
def test_wrong_history_is_named(written: str, title: str) -> None:
    path = "{path: /p, workspace: w, key-file: /k, history: " + written + "}"
    with pytest.raises(ConfigError) as caught:
        parse(f"paths: [{path}]", "/c", ENVIRON)
    assert caught.value.title == title


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("127.0.0.1:4711", ("127.0.0.1", 4711)),
        ("'*:0'", ("", 0)),
        ("':4711'", ("", 4711)),
        ("'[::1]:9'", ("::1", 9)),
        ("desk.example.org:1", ("desk.example.org", 1)),
    ],
)
def test_listen_takes_names_and_both_kinds_of_address(written: str, meant: tuple[str, int]) -> None:
    assert parse(f"listen: {written}", "/c", ENVIRON).listen == meant


def test_listen_none_is_no_direct_connection() -> None:
    assert parse("listen: none", "/c", ENVIRON).listen is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_a_config_without_paths(text: str) -> None:
    config = parse(text, "/c", {"XDG_STATE_HOME": "/s"})
    assert (config.paths, config.state_dir) == ((), "/s/autosync")
    assert config.device


@pytest.mark.parametrize(
    ("text", "title", "hint"),
    [
        ("devise: x", "/c, line 1: devise: unknown key", 'Did you mean "device"?'),
        ("state_dir: x", "/c, line 1: state_dir: unknown key", 'Did you mean "state-dir"?'),
        (only_path("hub-interval: 5"), "/c, line 5: paths[0].hub-interval: this key is called `poll`", "Write `poll:`"),
        (only_path("setle: 1"), "/c, line 5: paths[0].setle: unknown key", 'Did you mean "settle"?'),
        ("xmpp: {jid: a@b, password: p, zzz: 1}", "/c, line 1: xmpp.zzz: unknown key", "The keys known here are: "),
        ("device: x\n\ndevice: y", "/c, line 3: device: stands here twice (first in line 1)", "Remove one of the two."),
        ("device: 12", "/c, line 1: device: must be text, not a number", 'Write it like this: device: "…"'),
        ("device: ../x", "/c, line 1: device: is no name that can be used on every device", "Use at most 64 letters"),
        ("peers: a:1", "/c, line 1: peers: must be a list, not text", "Write it like this: peers: [first, second]"),
        ("peers: [a]", "/c, line 1: peers[0]: must be an address with a port", "192.168.1.5:4711"),
        ("peers: [a:0]", "/c, line 1: peers[0]: must name a host and its port", "desktop.example.org:4711"),
        ("peers: ['ssh://you@host']", "/c, line 1: peers[0]: is no address that ssh leads to", "ssh://you@desktop"),
        ("peers: ['ssh://-o@host/1']", "/c, line 1: peers[0]: is no address that ssh leads to", "ssh://you@desktop"),
        ("peers: ['ssh://you@%h/1']", "/c, line 1: peers[0]: is no address that ssh leads to", "ssh://you@desktop"),
        ("ssh-address: host", "/c, line 1: ssh-address: must be user@host or user@host:port", "you@desktop"),
        ("ssh-address: you@-v", "/c, line 1: ssh-address: must be user@host or user@host:port", "you@desktop"),
        ("ssh: 22", "/c, line 1: ssh: must be true or false", "ssh: true"),
        ("peers: [fe80::1]", "/c, line 1: peers[0]: an IPv6 address needs brackets", "[fe80::1]:4711"),
        ("listen: a:70000", "/c, line 1: listen: the port must be a number from 0 to 65535", "192.168.1.5:4711"),
        ("discovery: maybe", "/c, line 1: discovery: must be true or false, not text", "discovery: true"),
        ("log-level: loud", "/c, line 1: log-level: must be one of: debug, info, warning, error", "one of these"),
        ("paths: {path: /a}", "/c, line 1: paths: must be a list, not a group of keys", "paths: [first, second]"),
        ("paths: [/a]", "/c, line 1: paths[0]: must be a group of keys, not text", "key: value"),
        ("- a", "/c, line 1: must be a group of keys, not a list", "key: value"),
        ("paths:\n- path: /a", '/c, line 2: paths[0]: the key "workspace" is missing', "workspace: notes"),
        (only_path("mode: both"), "/c, line 5: paths[0].mode: must be one of: two-way, send, receive", "these words"),
        (only_path("mode: recieve"), "must be one of: two-way, send, receive", 'Did you mean "receive"?'),
        (
            only_path("mode: store", "commits: auto"),
            "/c, line 2: paths[0]: `commits: auto` and `mode: store` exclude each other: a store has no files",
            "write it where the files are",
        ),
        (
            only_path("mode: store", "backend: command", "commands: {commit: [c], status: [s], add: [a], remove: [r]}"),
            "/c, line 2: paths[0]: `backend: command` and `mode: store` exclude each other",
            "autosync init --mode store --vcs git DIR",
        ),
        (only_path("settle: soon"), "/c, line 5: paths[0].settle: must be a time, not text", "settle: 50ms (or 2s"),
        (only_path("settle: -1"), "/c, line 5: paths[0].settle: must be a time, not a number", "settle: 50ms"),
        (only_path("settle: 5y"), '/c, line 5: paths[0].settle: "y" is no unit', "settle: 50ms"),
        (only_path("settle: 2m"), "/c, line 5: paths[0].settle: must be between 0 and 60 seconds", "in this range"),
        (only_path("inline-limit: 33k"), "paths[0].inline-limit: must be at most 32768 bytes", "0 turns it off"),
        (only_path("hub-prefix: refs/heads"), "hub-prefix: would mix snapshots with your own", "refs/heads/autosync"),
        (only_path("hub-prefix: x"), 'paths[0].hub-prefix: must start with "refs/"', "refs/autosync"),
        (only_path("subscribe: main"), "paths[0].subscribe: must be a list, not text", "subscribe: [first, second]"),
        (
            only_path("remote: o", "subscribe: [main, 'a*b']"),
            "line 6: paths[0].subscribe[1]: names no branch or bookmark: a * may only stand at its end",
            'Write it like this: subscribe: [main, "feature/*"]',
        ),
        (
            only_path("remote: o", "subscribe: ['*']"),
            "paths[0].subscribe[0]: names no branch or bookmark: it means all there are",
            'subscribe: [main, "feature/*"]',
        ),
        (only_path("remote: o", "subscribe: [a, a]"), "paths[0].subscribe[1]: stands here twice", "Remove one"),
        (
            only_path("remote: o", f"subscribe: [{', '.join(f'n{n}' for n in range(201))}]"),
            "paths[0].subscribe: names more than 200",
            "begin alike with one pattern",
        ),
        (
            only_path("subscribe: [main]"),
            "paths[0].subscribe: names branches of a hub, and this path has none",
            "Add `remote:`, or remove it.",
        ),
        (
            only_path("remote: o", "mode: store", "subscribe: [main]"),
            "paths[0].subscribe: has no effect with `mode: store`",
            "where the files are",
        ),
        (
            only_path("remote: --upload-pack=x"),
            "paths[0].remote: is no name of a remote",
            "`git remote` or `hg paths` lists",
        ),
        (only_path("ignore: ['']"), "/c, line 5: paths[0].ignore[0]: must not be empty", "remove the key"),
        ("xmpp: {jid: me, password: p}", "/c, line 1: xmpp.jid: is no XMPP address", "me@example.org"),
        ("xmpp: {jid: a@b, service: a b}", "xmpp.service: is no address of a pubsub service", "pubsub.example.org"),
        ("xmpp: {jid: a@b, service: pubsub.b/x}", "xmpp.service: is no address of a pubsub service", "pubsub."),
        ("xmpp: {jid: a@b, service: pubsub.b, node: a/b}", "xmpp.node: cannot name a node", "others on the server"),
        ("xmpp: {jid: a@b, password: p, node: blue}", "/c, line 1: xmpp: `node` is the name of a node", "service: pub"),
        ("xmpp: {jid: a@b}", "/c, line 1: xmpp: there is no password", "exactly one of `password-command`"),
        ("xmpp: {jid: a@b, password: p, keyring: yes}", "xmpp: there is more than one way to the password", "exactly"),
        ("xmpp: {jid: a@b, password-command: []}", "xmpp.password-command: must name a program", "[pass, show, xmpp]"),
        ("xmpp: {jid: a@b, password-command: pass}", "password-command: must be a list, not text", "[first, second]"),
        ("xmpp: {jid: a@b, password: p, port: 0}", "/c, line 1: xmpp.port: must be between 1 and 65535", "range"),
        ("a:\n\t- b", "/c, line 2: this is not valid YAML", "tabs are not allowed"),
        ("device: a\n...\n---\nb: c", "/c, line 3: this is not valid YAML", "Check the indentation"),
        ("device: a\n\x01", "/c, line 2: a character that YAML does not allow (U+0001)", "Remove it"),
        ("[" * 5000, "/c: lists nested too deeply", "example"),
        (
            only_path() + "- {path: /b, workspace: a, key-file: /k}",
            '/c: paths[0].workspace and paths[1].workspace are both "a"',
            "A device holds each workspace once",
        ),
        (
            only_path() + "- {path: /x/../a/, workspace: b, key-file: /k}",
            "/c: paths[0].path and paths[1].path are both /a",
            "Remove one of the two.",
        ),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(text: str, title: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "/c", ENVIRON)
    assert title in caught.value.title
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "line",
    ["password: 5317531753", "password: *hunter5317", "password: [5317]", "password: '5317\n", "password: 5317: x"],
)
def test_no_error_shows_a_password(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"xmpp:\n  jid: a@b\n  {line}\n", "/c", ENVIRON)
    assert "5317" not in str(caught.value)


def test_a_config_does_not_show_its_password() -> None:
    assert "hunter2" not in repr(parse("xmpp: {jid: a@b, password: hunter2}", "/c", ENVIRON))


def test_the_lookup_order(tmp_path: Path) -> None:
    home = {"HOME": "/h"}
    assert candidates("x.yaml", {**home, "AUTOSYNC_CONFIG": "/e"}) == [str(Path.cwd() / "x.yaml")]
    assert candidates(None, {**home, "AUTOSYNC_CONFIG": "~/e"}) == ["/h/e"]
    assert candidates(None, {**home, "XDG_CONFIG_HOME": "/x"}) == ["/x/autosync/config.yaml", "/h/.autosync"]
    assert candidates(None, home) == ["/h/.config/autosync/config.yaml", "/h/.autosync"]
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(
        ConfigError, match=r"^There is no configuration: neither .*config\.yaml nor .*\.autosync exists"
    ):
        load(None, environ)
    (tmp_path / ".autosync").write_text("device: old")
    assert load(None, environ).device == "old"
    (tmp_path / ".config/autosync").mkdir(parents=True)
    (tmp_path / ".config/autosync/config.yaml").write_text("device: new")
    assert load(None, environ).device == "new"
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: there is no such configuration file"):
        load(str(tmp_path / "nowhere.yaml"), environ)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A config file with one path that is there, and its key."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.key").write_text("key")
    config = tmp_path / "config.yaml"
    config.write_text("paths:\n- {path: notes, workspace: notes, key-file: notes.key}\n")
    return config


def test_relative_paths_start_at_the_configuration(notes: Path) -> None:
    (path,) = load(str(notes), ENVIRON).paths
    assert (path.path, path.key_file) == (str(notes.parent / "notes"), str(notes.parent / "notes.key"))


def test_a_folder_that_is_both_gits_and_mercurials_has_to_say_which(notes: Path) -> None:
    for mark in (".git", ".hg"):
        (notes.parent / "notes" / mark).mkdir()
    with pytest.raises(ConfigError) as caught:
        load(str(notes), ENVIRON)
    assert caught.value.title == f"{notes}: paths[0].backend is missing: {notes.parent}/notes holds a .git and a .hg"
    notes.write_text(notes.read_text().replace("workspace:", "backend: hg, workspace:"))
    assert load(str(notes), ENVIRON).paths[0].backend is Vcs.HG


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_password_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("xmpp: {jid: a@b, password: hunter2}")
    config.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load(str(config), ENVIRON)
    assert caught.value.title == (
        f"{config}: xmpp.password: other users of this machine can read this file (mode {mode:04o})"
    )
    assert f"chmod 600 {config}" in caught.value.hint
    config.chmod(0o600)
    assert fetch_password(load(str(config), ENVIRON).xmpp or pytest.fail("no account")) == "hunter2"


def test_paths_in_one_another_are_refused_also_through_a_symlink(notes: Path) -> None:
    top = notes.parent
    (top / "notes/sub").mkdir()
    (top / "link").symlink_to(top / "notes")
    entry = "- {{path: {}, workspace: other, key-file: notes.key}}\n"
    text = notes.read_text()
    notes.write_text(text + entry.format("link/sub"))
    with pytest.raises(
        ConfigError, match=rf"paths\[1\]\.path: {top}/link/sub lies inside paths\[0\]\.path, {top}/notes"
    ):
        load(str(notes), ENVIRON)
    notes.write_text(text + entry.format("link"))
    with pytest.raises(ConfigError, match=r"paths\[0\]\.path and paths\[1\]\.path are the same directory"):
        load(str(notes), ENVIRON)


@pytest.mark.parametrize(
    ("entry", "title"),
    [
        ("path: gone, workspace: b, key-file: notes.key", r"paths\[1\]\.path: .*/gone does not exist"),
        ("path: notes.key, workspace: b, key-file: notes.key", r"paths\[1\]\.path: .* is not a directory"),
        ("path: ., workspace: b, key-file: no.key", r"paths\[1\]\.key-file: .*/no\.key does not exist"),
    ],
)
def test_what_is_not_there_is_told(notes: Path, entry: str, title: str) -> None:
    notes.write_text(f"{notes.read_text()}- {{{entry}}}\n")
    with pytest.raises(ConfigError, match=title):
        load(str(notes), ENVIRON)
    assert len(load(str(notes), ENVIRON, on_disk=False).paths) == 2


def test_autosyncs_own_files_inside_a_path_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "keys [1]").mkdir()
    (tmp_path / "keys [1]/n.key").write_text("key")
    config = tmp_path / "c.yaml"
    config.write_text("state-dir: state\npaths:\n- {path: ., workspace: n, key-file: 'keys [1]/n.key'}\n")
    assert load(str(config), ENVIRON).paths[0].ignore[-2:] == (r"/keys\ \[1\]/n.key", "/state")


def test_a_paths_own_file_overrides_the_harmless_keys(notes: Path) -> None:
    own = notes.parent / "notes/.autosync"
    own.write_text("settle: 1s\nmax-wait: 5s\ncommit-after: 2m\nignore: ['*.o']\n")
    (path,) = load(str(notes), ENVIRON).paths
    assert (path.settle, path.max_wait, path.commit_after) == (1, 5, 120)
    assert path.ignore == (*DEFAULT_IGNORES, "*.o")
    own.write_text("# nothing\n")
    assert load(str(notes), ENVIRON).paths[0].settle == 0.05


@pytest.mark.parametrize(
    "key",
    [
        "password-command",
        "password",
        "xmpp",
        "remote",
        "key-file",
        "hub-prefix",
        "subscribe",
        "listen",
        "commits",
        "path",
        "history",
        "hg",
        "backend",
    ],
)
def test_a_paths_own_file_may_not_set_anything_else(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_overrides(f"settle: 1\n{key}: [x]\n", "/n/.autosync")
    assert caught.value.title == (
        f"/n/.autosync, line 2: {key}: is not allowed in this file, which travels with the working copy"
    )
    assert caught.value.hint.endswith("only these may stand: settle, max-wait, commit-after, ignore.")


def test_a_paths_own_file_is_never_followed_out_of_the_path(notes: Path) -> None:
    own = notes.parent / "notes/.autosync"
    own.symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match=r"notes/\.autosync: the settings of this path cannot be read"):
        load(str(notes), ENVIRON)
    own.unlink()
    os.mkfifo(own)
    with pytest.raises(ConfigError, match="it is not a plain file"):
        load(str(notes), ENVIRON)
    own.unlink()
    own.write_bytes(b"#" * 65537)
    with pytest.raises(ConfigError, match="it is larger than 65536 bytes"):
        load(str(notes), ENVIRON)
    own.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="it is not UTF-8 text"):
        load(str(notes), ENVIRON)
    own.write_text("setle: 1")
    with pytest.raises(ConfigError, match='setle: unknown key\n  Did you mean "settle"'):
        load(str(notes), ENVIRON)


def test_the_main_configuration_at_the_root_of_a_path_is_not_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "n.key").write_text("key")
    config = tmp_path / ".autosync"
    config.write_text("paths:\n- {path: ., workspace: home, key-file: n.key}\n")
    assert load(None, {"HOME": str(tmp_path)}).paths[0].path == str(tmp_path)


@pytest.mark.parametrize(
    ("command", "title"),
    [
        (["sh", "-c", "echo s3cret; echo wrong >&2; exit 3"], "sh failed with exit code 3: wrong"),
        (["sh", "-c", "echo; echo s3cret"], "the first line that sh printed is empty"),
        (["/nowhere/pass", "s3cret"], "/nowhere/pass cannot be started: No such file or directory"),
    ],
)
def test_a_password_command_that_fails_is_told_without_the_password(command: list[str], title: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fetch_password(XmppConfig(jid="a@b", password_command=tuple(command)))
    assert caught.value.title == f"xmpp.password-command: {title}"
    assert "s3cret" not in str(caught.value)


def test_a_password_command_gives_its_first_line() -> None:
    command = ("printf", "%s", "p w$HOME\r\nlogin: me\n")
    assert fetch_password(XmppConfig(jid="a@b", password_command=command)) == "p w$HOME"


def test_a_password_command_has_no_terminal() -> None:
    """Where there is one, it is that of the session to which whoever asks belongs."""
    command = ("sh", "-c", "ps -o sid= -p $$")
    password = fetch_password(XmppConfig(jid="a@b", password_command=command))
    assert int(password) not in (0, os.getsid(0))


def test_a_password_command_that_hangs_is_ended() -> None:
    with pytest.raises(ConfigError) as caught:
        fetch_password(XmppConfig(jid="a@b", password_command=("sleep", "60")), patience=0.05)
    assert caught.value.title == "xmpp.password-command: sleep gave no answer for 0.05 seconds"


class OneSecret(keyring.backends.null.Keyring):
    """A keyring that knows the password of one account."""

    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        return "hunter2" if (service, username) == ("autosync", "a@b") else None


@pytest.fixture
def own_keyring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(OneSecret())
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("own_keyring")
def test_the_keyring_is_asked_for_the_account() -> None:
    assert fetch_password(XmppConfig(jid="a@b", keyring=True)) == "hunter2"
    with pytest.raises(ConfigError) as caught:
        fetch_password(XmppConfig(jid="c@d", keyring=True))
    assert caught.value.title == "xmpp.keyring: the keyring has no password for c@d"
    assert "keyring set autosync c@d" in caught.value.hint


@pytest.mark.usefixtures("own_keyring")
def test_a_keyring_that_does_not_open_is_told() -> None:
    keyring.set_keyring(keyring.backends.fail.Keyring())
    with pytest.raises(ConfigError, match=r"^xmpp\.keyring: the keyring does not open: "):
        fetch_password(XmppConfig(jid="a@b", keyring=True))


ADDITION = Addition(path="/n", workspace="new", key_file="/n.key", remote=None)
ENTRY = ["- path: /n", "  workspace: new", "  key-file: /n.key", "  remote: none"]


def lines(indent: str) -> str:
    return "".join(f"{indent}{line}\n" for line in ENTRY)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# mine\n", "# mine\npaths:\n" + lines("  ")),
        ("device: x", "device: x\npaths:\n" + lines("  ")),
        ("paths: []  # none yet\n\ndevice: x\n", "paths:  # none yet\n" + lines("  ") + "\ndevice: x\n"),
        ("paths:  # none yet\ndevice: x\n", "paths:  # none yet\n" + lines("  ") + "device: x\n"),
        (
            only_path("ignore: [b,", "  c] # two") + "  # of the path\n\n# the end",
            only_path("ignore: [b,", "  c] # two") + lines("") + "  # of the path\n\n# the end",
        ),
        ("paths:\n    - {path: /a, workspace: a, key-file: /k}", None),
        (
            "paths: [{path: /a, workspace: a, key-file: /k}] # c\n",
            "paths: [{path: /a, workspace: a, key-file: /k}, "
            "{path: /n, workspace: new, key-file: /n.key, remote: none}] # c\n",
        ),
    ],
)
def test_adding_a_path_changes_nothing_else(before: str, after: str | None) -> None:
    wanted = f"{before}\n{lines('    ')}" if after is None else after
    assert add_path(before, ADDITION, "/c", ENVIRON) == wanted


def test_adding_a_path_keeps_the_line_ends_of_dos() -> None:
    before = only_path().replace("\n", "\r\n")
    assert add_path(before, ADDITION, "/c", ENVIRON) == before + lines("").replace("\n", "\r\n")


@pytest.mark.parametrize("text", ["{device: x}", "device: x\n...\n", "a: &a [1]\npaths: *a\n"])
def test_a_file_that_cannot_be_added_to_is_left_alone_and_the_lines_are_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        add_path(text.replace("a: &a [1]", "peers: &a []"), ADDITION, "/c", ENVIRON)
    assert caught.value.title.endswith("nothing was changed")
    assert caught.value.hint.endswith("\n".join(f"    {line}" for line in ENTRY))


@pytest.mark.parametrize(
    ("addition", "title"),
    [
        (Addition(path="/a", workspace="b", key_file="/k", remote=None), "/c: /a is there already: paths[0].path"),
        (
            Addition(path="/b", workspace="a", key_file="/k", remote=None),
            '/c: a workspace "a" is there already: paths[0]',
        ),
    ],
)
def test_a_duplicate_is_not_added(addition: Addition, title: str) -> None:
    with pytest.raises(ConfigError) as caught:
        add_path(only_path(), addition, "/c", ENVIRON)
    assert caught.value.title == title


@given(name=st.binary(min_size=1, max_size=30).filter(lambda b: b"\0" not in b and b not in (b".", b"..", b"a")))
def test_any_path_reads_back_as_it_was_added(name: bytes) -> None:
    path = os.path.normpath("/" + os.fsdecode(name).replace("/", "_"))
    addition = Addition(path=path, workspace="new", key_file=f"{path}.key", remote="origin")
    for before in ("", only_path(), "paths: [{path: /.., workspace: a, key-file: /k}]"):
        config = parse(add_path(before, addition, "/c", ENVIRON), "/c", ENVIRON)
        assert config.paths[-1].path == path
        assert config.paths[-1].key_file == f"{path}.key"


def commands(*lines: str, backend: str = "backend: command") -> str:
    return only_path(backend, "commands:", *(f"  {line}" for line in lines))


def test_another_version_control_is_argument_lists() -> None:
    found = parse(
        commands(
            "status: [fossil, changes]",
            "add: [fossil, add, '{paths}']",
            "modify: []",
            "commit: [fossil, commit, -m, '{message}']",
            "pull: [[fossil, pull], [fossil, update], [-fossil, merge]]",
            "time-limit: 1m",
        ),
        "/c",
        ENVIRON,
    ).paths[0]
    assert found.backend is Vcs.COMMAND
    assert found.commands == Commands(
        steps={
            Action.STATUS: (("fossil", "changes"),),
            Action.ADD: (("fossil", "add", "{paths}"),),
            Action.COMMIT: (("fossil", "commit", "-m", "{message}"),),
            Action.PULL: (("fossil", "pull"), ("fossil", "update"), ("-fossil", "merge")),
        },
        time_limit=60.0,
    )
    assert parse(only_path(), "/c", ENVIRON).paths[0].commands is None


@pytest.mark.parametrize(
    ("written", "problem", "hint"),
    [
        (only_path("backend: command"), '"commands" is missing, which `backend: command` needs', "commands: {commit:"),
        (commands("commit: [x]", backend="backend: git"), "commands: has no effect without", "or remove this group"),
        (commands("push: [x]"), 'commands: the key "commit" is missing', "commit: [bzr, commit"),
        (commands("comit: [x]"), "commands.comit: unknown key", 'Did you mean "commit"?'),
        (commands("commit: hg commit"), "commands.commit: must be a list, not text", "commit: [first, second]"),
        (commands("commit: [[]]"), "commands.commit[0]: must begin with a program", "[fossil, push]"),
        (commands("commit: ['-', x]"), "commands.commit: must begin with a program", "[fossil, push]"),
        (commands("commit: ['{message}']"), "commands.commit: must begin with a program", "[fossil, push]"),
        (commands("commit: [[x], y]"), "commands.commit[1]: must be a list, not text", "[first, second]"),
        (commands("commit: [x, '-m{message}']"), "commit[1]: {message} must be a whole argument", "by itself"),
        (commands("commit: [x, '{path}']"), "commit[1]: {path} cannot stand here", "Only {message} can stand here."),
        (commands("commit: [x]", "push: [x, '{path}']"), "push[1]: {path} cannot", "nothing can stand here"),
        (commands("commit: [x]", "move: [x, '{paths}']"), "move[1]: {paths} cannot", "Only {old} and {new} can"),
        (commands("commit: [x]", "time-limit: 0s"), "commands.time-limit: must be between 1", "in this range"),
    ],
)
def test_commands_that_cannot_be(written: str, problem: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(written, "/c", ENVIRON)
    assert problem in caught.value.title
    assert hint in caught.value.hint


@pytest.mark.parametrize("key", ["backend: command", "commands: {commit: [touch, /tmp/owned]}"])
def test_no_command_comes_with_the_content(key: str) -> None:
    with pytest.raises(ConfigError, match="is not allowed in this file, which travels with the working copy"):
        read_overrides(key, "/w/.autosync")


def test_peers_that_ssh_leads_to_are_kept_apart() -> None:
    text = "peers: ['a:1', 'ssh://you@b:2222/4711', 'ssh://you@[::1]/1']\nssh-address: me@here:2200\nssh: false\n"
    config = parse(text, "/c", ENVIRON)
    assert config.peers == ("a:1",)
    assert config.ssh_peers == ("you@b:2222/4711", "you@[::1]/1")
    assert (config.ssh_address, config.ssh) == ("me@here:2200", False)
