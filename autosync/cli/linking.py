"""What ``autosync worktree add`` does to this device: found out first, done all or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from autosync.backends.git.linking import branch_for
from autosync.backends.hg.sharing import shares_of
from autosync.backends.kinship import best_trace
from autosync.backends.linking import Link, Spot, check_dest
from autosync.backends.opening import repository_around, vcs_of
from autosync.cli.adding import key_place, read_configuration, write_configuration
from autosync.cli.cutoff import journal, link_to, take_away
from autosync.cli.invocation import Invocation
from autosync.cli.joining import Settled
from autosync.cli.repositories import folder
from autosync.cli.shared import find_working_copy
from autosync.config import (
    Addition,
    Config,
    Mode,
    PathConfig,
    Vcs,
    add_path,
    check_nesting,
    inheritable,
    inside,
    is_name,
    parse,
)
from autosync.errors import AutosyncError, ConfigError
from autosync.invitation import Offer
from autosync.trust.sealing import create_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that was found out before anything is changed.

    ``before`` and ``text`` are the configuration ``source`` as it is and as it will be; ``left`` are the keys of
    the entry that it was made from which do not hold for it.
    """

    addition: Addition
    source: str
    before: str
    text: str
    state_dir: str
    link: Link
    left: tuple[str, ...]


def prepare(
    invocation: Invocation,
    dest: str,
    *,
    branch: str | None,
    start: str,
    workspace: str | None,
    key_file: str | None,
) -> Plan:
    """Find out whether a working copy can be made at ``dest`` from the one that ``start`` lies in or names.

    What a killed run has left at ``dest`` is taken away; else nothing is changed.  Raises :class:`AutosyncError`.
    """
    source, text = read_configuration(invocation)
    config = parse(text, source, os.environ)
    invocation.state_dir = config.state_dir
    dest = os.path.realpath(dest)
    take_away(config, dest)
    root, entry = find_working_copy(config, start)
    name = workspace or re.sub(r"[^\w .-]+", "-", os.path.basename(dest)).strip(" .-")
    if not is_name(name):
        hint = "Give one with --workspace: at most 64 letters, digits, spaces, and . _ - inside."
        raise AutosyncError(f'"{name}" cannot be the name of a workspace', hint=hint)
    key = key_place(source, name, key_file)
    settings, left = _inherited(config, text, source, entry)
    remote = entry.remote if entry else None
    addition = Addition(path=dest, workspace=name, key_file=key, remote=remote, settings=settings)
    edited = add_path(text, addition, source, os.environ)
    _check_place(dest)
    above = os.path.dirname(dest)
    if not os.path.isdir(above):
        raise AutosyncError(f"{above} is not a folder", hint=f"Make it first: mkdir -p {shlex.quote(above)}")
    check_nesting(parse(edited, source, os.environ))
    _check_key(key, dest)
    default = branch_for(dest) if _vcs_of(root, entry) is Vcs.GIT else ""
    link = _checked_link(config, root, entry, dest, default if branch is None else branch)
    return Plan(
        addition=addition,
        source=source,
        before=text,
        text=edited,
        state_dir=config.state_dir,
        link=link,
        left=left,
    )


def perform(plan: Plan) -> None:
    """Make key, working copy and entry, or none of them."""
    key = plan.addition.key_file
    with journal(plan.state_dir, plan.link, key), contextlib.ExitStack() as undo:
        create_key(key)
        undo.callback(os.unlink, key)
        undo.callback(plan.link.unmake)
        plan.link.make()
        with _alone_at(plan.source):
            _refuse_changed(plan)
            write_configuration(plan.source, plan.text)
        undo.pop_all()


def settle(start: str | None, offer: Offer, config: Config, text: str, dest: str) -> Settled:
    """Return the working copy to be made at ``dest`` for a workspace that is offered, on a store of its history.

    That is the one that ``start`` lies in or names, or else the one of this device that has most of it.  Raises
    :class:`AutosyncError` if there is none, naming the way that works without.
    """
    take_away(config, dest)
    _check_place(dest)
    vcs = Vcs(offer.vcs)
    root, entry = _relative(start, offer, config, vcs, dest)
    link = _checked_link(config, root, entry, dest, None)
    _refuse_taken(offer, link)
    settings, left = _inherited(config, text, config.source, entry)
    return Settled(
        folder=link,
        source=root,
        journal=partial(journal, config.state_dir, link),
        settings=settings,
        notes=(f"It is {link.words()}: no second copy of the history is made.", *told_of(left, settings)),
    )


def told_of(left: Sequence[str], settings: Sequence[tuple[str, str]]) -> list[str]:
    """Return what is to be said of settings that were taken over, and of those that were not."""
    lines = []
    if settings:
        lines.append(f"Settings taken over: {', '.join(name for name, _ in settings)}.")
    if left:
        lines.append(f"Not taken over, as meant for the other folder: {', '.join(left)}.")
    return lines


