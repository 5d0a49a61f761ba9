"""Says which hubs one device may tell another to use."""

from __future__ import annotations

import os
import re
import subprocess
from urllib.parse import urlsplit, urlunsplit

MAX_URL = 500
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}"
_HOST = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]{2,45}\])"
_PATH = r"[!-~]*"
_WEB = re.compile(rf"(?:https?|git)://{_HOST}(?::\d{{1,5}})?/{_PATH}")
_SSH = re.compile(rf"ssh://(?:{_USER}@)?{_HOST}(?::\d{{1,5}})?/{_PATH}")
# git's short form.  "ext::sh -c …" and its like run what follows: no colon may come after the first.
_SHORT = re.compile(rf"(?:{_USER}@)?{_HOST}:(?!//)(?!-)[!-9;-~]+")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HARMLESS = re.compile(
    r"core\.(repositoryformatversion|filemode|bare|logallrefupdates|sharedrepository|ignorecase|precomposeunicode|symlinks)"
    r"|receive\.(deny[a-z]+|fsckobjects|unpacklimit)|transfer\.(fsckobjects|unpacklimit|hiderefs)"
    r"|remote\.[^.]*\.(url|fetch|mirror)|gc\.[a-z]+|extensions\.(objectformat|refstorage)|uploadpack\.(allow[a-z0-9]+|hiderefs)"
    r"|http\.(receivepack|uploadpack)|init\.defaultbranch|pack\.[a-z]+|repack\.[a-z]+"
)
"""What may stand in the configuration of a repository on the same disk: it names no program."""


def is_remote_name(name: str) -> bool:
    """Return whether ``name`` may name a remote: it becomes an argument, and part of refs and of a configuration."""
    return bool(_NAME.fullmatch(name)) and ".." not in name and not name.endswith((".", ".lock"))


def without_credentials(url: str) -> str:
    """Return ``url`` without a password, and over HTTP without a user: those are the inviter's own."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    if parts.scheme == "ssh" and user:
        place = f"{user}@{place}"
    return urlunsplit((parts.scheme, place, parts.path, "", ""))


def problem_with(url: str, vcs: str) -> str:
    """Return why a hub of another device is not to be used here with ``vcs``, empty if it may be.

    Only what goes over a network in a well-known way, or a plain repository on this machine, in
    which nothing names a program (:func:`problem_on_disk`).
    """
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return "its address is too long, or holds characters that addresses do not have"
    if os.path.isabs(url) or url.startswith("file:///"):
        return problem_on_disk(url.removeprefix("file://"))
    if _SSH.fullmatch(url) or (vcs == "git" and _SHORT.fullmatch(url)):  # to hg, "bundle:" is a file
        return ""
    if _WEB.fullmatch(url) and (vcs == "git" or not url.startswith("git:")):
        return "" if "@" not in urlsplit(url).netloc else "its address holds a login"
    return "it is not reached by ssh, https, http or git"


def problem_on_disk(path: str) -> str:
    """Return why the repository at ``path``, said to be a hub, is not to be used.

    Whoever pushes into a directory runs its hooks, as himself: a directory that came here in an archive
    or through another workspace must not become a hub because somebody says so.
    """
    here = f"{path} on this device"
    try:
        owner = os.stat(path).st_uid
    except OSError:
        return f"it is a folder of that machine, and there is no {here}"
    if os.path.normpath(path) != path or owner not in (0, os.geteuid()):
        return f"{here} is not yours"
    if os.path.isdir(os.path.join(path, ".hg")):
        return f"{here} has an hgrc of its own" if os.path.lexists(os.path.join(path, ".hg/hgrc")) else ""
    bare = path if os.path.isfile(os.path.join(path, "HEAD")) else os.path.join(path, ".git")
    hooks = os.path.join(bare, "hooks")
    if os.path.isdir(hooks) and any(not name.endswith(".sample") for name in os.listdir(hooks)):
        return f"{here} has hooks"
    if not os.path.isfile(os.path.join(bare, "config")):
        return f"{here} is no repository"
    listing = (
        "git",
        "config",
        "--file",
        os.path.join(bare, "config"),
        "--no-includes",
        "--null",
        "--name-only",
        "--list",
    )
    listed = subprocess.run(listing, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    names = listed.stdout.decode("utf-8", "replace").split("\0")[:-1]
    if listed.returncode or not all(_HARMLESS.fullmatch(name) for name in names):
        return f"{here} has settings of its own"
    return ""
