"""What ``autosync join`` does to this device: found out first, done all or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from autosync.backends.opening import repository_around
from autosync.cli.adding import key_place, read_configuration, write_configuration
from autosync.cli.invocation import Invocation
from autosync.cli.repositories import Folder, folder, is_ambiguous
from autosync.config import (
    Addition,
    Config,
    PathConfig,
    Vcs,
    add_path,
    add_settings,
    check_nesting,
    has_setting,
    inside,
    is_name,
    parse,
)
from autosync.core.candidates import Candidate, CandidateKind
from autosync.errors import AutosyncError, ConfigError, Unsafe
from autosync.invitation import Hub, Offer
from autosync.invitation.hubs import problem_with, without_credentials
from autosync.invitation.introductions import Introduction, introduce
from autosync.invitation.remotes import add_remote, url_of
from autosync.trust.keyfile import KeyText, replace_key
from autosync.trust.keyfile import parse as parse_key
from autosync.trust.sealing import key_in, load_key, write_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that `join` found out before it changes anything.

    ``notes`` are sentences about what is not done as on the inviter, and why.
    """

    offer: Offer
    addition: Addition
    source: str
    text: str
    state_dir: str
    folder: Folder
    is_new_repository: bool
    is_new_key: bool
    had_files: bool
    hub: Hub | None = None
    adds_remote: bool = False
    notes: tuple[str, ...] = field(default=())
    journal: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    """What has to be around the making, so that a kill in the middle of it is noticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What is made where this device joins: ``folder``, of the repository of the working copy ``source``.

    ``settings`` are keys of the entry with their values; ``journal`` takes the place of a new key (or nothing),
    see :class:`Plan`.
    """

    folder: Folder
    source: str
    journal: Callable[[str], contextlib.AbstractContextManager[None]]
    settings: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


Settle = Callable[[Offer, Config, str, str], Settled]
"""Called with what is offered, the configuration and its text, and the place; raises :class:`AutosyncError`."""


def prepare(
    invocation: Invocation,
    offer: Offer,
    *,
    path: str | None,
    workspace: str | None,
    key_file: str | None,
    way: Candidate | None = None,
    settle: Settle | None = None,
) -> Plan:
    """Find out whether and how this device can join; nothing is changed.

    ``way`` is that on which the inviter was reached.  ``settle`` says what is made at the place where it joins,
    if that is no folder of its own.  Raises :class:`AutosyncError`.
    """
    source, text = read_configuration(invocation)
    config = parse(text, source, os.environ)
    name = workspace or offer.workspace
    if not is_name(name):
        hint = "Give another one with --workspace: at most 64 letters, digits, spaces, and . _ - inside."
        raise AutosyncError(f'"{name}" cannot be the name of a workspace', hint=hint)
    root = os.path.realpath(path if path is not None else name)
    key = key_place(source, name, key_file)
    is_new_key = _is_new_key(key, root, offer)
    settled = None if settle is None else settle(offer, config, text, root)
    found, is_new = _folder(root, Vcs(offer.vcs), config) if settled is None else (settled.folder, True)
    has_remotes = settled.source if settled else None if is_new else root
    hub, adds_remote, notes = _hub(offer, has_remotes, config)
    addition = Addition(
        path=root,
        workspace=name,
        key_file=key,
        remote=None if hub is None else hub.name or hub.url,
        backend=found.vcs if is_ambiguous(root) else None,
        settings=() if settled is None else settled.settings,
    )
    new_places, differing = _places(config, offer)
    new_peers, unnamed = _peers(config, text, source, offer, way)
    edited = add_settings(_added(text, addition, source), {**new_places, **new_peers}, source, os.environ)
    check_nesting(parse(edited, source, os.environ))
    return Plan(
        offer=offer,
        addition=addition,
        source=source,
        text=edited,
        state_dir=config.state_dir,
        folder=found,
        is_new_repository=is_new,
        is_new_key=is_new_key,
        had_files=os.path.isdir(root) and any(n not in (".git", ".hg") for n in os.listdir(root)),
        hub=hub,
        adds_remote=adds_remote,
        journal=contextlib.nullcontext if settled is None else partial(settled.journal, key if is_new_key else ""),
        notes=(*(() if settled is None else settled.notes), *notes, *differing, *unnamed, *_about_xmpp(config, offer)),
    )


