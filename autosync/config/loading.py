"""Finds the configuration file and turns it into a :class:`Config`."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from autosync.config.brakes import read_brakes
from autosync.config.checks import check_names, check_paths, own_files
from autosync.config.commands import read_commands
from autosync.config.history import read_history
from autosync.config.lines import read_limit, read_public_address, unless_none
from autosync.config.metrics import read_metrics
from autosync.config.model import (
    INLINE_CAP,
    Commits,
    Config,
    Mode,
    PathConfig,
    Popups,
    PullLock,
    Vcs,
    XmppConfig,
)
from autosync.config.onupdate import read_on_update, refuse_vain
from autosync.config.overrides import with_overrides
from autosync.config.popups import read_popups
from autosync.config.reading import Section, Value, compose
from autosync.config.subscribe import read_subscribe, refuse_unfollowed
from autosync.config.versioncontrol import read_hg
from autosync.core.brakes import BrakeLimits
from autosync.core.candidates import Candidate, CandidateKind
from autosync.core.retention import Retention
from autosync.core.temporary import DEFAULT_IGNORES
from autosync.errors import ConfigError

_OF_A_PATH = frozenset((*(field.name.replace("_", "-") for field in fields(PathConfig)), "hub-interval"))
_NOTHING: tuple[str, ...] = ()
_LEVELS = ("debug", "info", "warning", "error")
_SSH = "ssh://"
_ANYWHERE: tuple[str, int] | None = ("", 0)
_POPUPS: Popups | None = Popups()
_NAME = re.compile(r"\w(?:[\w .-]{0,62}\w)?")
_HUB_PREFIX = re.compile(r"refs(/[A-Za-z0-9][A-Za-z0-9_-]*)+")
_INI = re.compile(r"(?:\s*[#;].*\n|\s*\n)*\[autosync\]\s*\n")
_BARE_JID = re.compile(r"[^@/\s]+@[^@/\s]+")
_SERVICE_JID = re.compile(r"([^@/\s]+@)?[^@/\s]+")
_NODE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


def candidates(option: str | None, environ: Mapping[str, str]) -> list[str]:
    """Return where the configuration may be, the first that exists wins.

    A file that was named (``--config``, ``$AUTOSYNC_CONFIG``) is the only candidate.
    """
    named = option or environ.get("AUTOSYNC_CONFIG")
    if named:
        return [absolute(named, environ, os.getcwd())]
    base = environ.get("XDG_CONFIG_HOME") or absolute("~/.config", environ, "/")
    return [os.path.join(base, "autosync", "config.yaml"), absolute("~/.autosync", environ, "/")]


def locate(option: str | None, environ: Mapping[str, str]) -> str:
    """Return the path of the configuration file.

    Raises :class:`ConfigError` if there is none.
    """
    places = candidates(option, environ)
    for place in places:
        # A directory ~/.autosync is somebody else's; one that was named is a mistake to tell.
        if os.path.exists(place) and (len(places) == 1 or not os.path.isdir(place)):
            return place
    if len(places) == 1:
        raise ConfigError(
            f"{places[0]}: there is no such configuration file",
            hint=f"Make one with `autosync --config {places[0]} init PATH`, where PATH is the folder to keep in sync.",
        )
    raise ConfigError(
        f"There is no configuration: neither {places[0]} nor {places[1]} exists",
        hint="Make one with `autosync init PATH`, where PATH is the folder to keep in sync.",
    )


def load(
    option: str | None,
    environ: Mapping[str, str],
    *,
    on_disk: bool = True,
    awaited: Callable[[Config, PathConfig], bool] = lambda _config, _path: False,
) -> Config:
    """Return the configuration that ``option`` or the environment points to.

    With ``on_disk`` the file system is looked at too: every path is there and lies in no
    other one, and each path's own ``.autosync`` file is merged in.  A path may be missing if it is
    ``awaited``: a disk that is not mounted yet.  Raises
    :class:`ConfigError` naming file, line and key.
    """
    source = locate(option, environ)
    text, mode = _read(source)
    if _INI.match(text):
        raise ConfigError(
            f"{source}: this is a configuration of dvcs-autosync",
            hint=f"Turn it into one of autosync with `autosync import-config {source}`.",
        )
    config = parse(text, source, environ)
    if config.xmpp and config.xmpp.password is not None and mode & 0o077:
        raise ConfigError(
            f"{source}: xmpp.password: other users of this machine can read this file (mode {mode & 0o777:04o})",
            hint=f"Run `chmod 600 {source}`, or use `password-command` instead of `password`.",
        )
    if not on_disk:
        return config
    check_paths(config, awaited)
    paths = tuple(replace(p, ignore=(*p.ignore, *own_files(config, p))) for p in config.paths)
    return replace(config, paths=tuple(with_overrides(p, source) for p in paths))


def parse(text: str, source: str, environ: Mapping[str, str]) -> Config:
    """Return the configuration written in ``text``; the file system is not looked at."""
    root = compose(text, source)
    if root is None:
        return Config(source=source, device=_default_device(), state_dir=default_state_dir(environ))
    section = Section(Value(root, source, ""))
    here = os.path.dirname(source)
    hg = section.get("hg", lambda v: _hg(v, environ, here), None)
    peers: tuple[str, ...] = section.get("peers", lambda v: tuple(_peer(peer) for peer in v.list()), ())
    config = Config(
        source=source,
        device=section.get("device", _name, _default_device()),
        state_dir=section.get("state-dir", lambda v: absolute(v.text(), environ, here), default_state_dir(environ)),
        listen=section.get("listen", _listen, _ANYWHERE),
        public_address=section.get("public-address", unless_none(read_public_address), None),
        limit_upload=section.get("limit-upload", read_limit, None),
        limit_download=section.get("limit-download", read_limit, None),
        peers=tuple(peer for peer in peers if not peer.startswith(_SSH)),
        ssh_peers=tuple(peer.removeprefix(_SSH) for peer in peers if peer.startswith(_SSH)),
        ssh_address=section.get("ssh-address", unless_none(_ssh_address), None),
        ssh=section.get("ssh", Value.flag, True),
        discovery=section.get("discovery", Value.flag, True),
        xmpp=section.get("xmpp", lambda v: _xmpp(v.section(), environ, here), None),
        reflector=section.get("reflector", unless_none(_server), None),
        fanout=section.get("fanout", unless_none(_server), None),
        popups=section.get("popups", read_popups, _POPUPS),
        presence=section.get("presence", Value.flag, True),
        log_level=section.get("log-level", _log_level, "INFO"),
        metrics=section.get("metrics", unless_none(read_metrics), None),
        hg=hg,
        paths=section.get("paths", lambda v: tuple(_path(p.section(), environ, here, hg) for p in v.list()), ()),
    )
    for name, value in section.unread():
        if name in _OF_A_PATH:
            raise value.error("belongs to a working copy", "Write it below `paths:`, in the entry that it is about.")
    section.finish()
    check_names(config)
    return config


def is_name(text: str) -> bool:
    """Return whether ``text`` can name a device or a workspace: it becomes part of file names."""
    return bool(_NAME.fullmatch(text)) and ".." not in text


def is_node(text: str) -> bool:
    """Return whether ``text`` can name a node of a pubsub service."""
    return bool(_NODE.fullmatch(text))


def absolute(path: str, environ: Mapping[str, str], here: str) -> str:
    """Return ``path`` with ``~`` expanded; a relative one starts at ``here``."""
    home = environ.get("HOME")
    if home and (path == "~" or path.startswith("~/")):
        path = home + path[1:]
    return os.path.normpath(os.path.join(here, os.path.expanduser(path)))


def _read(source: str) -> tuple[str, int]:
    try:
        with open(source, "rb") as file:
            return file.read().decode("utf-8-sig"), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except UnicodeDecodeError as error:
        title = f"{source}: byte {error.start} is not UTF-8"
        raise ConfigError(title, hint="Save the file as UTF-8 text.") from None
    except OSError as error:
        raise ConfigError(
            f"{source}: cannot be read: {error.strerror}", hint="Check the path and its rights."
        ) from None


def _default_device() -> str:
    name = re.sub(r"[^\w.-]+", "-", socket.gethostname().partition(".")[0])[:64].strip(".-")
    return name or "device"


def default_state_dir(environ: Mapping[str, str]) -> str:
    """Return where the state lies if the configuration does not say (XDG Base Directory Specification)."""
    base = environ.get("XDG_STATE_HOME") or absolute("~/.local/state", environ, "/")
    return os.path.join(base, "autosync")


def _name(value: Value) -> str:
    name = value.text()
    if not is_name(name):
        hint = "Use at most 64 letters, digits, spaces, and . _ - inside."
        raise value.error("is no name that can be used on every device", hint)
    return name


def _port(value: Value, text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or int(text) > 65535:
        raise value.error("the port must be a number from 0 to 65535", "Write it like this: 192.168.1.5:4711")
    return int(text)


def _split_address(value: Value) -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``[IPv6]:port``."""
    text = value.text()
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or "[" in host:
        raise value.error("an IPv6 address needs brackets", "Write it like this: '[fe80::1]:4711'")
    if not colon or re.search(r"[\s/@]", host):
        raise value.error("must be an address with a port", "Write it like this: 192.168.1.5:4711")
    return host, _port(value, port)


