"""Examines what a configuration names on this device: the agent's state, each working copy, its hub."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import fields

from autosync.cli.commandcheck import check_commands, check_on_update
from autosync.cli.finding import Finding, Level
from autosync.cli.opening import open_to_look
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
    """Examine the state directory, the agent and the listening port."""
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


def check_path(config: Config, path: PathConfig) -> Iterator[Finding]:
    """Examine one working copy: its key, its repository, its hub."""
    try:
        load_key(path.key_file)
        refuse_twin(path, config.paths[: config.paths.index(path)])
        if path.commands is not None:
            yield from check_commands(path, path.commands)
            return
        backend = open_to_look(path)
    except AutosyncError as error:
        yield Finding(Level.FAIL, path.workspace, error.title, error.hint)
        return
    try:
        yield from _check_working_copy(config, path, backend)
        yield from check_on_update(path)
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