def find_outdated(invocation: Invocation, offer: Offer) -> PathConfig | None:
    """Return the entry of this workspace if it has a key of before: this device was left out of a change.

    ``None`` if there is no entry.  Raises :class:`AutosyncError` if there is one with the key of now.
    """
    source, text = read_configuration(invocation)
    for path in parse(text, source, os.environ).paths:
        with contextlib.suppress(ConfigError):
            key = load_key(path.key_file)
            if key.id == offer.id and key.tag != offer.tag:
                return path
            if key.id == offer.id:
                raise AlreadyJoined(path.path)
    return None


class AlreadyJoined(AutosyncError):
    """The workspace is kept here, with the key of now."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"This device has joined that workspace already: {path}",
            hint="Nothing is to be done; `autosync status` shows it.",
        )


def renew(path: PathConfig, offer: Offer, key_text: str) -> None:
    """Give a working copy that is kept here the key that its workspace has now.

    Raises :class:`Unsafe` for one of before: it may be that of a device that was revoked.
    """
    granted = _granted(offer, key_text)
    if granted.epoch <= load_key(path.key_file).epoch:
        raise Unsafe(
            "The inviter does not have the newest key of the workspace",
            hint="It may have been revoked. Ask a device for an invitation that `autosync devices` shows as a member.",
        )
    replace_key(path.key_file, granted)


def _granted(offer: Offer, key_text: str) -> KeyText:
    """Return the key that was granted.  Raises :class:`Unsafe` unless it is the offered workspace's."""
    with contextlib.suppress(ValueError):
        granted = parse_key(key_text.encode("ascii"))
        if key_in(granted).id == offer.id:
            return granted
    raise Unsafe(
        "The inviter has granted something else than the key of the workspace that it offered",
        hint="Nothing was changed here. Do not trust that device.",
    )


def perform(plan: Plan, key_text: str) -> None:
    """Make folder, repository, key, remote and entry, or none of them."""
    root, key = plan.addition.path, plan.addition.key_file
    _granted(plan.offer, key_text)
    with plan.journal(), contextlib.ExitStack() as undo:
        _make_folder(root, undo)
        if plan.is_new_repository:
            undo.callback(plan.folder.unmake)
            plan.folder.make()
        if plan.adds_remote and plan.hub is not None:
            undo.callback(add_remote(root, plan.folder.vcs, plan.hub))
        if plan.is_new_key:
            write_key(key, key_text)
            undo.callback(os.unlink, key)
        introduce(
            plan.state_dir,
            Introduction(workspace=plan.offer.id, device=plan.offer.device, candidates=plan.offer.candidates),
        )
        write_configuration(plan.source, plan.text)
        undo.pop_all()


def _make_folder(root: str, undo: contextlib.ExitStack) -> None:
    missing = []
    at = root
    while not os.path.isdir(at):
        missing.append(at)
        at = os.path.dirname(at)
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
        except OSError as error:
            raise AutosyncError(
                f"{directory} cannot be made: {error.strerror}", hint="Choose a place that you may write to."
            ) from None
        undo.callback(_remove_empty, directory)