def _listen(value: Value) -> tuple[str, int] | None:
    if value.text() == "none":
        return None
    host, port = _split_address(value)
    return ("" if host == "*" else host), port


def _peer(value: Value) -> str:
    if value.text().startswith(_SSH):
        if not _ssh_leads_to(value.text().removeprefix(_SSH)):
            example = f"{_SSH}you@desktop.example.org/4711 (4711 is the port of its `listen`)"
            raise value.error("is no address that ssh leads to", f"Write it like this: {example}")
        return value.text()
    host, port = _split_address(value)
    if not host or not port:
        raise value.error("must name a host and its port", "Write it like this: desktop.example.org:4711")
    return value.text()


def _ssh_address(value: Value) -> str:
    if not _ssh_leads_to(f"{value.text()}/1"):
        raise value.error("must be user@host or user@host:port", "Write it like this: you@desktop.example.org")
    return value.text()


def _ssh_leads_to(address: str) -> bool:
    return not Candidate(kind=CandidateKind.SSH, address=address).problem() and "%" not in address


def _server(value: Value) -> str:
    host, port = _split_address(value)
    if not host or not port:
        raise value.error("must name a host and its port", "Write it like this: reflector.example.org:1986")
    return value.text()


def _log_level(value: Value) -> str:
    if value.text() not in _LEVELS:
        raise value.error(f"must be one of: {', '.join(_LEVELS)}", "Write one of these words.")
    return value.text().upper()


