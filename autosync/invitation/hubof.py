"""Finds the address of a working copy's hub, as another device may be told it."""

from __future__ import annotations

import os
import re

from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.hg.once import run_hg
from autosync.backends.hg.server import HgFailed
from autosync.config import PathConfig
from autosync.invitation.grant import Hub
from autosync.invitation.hubs import MAX_URL, is_remote_name, without_credentials


def hub_of(path: PathConfig, vcs: str) -> Hub | None:
    """Return the hub of a working copy without credentials, ``None`` if it has none that can be told."""
    remote = path.remote
    if remote is None:
        return None
    url = _configured(path, vcs, remote)
    name = remote if url and is_remote_name(remote) else ""
    url = url or (remote if re.search(r"[:/]", remote) else "")
    url = without_credentials(os.path.join(path.path, url) if vcs == "git" and url.startswith(".") else url)
    if not url or len(url) > MAX_URL or not url.isprintable():
        return None
    return Hub(name=name, url=os.path.normpath(url) if os.path.isabs(url) else url)


def _configured(path: PathConfig, vcs: str, remote: str) -> str:
    """Return the URL of a remote, empty if the repository has none of that name."""
    root = os.fsencode(path.path)
    try:
        if vcs == "git":
            return os.fsdecode(Git(root).run("remote", "get-url", "--", remote)).strip()
        return os.fsdecode(run_hg(path.hg, root, "paths", "--", remote)).strip()
    except (GitFailed, HgFailed, FileNotFoundError):
        return ""
