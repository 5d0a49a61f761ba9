"""The examinations that ``autosync check`` consists of."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import fields

from autosync.backends.git.refnames import RefNames
from autosync.backends.opening import open_backend
from autosync.cli.commandcheck import check_commands
from autosync.cli.finding import Finding, Level
from autosync.cli.programs import check_programs
from autosync.config import Config, Mode, PathConfig, candidates, inside
from autosync.control import NotRunning, call
from autosync.core.model import RelPath
from autosync.errors import AutosyncError
from autosync.ports import Backend
from autosync.store import StateDirectory
from autosync.trust.sealing import load_key
from autosync.twins import refuse_twin
from autosync.vocabulary import vocabulary

_HUB_PREFIX = next(field.default for field in fields(PathConfig) if field.name == "hub_prefix")
_WATCHES = "/proc/sys/fs/inotify/max_user_watches"
_SPARE_WATCHES = 8192
"""What editors and desktops of the same user are left: a common default of small systems."""


def check_configuration(config: Config, option: str | None) -> Iterator[Finding]:
    """Tell which file is in force and what it configures."""
    yield Finding(Level.OK, "config", f'{config.source}: device "{config.device}"')
    for place in candidates(option, os.environ):
        if place != config.source and os.path.isfile(place):
            detail = f"{place} exists too and is not read: {config.source} comes first"
            yield Finding(Level.WARN, "config", detail, "Merge the two files, or choose one with --config.")
    if not config.paths:
        yield Finding(Level.WARN, "paths", "no working copy is configured", "Add one with `autosync init PATH`.")


def check_device(config: Config) -> Iterator[Finding]:
    """Examine git and hg, the state directory, the agent, the listening port and the watch limit."""
    yield from check_programs(config)
    try:
        StateDirectory(config.state_dir)
    except AutosyncError as error:
        yield Finding(Level.FAIL, "state-dir", error.title, error.hint)
        return
    try:
        agent = call(config.state_dir, "status")["agent"]
        yield Finding(Level.OK, "agent", f"runs (pid {agent['pid']})")
    except NotRunning:
        yield Finding(Level.OK, "agent", "is not running", "Start it with `autosync run`.")
        yield _check_port(config)
    except AutosyncError as error:
        yield Finding(Level.WARN, "agent", error.title, error.hint)
    yield _check_watches(config)


def _check_port(config: Config) -> Finding:
    if config.listen is None:
        return Finding(Level.OK, "listen", "none: changes travel over the other channels and the hub only")
    host, port = config.listen
    shown = f"{host or 'all interfaces'}, port {port or 'any'}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        hint = "Choose another port with `listen:`, or 0 for a free one."
        return Finding(Level.FAIL, "listen", f"{shown}: {error.strerror}", hint)
    return Finding(Level.OK, "listen", shown)


def _check_watches(config: Config) -> Finding:
    """Compare the directories that may have to be watched with what the kernel allows (inotify(7))."""
    needed = sum(_count_directories(os.fsencode(path.path)) for path in config.paths)
    with open(_WATCHES, encoding="ascii") as file:
        allowed = int(file.read())
    detail = f"directories to watch: {needed}; allowed: {allowed}"
    if needed + _SPARE_WATCHES <= allowed or needed * 2 <= allowed:
        return Finding(Level.OK, "inotify", detail)
    level = Level.WARN if needed <= allowed else Level.FAIL
    more = 2 * needed + _SPARE_WATCHES
    return Finding(level, "inotify", detail, f"Allow more, as root: sysctl fs.inotify.max_user_watches={more}")


def _count_directories(root: bytes) -> int:
    """Return the number of directories that can hold a user's files."""
    count = 0
    for _directory, below, _files in os.walk(root):
        count += 1
        below[:] = [name for name in below if name not in (b".git", b".hg")]
    return count


def check_path(config: Config, path: PathConfig) -> Iterator[Finding]:
    """Examine one working copy: its key, its repository, its hub."""
    try:
        key = load_key(path.key_file)
        refuse_twin(path, config.paths[: config.paths.index(path)])
        if path.commands is not None:
            yield from check_commands(path, path.commands)
            return
        backend = open_backend(path, key.id, names=RefNames(lambda: (key,)))
    except AutosyncError as error:
        yield Finding(Level.FAIL, path.workspace, error.title, error.hint)
        return
    try:
        yield from _check_working_copy(config, path, backend)
    finally:
        backend.close()


def _check_working_copy(config: Config, path: PathConfig, backend: Backend) -> Iterator[Finding]:
    base, busy = backend.base(), backend.busy()
    words = vocabulary(backend.vcs)
    what = "store at" if path.mode is Mode.STORE else "working copy on"
    yield Finding(Level.OK, path.workspace, f"{path.path}: {words.name} {what} {words.branch(base)}")
    try:
        backend.examine()
    except AutosyncError as error:
        yield Finding(Level.FAIL, path.workspace, error.title, error.hint)
    if busy:
        yield Finding(Level.WARN, path.workspace, f"{busy}", "autosync waits until that is finished.")
    root = os.path.realpath(path.path)
    for what, own in (("key-file", path.key_file), ("state-dir", config.state_dir), ("config", config.source)):
        place = os.path.realpath(own)
        if inside(place, root) and not _is_ignored(backend, root, place):
            detail = f"{what} {own} lies in the working copy and can get into a commit"
            yield Finding(Level.WARN, path.workspace, detail, f"Move it out, or ignore it{words.in_ignore_file}.")
    if words.hub_lacks and path.hub_prefix != _HUB_PREFIX:
        detail = f"hub-prefix has no effect in a {words.name} working copy: {words.hub_lacks}"
        yield Finding(Level.WARN, path.workspace, detail, "Remove that key.")
    if path.remote is not None:
        yield _check_hub(path, backend)


def _is_ignored(backend: Backend, root: str, place: str) -> bool:
    relative = RelPath(os.fsencode(os.path.relpath(place, root)))
    return relative in backend.ignored([relative])


def _check_hub(path: PathConfig, backend: Backend) -> Finding:
    what = f"{path.workspace}, hub {path.remote}"
    try:
        devices = backend.list_hub()
        backend.probe_hub()
    except AutosyncError as error:
        return Finding(Level.FAIL, what, error.title, error.hint)
    lacks = vocabulary(backend.vcs).hub_lacks
    found = f"devices of this workspace there: {len(devices)}"
    return Finding(Level.OK, what, f"answers; {lacks}" if lacks else f"can be read and written; {found}")