def _bare_jid(value: Value) -> str:
    jid = value.text()
    if not _BARE_JID.fullmatch(jid):
        raise value.error("is no XMPP address", "Write it like this: me@example.org (no /resource)")
    return jid


def _xmpp(section: Section, environ: Mapping[str, str], here: str) -> XmppConfig:
    config = XmppConfig(
        jid=_bare_jid(section.require("jid", "jid: me@example.org")),
        password=section.get("password", Value.text, None),
        password_command=section.get("password-command", _command, None),
        keyring=section.get("keyring", Value.flag, False),
        host=section.get("host", Value.text, None),
        port=section.get("port", lambda v: v.integer(least=1, most=65535), None),
        ca_file=section.get("ca-file", lambda v: absolute(v.text(), environ, here), None),
        members=section.get("members", _members, ()),
        service=section.get("service", _service, None),
        node=section.get("node", _node, None),
    )
    section.finish()
    if config.node is not None and config.service is None:
        hint = "Name the pubsub service too, like this: service: pubsub.example.org"
        raise section.value.error("`node` is the name of a node on a `service`, and there is none", hint)
    ways = [config.password is not None, config.password_command is not None, config.keyring]
    if sum(ways) != 1:
        problem = "there is no password" if not any(ways) else "there is more than one way to the password"
        hint = "Give exactly one of `password-command`, `keyring: true` and `password`."
        raise section.value.error(problem, hint)
    return config


def _service(value: Value) -> str:
    jid = value.text()
    if not _SERVICE_JID.fullmatch(jid):
        raise value.error("is no address of a pubsub service", "Write it like this: pubsub.example.org")
    return jid


def _node(value: Value) -> str:
    name = value.text()
    if not is_node(name):
        hint = "Use at most 64 letters, digits, and . _ - inside; others on the server may be able to see it."
        raise value.error("cannot name a node", hint)
    return name


