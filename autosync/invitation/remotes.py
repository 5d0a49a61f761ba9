"""The remotes of a repository, in git or in Mercurial: looked up for the inviter, added for the joiner."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import partial

from autosync.backends.git.cli import Git, GitFailed
from autosync.backends.hg.once import run_hg
from autosync.backends.hg.server import HgFailed
from autosync.config import PathConfig, Vcs
from autosync.errors import AutosyncError
from autosync.invitation.grant import Hub
from autosync.invitation.hubs import MAX_URL, is_remote_name, without_credentials


def url_of(root: str, vcs: Vcs, name: str, hg: Sequence[str] | None) -> str | None:
    """Return the URL of the remote ``name``, ``None`` if the repository has none such."""
    try:
        if vcs is Vcs.GIT:
            return os.fsdecode(Git(os.fsencode(root)).run("remote", "get-url", "--", name)).strip()
        return os.fsdecode(run_hg(hg, os.fsencode(root), "paths", "--", name)).strip()
    except (GitFailed, HgFailed, FileNotFoundError):
        return None


def hub_of(path: PathConfig, vcs: str) -> Hub | None:
    """Return the hub of a working copy without credentials, ``None`` if it has none that can be told."""
    remote = path.remote
    if remote is None:
        return None
    url = url_of(path.path, Vcs(vcs), remote, path.hg) or ""
    name = remote if url and is_remote_name(remote) else ""
    url = url or (remote if re.search(r"[:/]", remote) else "")
    url = without_credentials(os.path.join(path.path, url) if vcs == "git" and url.startswith(".") else url)
    if not url or len(url) > MAX_URL or not url.isprintable():
        return None
    return Hub(name=name, url=os.path.normpath(url) if os.path.isabs(url) else url)


def add_remote(root: str, vcs: Vcs, hub: Hub) -> Callable[[], None]:
    """Give a repository the remote of a hub that was found harmless; return what takes it away again."""
    if vcs is Vcs.GIT:
        git = Git(os.fsencode(root))
        try:
            git.run("remote", "add", "--", hub.name, hub.url)
        except GitFailed as failure:
            raise AutosyncError(
                f"{root}: the remote {hub.name} cannot be added: {failure.stderr}", hint="Nothing was changed."
            ) from None
        return partial(_ignoring, git, hub.name)
    return _add_path(os.path.join(root, ".hg", "hgrc"), hub)


def _ignoring(git: Git, name: str) -> None:
    git.call("remote", "remove", name, accept=(0, 1, 2, 128))


def _add_path(hgrc: str, hub: Hub) -> Callable[[], None]:
    before = b""
    existed = os.path.exists(hgrc)
    if existed:
        with open(hgrc, "rb") as old:
            before = old.read()
    gap = b"" if not before or before.endswith(b"\n") else b"\n"
    with open(hgrc, "wb") as file:
        file.write(before + gap + f"[paths]\n{hub.name} = {hub.url}\n".encode("ascii"))

    def undo() -> None:
        if not existed:
            os.unlink(hgrc)
            return
        with open(hgrc, "wb") as file:
            file.write(before)

    return undo
