"""Finds the hub in the user's git configuration, with what a git process needs to reach it unattended."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from autosync.backends.git.incoming import HARMLESS
from autosync.backends.git.repository import Repository
from autosync.errors import Refused

ALIAS = "autosync-hub"
"""The hub's name in our commands: the user's remote without its refspecs.

Under its own name a push would move his remote-tracking refs, a ``mirror`` would refuse
ours, and ``fetch = +refs/*:refs/*`` would write them into his repository.
"""

_COPIED = frozenset({"url", "pushurl", "proxy", "proxyauthmethod", "receivepack", "uploadpack", "vcs"})

_SETTINGS = (
    ("core.hooksPath", "/dev/null"),
    ("core.askPass", ""),
    ("color.ui", "false"),
    ("protocol.version", "2"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("push.followTags", "false"),
    ("push.gpgSign", "false"),
    ("push.recurseSubmodules", "no"),
    ("push.pushOption", ""),  # an empty one clears the list (git-config(1))
    ("fetch.prune", "false"),
    ("fetch.pruneTags", "false"),
    ("fetch.unpackLimit", "1"),  # one pack, which can be moved as a whole
    ("fetch.fsckObjects", "true"),
    *((f"fetch.fsck.{message}", "ignore") for message in HARMLESS),
)
# Slower than this for this long is a dead line (bytes per second, seconds).
_SLOWEST = (("http.lowSpeedLimit", "1"), ("http.lowSpeedTime", "60"))
# Appended to the user's command: where that says otherwise, that counts (ssh(1): the
# first value wins).
_SSH_OPTIONS = " -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """The hub as the user has configured it.

    ``name`` is his name for it (:data:`ALIAS` if he gave a URL), ``shown`` is for
    messages and holds no password, ``local_path`` is set if the hub is a directory here.
    """

    name: str
    shown: str
    local_path: str | None
    environment: Mapping[str, str]


def find_remote(repo: Repository, remote: str | None) -> Remote:
    """Return the hub.  Raises :class:`Refused` if there is none of that name."""
    if remote is None:
        raise Refused("This path has no hub", hint="Set `remote:` for it, to a remote of the repository or to a URL.")
    configured = _read(repo)
    prefix = f"remote.{remote}."
    own = [(k.removeprefix(prefix), v) for k, v in configured if k.startswith(prefix)]
    copied = [(f"remote.{ALIAS}.{key}", value) for key, value in own if key in _COPIED]
    urls = [value for key, value in own if key == "url"]
    name = remote
    if not urls:
        if not re.search(r"[:/]", remote):
            raise Refused(
                f"{os.fsdecode(repo.root)} has no remote {remote!r}",
                hint=f"Add it with `git remote add {remote} URL`, or correct `remote:` for this path.",
            )
        urls, name = [remote], ALIAS
        copied.append((f"remote.{ALIAS}.url", remote))
    known = {key for key, _ in configured}
    slowest = [(key, value) for key, value in _SLOWEST if key.lower() not in known]
    settings = [*_SETTINGS, *slowest, *copied]
    if name != ALIAS:
        settings.append((f"{prefix}mirror", "false"))
    shown = re.sub(r"://[^/\s@]*@", "://", urls[0])
    return Remote(
        name=name,
        shown=shown if name == ALIAS else f"{name} ({shown})",
        local_path=_local_path(repo, urls[0]),
        environment={**_as_environment(settings), **_unattended(configured)},
    )


def _read(repo: Repository) -> list[tuple[str, str]]:
    """Return all settings as git knows them in the user's repository."""
    items = os.fsdecode(repo.git.run("config", "--list", "-z")).split("\0")
    return [(key, value) for key, _, value in (item.partition("\n") for item in items) if key]


def _as_environment(settings: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return settings as git takes them from the environment, where a password in a URL is less open than in argv."""
    environment: dict[str, str] = {}
    count = 0
    for key, value in settings:
        environment[f"GIT_CONFIG_KEY_{count}"] = key
        environment[f"GIT_CONFIG_VALUE_{count}"] = value
        count += 1
    environment["GIT_CONFIG_COUNT"] = str(count)
    return environment


def _unattended(configured: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return what keeps git, ssh and Git Credential Manager from asking anybody.

    An askpass program that was given to the agent by GIT_ASKPASS stays: that is how a
    user hands over a password without a helper.
    """
    environment = {"SSH_ASKPASS_REQUIRE": "never", "GCM_INTERACTIVE": "never"}
    if "GIT_ASKPASS" not in os.environ:
        environment["GIT_ASKPASS"] = ""  # empty, so that SSH_ASKPASS is not asked in its place
    settings = dict(configured)
    if "GIT_SSH" in os.environ and "GIT_SSH_COMMAND" not in os.environ and "core.sshcommand" not in settings:
        return environment
    command = os.environ.get("GIT_SSH_COMMAND") or settings.get("core.sshcommand") or "ssh"
    if _is_openssh(command):
        environment["GIT_SSH_COMMAND"] = command + _SSH_OPTIONS
    return environment


def _is_openssh(command: str) -> bool:
    """Return whether options of OpenSSH can be appended to a shell command."""
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    program = next((word for word in words if not re.match(r"\w+=", word)), "")
    return os.path.basename(program) == "ssh" and not set(command) & set(";|&#")


def _local_path(repo: Repository, url: str) -> str | None:
    path = url.removeprefix("file://")
    if "://" in path or re.match(r"[^/]+:", path):
        return None
    return os.path.join(os.fsdecode(repo.root), path)