def _members(value: Value) -> tuple[str, ...]:
    return tuple(_bare_jid(member) for member in value.list())


def _command(value: Value) -> tuple[str, ...]:
    command = value.texts()
    if not command:
        raise value.error("must name a program", "Write it like this: password-command: [pass, show, xmpp]")
    return command


def _remote(value: Value) -> str | None:
    name = value.text()
    if name.startswith("-") or re.search(r"\s", name):
        raise value.error("is no name of a remote", "Write a name that `git remote` or `hg paths` lists, or none.")
    return None if name == "none" else name


def _hub_prefix(value: Value) -> str:
    prefix = value.text()
    if not _HUB_PREFIX.fullmatch(prefix):
        hint = "Write it like this: refs/autosync, or refs/heads/autosync for a host that takes only branches."
        raise value.error('must start with "refs/" and hold only letters, digits, - and _', hint)
    if prefix in ("refs/heads", "refs/tags", "refs/remotes"):
        raise value.error("would mix snapshots with your own refs", f"Write it like this: {prefix}/autosync")
    return prefix


def _hg(value: Value, environ: Mapping[str, str], here: str) -> tuple[str, ...]:
    return read_hg(value, lambda path: absolute(path, environ, here))


def _path(section: Section, environ: Mapping[str, str], here: str, hg: tuple[str, ...] | None) -> PathConfig:
    path = section.require("path", "path: ~/notes")
    backend = section.get("backend", lambda v: v.choice(Vcs), None)
    config = PathConfig(
        path=absolute(path.text(), environ, here),
        workspace=_name(section.require("workspace", "workspace: notes")),
        key_file=absolute(section.require("key-file", "key-file: ~/.config/autosync/notes.key").text(), environ, here),
        remote=section.get("remote", _remote, None),
        backend=backend,
        commands=read_commands(section, backend_is_command=backend is Vcs.COMMAND),
        hg=section.get("hg", lambda v: _hg(v, environ, here), hg),
        mode=section.get("mode", lambda v: v.choice(Mode), Mode.TWO_WAY),
        commits=section.get("commits", lambda v: v.choice(Commits), Commits.MANUAL),
        commit_after=section.get("commit-after", lambda v: v.duration(least=1, most=86400), 60.0),
        settle=section.get("settle", lambda v: v.duration(least=0, most=60), 0.050),
        max_wait=section.get("max-wait", lambda v: v.duration(least=0.05, most=3600), 2.0),
        ignore=(*DEFAULT_IGNORES, *section.get("ignore", Value.texts, _NOTHING)),
        inline_limit=section.get("inline-limit", lambda v: v.size(most=INLINE_CAP), 8192),
        subscribe=section.get("subscribe", read_subscribe, _NOTHING),
        hub_prefix=section.get("hub-prefix", _hub_prefix, "refs/autosync"),
        poll=section.get("poll", lambda v: v.duration(least=0.1, most=86400), 60.0),
        pull_lock=section.get("pull-lock", lambda v: v.choice(PullLock), PullLock.OPTIMIZED),
        rescan=section.get("rescan", lambda v: v.duration(least=1, most=7 * 86400), 600.0),
        brakes=section.get("brakes", read_brakes, BrakeLimits()),
        history=section.get("history", read_history, Retention()),
        on_update=section.get("on-update", lambda v: read_on_update(v, lambda p: absolute(p, environ, here)), None),
    )
    refuse_vain(section, config)
    refuse_unfollowed(section, config)
    _refuse_renamed(section)
    section.finish()
    if config.mode is Mode.STORE:
        _check_store(section.value, config)
    return config


def _refuse_renamed(section: Section) -> None:
    for name, value in section.unread():
        if name == "hub-interval":
            raise value.error("this key is called `poll`", "Write `poll:` in its place; the value stays.")


def _check_store(value: Value, config: PathConfig) -> None:
    """Refuse what cannot be where there are no files."""
    if config.commits is Commits.AUTO:
        hint = "Remove `commits`; write it where the files are."
        raise value.error("`commits: auto` and `mode: store` exclude each other: a store has no files", hint)
    if config.backend is Vcs.COMMAND:
        hint = "A store is of git or hg: make one with `autosync init --mode store --vcs git DIR`."
        raise value.error("`backend: command` and `mode: store` exclude each other", hint)
