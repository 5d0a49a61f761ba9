"""Turns a configuration of dvcs-autosync into one of ours, and tells what became of each key."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from autosync.config.dvcsini import Ini
from autosync.config.dvcssection import KEYS, Speaks, Untranslatable, spoken, translate
from autosync.config.editing import as_scalar
from autosync.config.loading import absolute, is_name, parse
from autosync.core.commanded.commands import Action
from autosync.errors import ConfigError

_SHORTEST, _LONGEST = 1, 86400
_METADATA = (".git", ".hg")


class Outcome(Enum):
    """What became of a key."""

    CARRIED = "carried over"
    DROPPED = "no longer needed"
    UNSUPPORTED = "not supported"


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the key ``section.key``, in words; never holds a password."""

    key: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The new configuration as text, where the working copy and its key are, and every key's fate."""

    text: str
    path: str
    workspace: str
    key_file: str
    fates: tuple[Fate, ...]


def convert(ini: Ini, source: str, target: str, environ: Mapping[str, str]) -> Imported:
    """Return what ``ini``, read from ``source``, becomes in the file ``target``.

    Raises :class:`ConfigError` where dvcs-autosync itself would not have started.
    """
    return _Conversion(ini, source, target, environ).done()


@dataclass(slots=True)
class _Conversion:
    """The work on one file: each method sees to some keys and remembers their fate."""

    ini: Ini
    source: str
    target: str
    environ: Mapping[str, str]
    fates: list[Fate] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def done(self) -> Imported:
        written, root = self._path()
        workspace = self._workspace(root)
        speaks = spoken(self.ini.get("dvcs", {}))
        is_synced = self._syncmethod()
        lines = [*self._xmpp(is_synced), "paths:", f"  - path: {as_scalar(written)}"]
        key_file = self._key_file(workspace, root)
        entry = [f"workspace: {as_scalar(workspace)}", f"key-file: {as_scalar(key_file)}"]
        entry += self._version_control(speaks, is_synced=is_synced != "none")
        entry += [*self._commit_after(), *self._pull_lock(), *self._ignore()]
        lines += [f"    {line}" for line in entry]
        self._others()
        head = f"# Made by `autosync import-config` of the configuration {as_scalar(self.source)} of dvcs-autosync."
        text = "\n".join([head, *lines]) + "\n"
        parse(text, self.target, self.environ)
        order = [f"{section}.{key}" for section in self.ini for key in self.ini[section]]
        fates = tuple(sorted(self.fates, key=lambda fate: order.index(fate.key)))
        return Imported(text=text, path=root, workspace=workspace, key_file=key_file, fates=fates)

    # -- one key ----------------------------------------------------------------------------
    def _take(self, section: str, key: str) -> str | None:
        """Return a key's text, ``None`` if it is absent or empty."""
        value = self.ini.get(section, {}).get(key)
        if value is None:
            return None
        self.seen.add(f"{section}.{key}")
        if not value.strip():
            self._say(section, key, Outcome.DROPPED, "it is empty")
            return None
        return value.strip()

    def _say(self, section: str, key: str, outcome: Outcome, detail: str) -> None:
        self.fates.append(Fate(f"{section}.{key}", outcome, detail))

    def _carry(self, section: str, key: str, line: str, remark: str = "") -> str:
        self._say(section, key, Outcome.CARRIED, f"`{line.strip()}`{remark and '; '}{remark}")
        return line

    # -- [autosync] ---------------------------------------------------------------------------
    def _path(self) -> tuple[str, str]:
        """Return the path as it is to be written, and as it is."""
        path = self._take("autosync", "path")
        if path is None:
            raise ConfigError(
                f"{self.source}: there is no `path` in a section [autosync]",
                hint="Is it the configuration of dvcs-autosync? Then add the line: path = ~/the-folder",
            )
        root = absolute(path, self.environ, os.path.dirname(self.source))
        written = path if os.path.isabs(path) or path == "~" or path.startswith("~/") else root
        remark = "" if written == path else f"a relative path, taken from the folder of {self.source}"
        if "%(" in path:
            remark = "%(...)s is taken literally, as dvcs-autosync did"
        if not os.path.isdir(root):
            remark = f"{remark}{remark and '; '}it is not there: make or mount it before `autosync run`"
        self._carry("autosync", "path", f"path: {as_scalar(written)}", remark)
        return written, root

    def _workspace(self, root: str) -> str:
        name = re.sub(r"[^\w.-]+", "-", os.path.basename(root))[:64].strip(".-")
        return name if is_name(name) else "files"

    def _key_file(self, workspace: str, root: str) -> str:
        here = os.path.dirname(self.target)
        if os.path.basename(self.target) == ".autosync" or os.path.commonpath((here, root)) == root:
            here = absolute("~/.config/autosync", self.environ, "/")
        return os.path.join(here, f"{workspace}.key")

    def _syncmethod(self) -> str:
        method = self._take("autosync", "syncmethod")
        if method == "xmpp":
            self._say("autosync", "syncmethod", Outcome.CARRIED, "the group `xmpp`")
        elif method == "none":
            self._say("autosync", "syncmethod", Outcome.CARRIED, "nothing is pushed or pulled, and there is no XMPP")
        elif method is not None:
            what = "dvcs-autosync never had it" if method == "autosync-server" else "dvcs-autosync did not know it"
            self._say("autosync", "syncmethod", Outcome.UNSUPPORTED, f"{what}; add a group `xmpp` for announcements")
        return method or "none"

    def _commit_after(self) -> list[str]:
        text = self._take("autosync", "readfrequency")
        if text is None:
            return []
        if not re.fullmatch(r"[+-]?\d{1,9}", text):
            raise ConfigError(
                f"{self.source}: [autosync] readfrequency: must be a number of seconds", hint="Write a number: 5"
            )
        seconds = min(max(int(text), _SHORTEST), _LONGEST)
        remark = "" if seconds == int(text) else f"it must be between {_SHORTEST} and {_LONGEST} seconds"
        return [self._carry("autosync", "readfrequency", f"commit-after: {seconds}s", remark)]

    def _pull_lock(self) -> list[str]:
        lock = self._take("autosync", "pulllock")
        if lock in ("conservative", "optimized"):
            return [self._carry("autosync", "pulllock", f"pull-lock: {lock}")]
        if lock is not None:
            detail = "it was neither conservative nor optimized; `pull-lock: optimized` is the default"
            self._say("autosync", "pulllock", Outcome.UNSUPPORTED, detail)
        return []

    def _ignore(self) -> list[str]:
        text = self._take("autosync", "ignorepath")
        if text is None:
            return []
        patterns, left = [], []
        for name in text.split():
            relative = posixpath.normpath(name.lstrip("/"))
            if relative in _METADATA:
                left.append(f"{name} is never looked into")
            elif relative == "." or relative.split("/")[0] == "..":
                left.append(f"{name} names nothing inside")
            else:
                patterns.append("/" + re.sub(r"([\\*?\[])", r"\\\1", relative))
        remark = ", ".join(left)
        if not patterns:
            self._say("autosync", "ignorepath", Outcome.DROPPED, remark)
            return []
        line = f"ignore: [{', '.join(as_scalar(pattern) for pattern in patterns)}]"
        return [self._carry("autosync", "ignorepath", line, remark)]

    # -- [xmpp] -------------------------------------------------------------------------------
    def _xmpp(self, method: str) -> list[str]:
        if method != "xmpp":
            for key in ("username", "password", "alsonotify"):
                if self._take("xmpp", key) is not None:
                    self._say("xmpp", key, Outcome.DROPPED, f"with `syncmethod = {method}` it was not used")
            return []
        username, password = self._take("xmpp", "username"), self._take("xmpp", "password")
        if self._take("xmpp", "alsonotify") is not None:
            detail = "autosync sends nobody messages; `autosync status` tells what happened"
            self._say("xmpp", "alsonotify", Outcome.UNSUPPORTED, detail)
        jid = None if username is None else _text(username).partition("/")[0]
        if jid is None or password is None or not re.fullmatch(r"[^@/\s]+@[^@/\s]+", jid):
            lacking = "the address is none, like me@example.org" if password else "the password is missing"
            for key, value in (("username", username), ("password", password)):
                if value is not None:
                    self._say("xmpp", key, Outcome.UNSUPPORTED, f"{lacking}: write the group `xmpp` by hand")
            return []
        remark = "the resource is chosen anew" if "/" in _text(username or "") else ""
        self._carry("xmpp", "username", f"jid: {as_scalar(jid)}", remark)
        detail = "`password`, in the new file, which only you can read"
        self._say("xmpp", "password", Outcome.CARRIED, f"{detail}; `keyring: true` or `password-command` are safer")
        return ["xmpp:", f"  jid: {as_scalar(jid)}", f"  password: {as_scalar(_text(password))}"]

    # -- [dvcs] -------------------------------------------------------------------------------
    def _version_control(self, speaks: Speaks | None, *, is_synced: bool) -> list[str]:
        section = self.ini.get("dvcs", {})
        if speaks is None and any(key in section for key in KEYS):
            return self._commands(is_synced=is_synced)
        if speaks is None:
            return ["commits: auto"]
        remote = (speaks.remote or {"git": "origin", "hg": "default"}[speaks.vcs]) if is_synced else "none"
        for key in KEYS:
            if self._take("dvcs", key) is not None:
                told = f"; the hub is `remote: {remote}`" if key in ("pushcmd", "pullcmd", "remoteurlcmd") else ""
                self._say("dvcs", key, Outcome.DROPPED, f"autosync speaks {speaks.vcs} itself{told}")
        return [f"backend: {speaks.vcs}", f"remote: {as_scalar(remote)}", "commits: auto"]

    def _commands(self, *, is_synced: bool) -> list[str]:
        lines = ["backend: command", "commands:"]
        for key, action in KEYS.items():
            text = self._take("dvcs", key)
            if text is None:
                continue
            if not is_synced and action in (Action.PUSH, Action.PULL, Action.REMOTE_URL):
                self._say("dvcs", key, Outcome.DROPPED, "with `syncmethod = none` it was not used")
                continue
            try:
                steps = translate(action, _text(text))
            except Untranslatable as why:
                self._say("dvcs", key, Outcome.UNSUPPORTED, str(why))
                continue
            lists = [f"[{', '.join(as_scalar(word) for word in step)}]" for step in steps]
            listed = lists[0] if len(lists) == 1 else f"[{', '.join(lists)}]"
            lines.append(self._carry("dvcs", key, f"  {action.value}: {listed}"))
        if not any(line.startswith("  commit:") for line in lines):
            raise ConfigError(
                f"{self.source}: [dvcs] commitcmd: there is none that can be carried over",
                hint="Write it as a program and its arguments, for example: commitcmd = bzr commit -m %s",
            )
        return lines

    # -- the rest ------------------------------------------------------------------------------
    def _others(self) -> None:
        if self._take("autosync", "pidfile") is not None:
            detail = "the agent locks its state directory; two agents on one machine need a `state-dir` each"
            self._say("autosync", "pidfile", Outcome.DROPPED, detail)
        notify = self._take("autosync", "notifymethod")
        if notify == "none":
            self._say("autosync", "notifymethod", Outcome.DROPPED, "autosync shows no notifications")
        elif notify is not None:
            detail = "autosync shows no notifications; `autosync status` and the log tell what happened"
            self._say("autosync", "notifymethod", Outcome.UNSUPPORTED, detail)
        for section, keys in self.ini.items():
            for key in keys:
                if f"{section}.{key}" in self.seen:
                    continue
                if section == "autosync-server":
                    self._say(section, key, Outcome.DROPPED, "dvcs-autosync never used it")
                else:
                    self._say(section, key, Outcome.UNSUPPORTED, "dvcs-autosync did not know it either")


def _text(value: str) -> str:
    """Return ``value`` with the bytes that are not UTF-8 as what they were in 2011: Latin-1."""
    raw = value.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