def _checked_link(config: Config, root: str, entry: PathConfig | None, dest: str, branch: str | None) -> Link:
    """Return the working copy that is to be made from that at ``root``, once it is known that it can be.

    ``branch`` is as for :class:`GitLink` and :class:`HgLink`.
    """
    vcs, hg = _vcs_of(root, entry), entry.hg if entry else config.hg
    if entry is None:
        folder(root, vcs, hg).remotes()  # refuses what autosync does not handle
    others = shares_of(os.fsencode(root), [os.fsencode(p.path) for p in config.paths]) if vcs is Vcs.HG else ()
    link = link_to(Spot(source=root, dest=dest, hg=hg), vcs, branch, others=others)
    link.check()
    return link


def _check_place(dest: str) -> None:
    check_dest(dest)
    around = repository_around(dest)
    if around is not None:
        raise AutosyncError(
            f"{dest} would lie inside the working copy {around}",
            hint="Choose a place outside, beside it for example: its files would be taken for files of that one.",
        )


def _vcs_of(root: str, entry: PathConfig | None) -> Vcs:
    if entry is not None and (entry.mode is Mode.STORE or entry.backend is Vcs.COMMAND):
        raise AutosyncError(
            f"{root} has no store that a second working copy could use",
            hint="Name one of git or Mercurial: --from PATH",
        )
    return (entry.backend if entry else None) or vcs_of(root)


def _check_key(key: str, dest: str) -> None:
    if inside(os.path.realpath(key), dest):
        hint = "Name a place outside with --key-file: inside, it could end up in a commit."
        raise AutosyncError(f"The key file {key} would lie in the working copy", hint=hint)
    if os.path.lexists(key):
        raise AutosyncError(
            f"There is a key file {key} already", hint="Choose another --workspace, or another place: --key-file FILE."
        )


def _inherited(
    config: Config, text: str, source: str, entry: PathConfig | None
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    if entry is None:
        return (), ()
    return inheritable(text, source, config.paths.index(entry))


@contextlib.contextmanager
def _alone_at(source: str) -> Iterator[None]:
    """Have a second `worktree add` wait that would write the configuration ``source`` in the same moment."""
    place = os.path.dirname(os.path.realpath(source))
    if not os.path.isdir(place):  # made along with the first configuration
        yield
        return
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _refuse_changed(plan: Plan) -> None:
    """Raise if somebody has written to the configuration since it was read."""
    now = ""
    with contextlib.suppress(FileNotFoundError), open(plan.source, encoding="utf-8", newline="") as file:
        now = file.read()
    if now != plan.before:
        raise ConfigError(f"{plan.source}: has been changed meanwhile", hint="Nothing was made. Run the command again.")


def _relative(start: str | None, offer: Offer, config: Config, vcs: Vcs, dest: str) -> tuple[str, PathConfig | None]:
    """Return the working copy of this device that has most of the history that is offered."""
    plainly = f"To fetch all of it: autosync join LINE {shlex.quote(dest)}"
    if not offer.commits:
        raise AutosyncError(
            f'The workspace "{offer.workspace}" has no commits yet by which a repository here could be known',
            hint=plainly,
        )
    if start is not None:
        root, entry = find_working_copy(config, start)
        here = _vcs_of(root, entry)
        if here is not vcs or _trace(root, entry, config, vcs, offer) is None:
            raise AutosyncError(
                f'{root} has nothing of the history of the workspace "{offer.workspace}"', hint=f"{plainly}"
            )
        return root, entry
    found = []
    for path in config.paths:
        with contextlib.suppress(AutosyncError):
            if _vcs_of(path.path, path) is vcs and (trace := _trace(path.path, path, config, vcs, offer)) is not None:
                found.append((trace, path))
    if not found:
        raise AutosyncError(
            f'No working copy that autosync keeps here has the history of the workspace "{offer.workspace}"',
            hint=f"{plainly}. If there is one that autosync does not keep: --from PATH",
        )
    _, best = min(found, key=lambda pair: pair[0])
    return os.path.realpath(best.path), best


def _trace(root: str, entry: PathConfig | None, config: Config, vcs: Vcs, offer: Offer) -> int | None:
    return best_trace(root, vcs, entry.hg if entry else config.hg, offer.commits)


def _refuse_taken(offer: Offer, link: Link) -> None:
    """Raise if the branch of the inviter is checked out here already, in another working copy of that store."""
    is_git = link.vcs is Vcs.GIT
    name = offer.branch.removeprefix("refs/heads/") if is_git else offer.branch.partition(":")[2]
    taken = link.holder(name) if name else None
    if taken is not None:
        word = "branch" if is_git else "bookmark"
        raise AutosyncError(
            f"{offer.device_name} is on the {word} {name}, which is checked out here in {taken}",
            hint=f"A {word} is one working copy's at a time. Switch that one to another, or make a clone of its own: "
            f"autosync join LINE {shlex.quote(link.spot.dest)}",
        )