def _remove_empty(directory: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(directory)


def _added(text: str, addition: Addition, source: str) -> str:
    try:
        return add_path(text, addition, source, os.environ)
    except ConfigError as error:
        if "workspace" in error.title and "is there already" in error.title:
            hint = "That is another one of the same name. Join with a name for this device: --workspace NAME"
            raise ConfigError(error.title, hint=hint) from None
        raise


def _is_new_key(key: str, root: str, offer: Offer) -> bool:
    if inside(os.path.realpath(key), root):
        hint = "Name a place outside with --key-file: inside, it could end up in a commit."
        raise AutosyncError(f"The key file {key} would lie in the working copy", hint=hint)
    if not os.path.lexists(key):
        return True
    with contextlib.suppress(ConfigError):
        if load_key(key).id == offer.id:
            return False
    raise AutosyncError(
        f"There is a key file {key} already, of another workspace",
        hint="It is left as it is. Name another place: --key-file FILE, or another name: --workspace NAME",
    )


def _folder(root: str, vcs: Vcs, config: Config) -> tuple[Folder, bool]:
    """Return the folder ``root``, and whether it is to become a repository."""
    if vcs is Vcs.GIT and shutil.which("git") is None:
        raise AutosyncError("git is not installed, or not on PATH", hint="On Debian: apt-get install git")
    if os.path.lexists(root) and not os.path.isdir(root):
        raise AutosyncError(f"{root} is not a directory", hint="Name a folder, or one that does not exist yet.")
    if not os.path.isdir(root):
        around = repository_around(root)
        if around is not None:
            raise AutosyncError(
                f"{root} lies inside the working copy {around}", hint="Choose a place outside: autosync join LINE PATH"
            )
        return folder(root, vcs, config.hg), True
    try:
        found = folder(root, vcs, config.hg)
    except AutosyncError as error:
        if not error.title.startswith("--vcs"):
            raise
        raise AutosyncError(
            error.title.removeprefix("--vcs: "), hint=f"The workspace is kept with {vcs.value}: choose another folder."
        ) from None
    return found, found.remotes() is None


def _hub(offer: Offer, root: str | None, config: Config) -> tuple[Hub | None, bool, tuple[str, ...]]:
    """Return the hub that is to be used, whether the repository gets a remote for it, and what is to be told.

    ``root`` is a working copy of the repository, ``None`` if that is yet to be made.
    """
    hub, vcs = offer.hub, Vcs(offer.vcs)
    if hub is None:
        return None, False, ()
    known = None if root is None or not hub.name else url_of(root, vcs, hub.name, config.hg)
    if known is not None and without_credentials(known) == hub.url:
        return hub, False, ()
    problem = problem_with(hub.url, vcs.value)
    if problem:
        advice = "To use it nevertheless, add it as a remote and set `remote:`."
        return None, False, (f"The inviter's hub {hub.url} is not used here: {problem}. {advice}",)
    if known is not None:
        stays = f"The remote {hub.name} of this repository stays {without_credentials(known)}"
        note = f"{stays}; the inviter's hub {hub.url} is used by its address."
        return Hub(name="", url=hub.url), False, (note,)
    return hub, bool(hub.name), ()


def _places(config: Config, offer: Offer) -> tuple[dict[str, str], list[str]]:
    """Return the channel settings that are to be added, and what is told of those that differ."""
    new: dict[str, str] = {}
    differing = []
    for key, place in offer.places.items():
        here = getattr(config, key)
        if here is None:
            new[key] = place
        elif here != place:
            differing.append(f"`{key}` stays {here}; the inviter has {place}.")
    return new, differing


def _peers(
    config: Config, text: str, source: str, offer: Offer, way: Candidate | None
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the setting by which the two find each other again where no channel joins them, and what is told of it."""
    if way is None or way.kind not in (CandidateKind.SSH, CandidateKind.PUBLIC):
        return {}, []
    if offer.places or (offer.xmpp is not None and config.xmpp is not None) or way.address in config.ssh_peers:
        return {}, []
    peer = f"ssh://{way.address}" if way.kind is CandidateKind.SSH else way.address
    if peer in config.peers:
        return {}, []
    if has_setting(text, "peers", source):
        return {}, [f"No channel joins the two devices. Add {peer} to `peers:`, so that they always find each other."]
    return {"peers": (peer,)}, []


def _about_xmpp(config: Config, offer: Offer) -> list[str]:
    """Return what has to be done by hand for XMPP: it needs a password, which is never handed on."""
    theirs, ours = offer.xmpp, config.xmpp
    if theirs is None:
        return []
    if ours is not None:
        if theirs.jid == ours.jid or theirs.jid in ours.members:
            return []
        return [
            f"The inviter's XMPP account is {theirs.jid}, this device's is {ours.jid}: to hear each other, each has "
            "to have the other's account under `xmpp.members`."
        ]
    keys = [f"jid: {theirs.jid}", "password-command: [pass, show, xmpp]"]
    keys += [f"host: {theirs.host}"] * (theirs.host is not None) + [f"port: {theirs.port}"] * (theirs.port is not None)
    keys += [f"service: {theirs.service}"] * (theirs.service is not None)
    keys += [f"node: {theirs.node}"] * (theirs.node is not None)
    keys += [f"members: [{', '.join(theirs.members)}]"] * bool(theirs.members)
    return [
        "The inviter also uses XMPP, for which this device needs a password. Until you add this to the configuration, "
        "changes travel straight between the devices (`keyring: true` in place of the command asks the keyring; "
        f"then `autosync reload`): xmpp: {{{', '.join(keys)}}}"
    ]


def next_steps(invocation: Invocation, plan: Plan) -> list[str]:
    """Return in lines what is where now."""
    added = plan.addition
    lines = [
        f'{added.path} is now a working copy of the workspace "{added.workspace}".',
        f"  key:    {added.key_file}",
        f"  hub:    {added.remote or 'none: changes travel straight between your devices'}",
        f"  config: {plan.source}",
    ]
    if plan.had_files:
        lines.append("  Its files are merged with those of the others; where both differ, both are kept.")
    return [*lines, *(invocation.reword(note) for note in plan.notes)]
