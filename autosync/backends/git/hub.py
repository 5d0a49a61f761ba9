"""Puts snapshots and branches on the hub, any git server, and gets them from there."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from autosync.backends.git.incoming import Incoming, alternates, incoming
from autosync.backends.git.leftlocks import sole_writer
from autosync.backends.git.lsrefs import list_refs
from autosync.backends.git.network import Line, Outcome, Patience
from autosync.backends.git.objects import is_branch
from autosync.backends.git.reflocks import PUSHING_LOCKS, RefLocks
from autosync.backends.git.refnames import Listing, RefNames, sort_out
from autosync.backends.git.remote import ALIAS, Remote, find_remote
from autosync.backends.git.repository import Repository
from autosync.backends.git.store import Store
from autosync.causes import error_said
from autosync.core.model import CommitId, DeviceId, Snapshot, SnapshotId, WorkspaceId
from autosync.errors import AutosyncError, ConfigError, Missing, Refused, Unreachable, Unsafe

log = logging.getLogger(__name__)

T = TypeVar("T")

_FETCH = (
    "fetch",
    "--progress",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-write-commit-graph",
    "--no-auto-maintenance",
    "--no-recurse-submodules",
    "--no-show-forced-updates",
    "--refmap=",
)
_STORE_NOT_OFFERED = ("-c", "core.alternateRefsPrefixes=refs/heads/none")
"""What the user's own refs hold is whole, whatever he prunes; a pin of the store may build on what is gone."""
# --no-verify and core.hooksPath: no hook of the user's runs for what we push, not for
# his branch either, since a hook may lie in the working copy (husky does) and what is
# synced must never be executed.  The server's hooks decide as ever.
_PUSH = ("push", "--porcelain", "--progress", "--no-verify")

_AT_ONCE = 64
"""Refs of its own that a device takes away with one push."""

_PROBE_REF = "probe/check"
_PROBE = {"NAME": "autosync", "EMAIL": "autosync@localhost", "DATE": "1000000000 +0000"}
_OVERTAKEN = ("fetch first", "non-fast-forward", "needs force", "cannot lock ref", "incorrect old value")
_REFUSED = re.compile(
    r"denied|unauthorized|forbidden|authentication failed|could not read (?:username|password)|prompts disabled"
    r"|returned error: 4(?!08|29)\d\d|not found|host key verification failed|certificate|dubious ownership"
    r"|does not appear to be a git repository|insufficient permission|not exported|invalid refspec",
    re.IGNORECASE,
)
_UNSAFE = re.compile(r"fsck error|index-pack failed|index-pack abnormal|bad pack|inflate", re.IGNORECASE)
_CUT_OFF = re.compile(r"early EOF|hung up|disconnect|reset by peer|broken pipe", re.IGNORECASE)
_STUCK = re.compile(r"cannot lock ref|unable to update local ref|some local refs could not be updated", re.IGNORECASE)
_ABSENT = re.compile(r"couldn't find remote ref|not our ref", re.IGNORECASE)
_INCOMPLETE = re.compile(r"did not send all necessary|did not receive expected", re.IGNORECASE)


class _Absent(Missing):
    """The hub has nothing of this name; asking it in another way brings nothing."""


class Hub:
    """The hub of one working copy, for any number of threads.

    Commands run in the user's repository, so that every setting of his counts just as when
    he runs git there himself, ``includeIf`` included; our objects come in by the
    environment, and the hub under another name (:mod:`~autosync.backends.git.remote`),
    so that none of his refs moves.  Nothing ever prompts.
    """

    def __init__(
        self,
        repo: Repository,
        store: Store,
        workspace: WorkspaceId,
        remote: str | None,
        prefix: str,
        *,
        names: RefNames,
        patience: Patience,
    ) -> None:
        if not prefix.startswith("refs/") or not is_branch(f"refs/heads/{prefix}"):
            raise ConfigError(
                f"hub-prefix {prefix!r} cannot hold refs", hint="Use refs/autosync or refs/heads/autosync."
            )
        self._repo = repo
        self._store = store
        self._remote = remote
        self._folder = f"{prefix}/{workspace}/"
        self._names = names
        self._line = Line(repo.git, patience)
        self._ref_locks = RefLocks(repo, PUSHING_LOCKS)
        self._listing: Listing | None = None
        """As the hub was seen last."""
        self._told_of = False

    def close(self) -> None:
        """End every command that runs."""
        self._line.close()

    def push(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Put ``snapshot`` on the hub as this device's latest.  Raises :class:`Unreachable`, :class:`Refused`."""
        remote = find_remote(self._repo, self._remote)
        for again in (False, True):
            listing = self._list(remote) if again or self._listing is None else self._listing
            own = listing.every.get(device, ())
            ref = self._folder + self._names.make(device, snapshot)
            refused = self._push_refs(remote, ALIAS, f"+{snapshot}:{ref}", *(f":{old}" for old in own[:_AT_ONCE]))
            if refused is not None:
                break
        else:
            raise Unreachable(f"The refs of the hub {remote.shown} change all the time", hint=_LATER)
        if ref in refused:
            raise self._not_taken(remote, ref, refused[ref])
        left = [old for old in own if old in refused or old in own[_AT_ONCE:]]
        self._listing = Listing(
            newest={**listing.newest, device: (ref, snapshot)},
            every={**listing.every, device: [*left, ref]},
            strange=listing.strange,
        )

    def probe(self) -> None:
        """Put an empty changeset on the hub and take it away again: does it take what is ours?

        :meth:`list_hub` never shows it.  Raises :class:`Unreachable`, :class:`Refused`.
        """
        remote = find_remote(self._repo, self._remote)
        # Author and time are fixed: however often it is made, it is one object.
        nobody = {f"GIT_{who}_{what}": _PROBE[what] for who in ("AUTHOR", "COMMITTER") for what in _PROBE}
        tree = self._repo.store.run("hash-object", "-w", "-t", "tree", "--stdin", input=b"").strip()
        changeset = self._repo.store.run("commit-tree", "-m", "Can autosync write here?", tree, env=nobody).strip()
        ref = self._folder + _PROBE_REF
        self._place(remote, ref, changeset.decode())
        self._push(remote, ALIAS, f":{ref}")

    def _place(self, remote: Remote, ref: str, oid: str) -> None:
        """Let ``ref`` be ``oid`` on the hub, whatever it was."""
        reason = self._push(remote, ALIAS, f"+{oid}:{ref}")
        if reason and "non-fast-forward" in reason:
            # A server that lets no branch move back (receive.denyNonFastForwards, as
            # `git init --shared` sets it) does let it go and come anew.
            reason = self._push(remote, ALIAS, f":{ref}") or self._push(remote, ALIAS, f"+{oid}:{ref}")
        if reason:
            raise self._not_taken(remote, ref, reason)

    def _not_taken(self, remote: Remote, ref: str, reason: str) -> Refused:
        return Refused(
            f"The hub {remote.shown} does not take {ref}: {reason}",
            hint=f"Let the server accept {self._folder}*, or set `hub-prefix: refs/heads/autosync` "
            "for this path if it takes branches only.",
        )

    def list_hub(self) -> Mapping[DeviceId, SnapshotId]:
        """Return the latest snapshot of every device that the hub has for this workspace.

        Whatever else it lists is passed over, and so are more devices than one version can hold.
        """
        listing = self._list(find_remote(self._repo, self._remote))
        return {device: snapshot for device, (_, snapshot) in listing.newest.items()}

    def _list(self, remote: Remote) -> Listing:
        refs = dict(self._refs(remote, self._folder + "*"))
        refs.pop(self._folder + _PROBE_REF, None)  # of a check that goes on, or was killed
        listing = sort_out(refs, self._folder, self._names)
        if listing.strange and not self._told_of:
            self._told_of = True
            # Also what a device has put there that was away while the key changed, or that has the next key already.
            log.warning(
                "%s: refs in the workspace's place that no key known here fits, passed over: %d",
                remote.shown,
                listing.strange,
            )
        self._listing = listing
        return listing

    def fetch(self, device: DeviceId, snapshot: SnapshotId) -> Snapshot:
        """Get ``snapshot`` if it is the latest of ``device``.

        Raises :class:`Missing` if the hub has not got it, or has a later one by now;
        :class:`Unreachable`, :class:`Refused`; :class:`Unsafe` for what must not be stored.
        """
        remote = find_remote(self._repo, self._remote)
        known = self._listing.newest.get(device) if self._listing is not None else None
        if known is None or known[1] != snapshot:
            known = self._list(remote).newest.get(device)
        if known is None or known[1] != snapshot:
            raise Missing(f"The hub {remote.shown} does not have {snapshot} as the latest of {device}", hint=_LATER)
        return self._take_in(remote, known[0], lambda arriving: arriving.admit(snapshot))

    def push_branch(self, branch: str) -> bool:
        """Push the user's branch, never forced; ``False`` if the hub has moved on.

        The remote-tracking branch follows, as when the user pushes.  His pre-push hook
        does not run.
        """
        remote = find_remote(self._repo, self._remote)
        short = _branch(branch).removeprefix("refs/heads/")
        tracking = os.path.join(self._repo.common_dir, os.fsencode(f"refs/remotes/{remote.name}/{short}.lock"))
        with self._ref_locks.expected([tracking]):
            reason = self._push(remote, remote.name, f"{branch}:{branch}")
        if reason is None:
            return True
        if any(sign in reason for sign in _OVERTAKEN):
            return False
        raise Refused(
            f"The hub {remote.shown} does not take {branch}: {reason}",
            hint="Push it by hand once to see why, or set `commits: manual` for this path.",
        )

    def fetch_branch(self, branch: str) -> CommitId | None:
        """Get the hub's ``branch`` into the store, kept by a ref there, and return its tip."""
        remote = find_remote(self._repo, self._remote)
        oid = self._refs(remote, _branch(branch)).get(branch)
        if oid is None:
            return None
        tip = CommitId(oid)
        if not self._store.has_commit(tip):
            self._take_in(remote, branch, lambda arriving: arriving.admit_changeset(tip))
        ref = f"refs/autosync/hub/{branch.removeprefix('refs/')}"
        lock = os.path.join(self._repo.store_dir, os.fsencode(ref) + b".lock")
        with sole_writer(self._repo, [lock], wait=True):
            self._repo.store.run("update-ref", ref, tip)
        return tip

    # -- what the user follows -------------------------------------------------------------
    def remote_name(self) -> str:
        """Return what the user calls the hub.  Raises :class:`Refused` if it has an address only."""
        remote = find_remote(self._repo, self._remote)
        if remote.name == ALIAS:
            raise Refused(
                f"The hub {remote.shown} has no name here, so its branches have no place either",
                hint="Give it one with `git remote add NAME URL`, and set `remote:` for this path to NAME.",
            )
        return remote.name

    def refs(self, *patterns: str) -> Mapping[str, str]:
        """Return the ids of the hub's refs of these names; one that ends with ``*`` means all that begin so."""
        return self._refs(find_remote(self._repo, self._remote), *patterns)

    def fetch_tracking(self, refspecs: Sequence[str]) -> None:
        """Fetch into the user's repository; a ref of his that cannot be moved stays as it is."""
        remote = find_remote(self._repo, self._remote)
        outcome = self._line.run([*_FETCH, ALIAS, *refspecs], env=remote.environment)
        if outcome.ended is not None or (outcome.code != 0 and not _STUCK.search(outcome.errors)):
            raise self._failure(remote, outcome)

    def _push(self, remote: Remote, name: str, refspec: str) -> str | None:
        """Push; return the reason why the server refused the ref, ``None`` if it is there now."""
        refused = self._push_refs(remote, name, refspec)
        if refused is None:
            return "it is not there"
        return next(iter(refused.values()), None)

    def _push_refs(self, remote: Remote, name: str, *refspecs: str) -> Mapping[str, str] | None:
        """Push; return why the server refused which ref, ``None`` if one that was to go is not there any more."""
        objects = os.fsdecode(os.path.join(self._repo.store_dir, b"objects"))
        places = {"GIT_OBJECT_DIRECTORY": objects, "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates(self._repo)}
        outcome = self._line.run([*_PUSH, name, *refspecs], env={**remote.environment, **places})
        if outcome.code == 0 and outcome.ended is None:
            return {}
        refused: dict[str, str] = {}
        for line in outcome.output.decode("utf-8", "replace").splitlines():
            flag, *parts = line.split("\t")
            if flag == "!" and len(parts) == 2:
                reason = "; ".join([parts[1], *_said_by_server(outcome.errors)])
                if (number := error_said(reason)) is not None:
                    raise _starved(remote, number)
                refused[parts[0].rpartition(":")[2]] = reason
        if not refused and outcome.ended is None and "remote ref does not exist" in outcome.errors:
            return None
        if not refused:
            raise self._failure(remote, outcome)
        return refused

    def _take_in(self, remote: Remote, ref: str, admit: Callable[[Incoming], T]) -> T:
        try:
            with incoming(self._repo) as arriving:
                self._fetch(remote, ref, arriving)
                return admit(arriving)
        except _Absent:
            raise
        except Missing:
            with incoming(self._repo) as arriving:
                self._fetch(remote, ref, arriving, options=_STORE_NOT_OFFERED)
                return admit(arriving)

    def _fetch(self, remote: Remote, ref: str, arriving: Incoming, *, options: Sequence[str] = ()) -> None:
        command = [*options, *_FETCH, ALIAS, ref]
        outcome = self._line.run(command, env={**remote.environment, **arriving.environment})
        if outcome.code != 0 or outcome.ended is not None:
            raise self._failure(remote, outcome, ref)

    def _refs(self, remote: Remote, *patterns: str) -> Mapping[str, str]:
        outcome, refs = list_refs(self._line, remote, patterns)
        if refs is None:
            raise self._failure(remote, outcome)
        return {ref: oid for ref, oid in refs.items() if self._repo.is_id(oid)}

    def _failure(self, remote: Remote, outcome: Outcome, ref: str = "") -> AutosyncError | OSError:
        """Return what the last words of a git that failed mean."""
        shown, said = remote.shown, _last_words(outcome.errors)
        if outcome.ended is not None:
            return Unreachable(f"The hub {shown} was given up: {outcome.ended}", hint=_LATER)
        if (number := error_said("\n".join(_said_by_server(outcome.errors)))) is not None:
            return _starved(remote, number)
        if (number := error_said(said)) is not None:
            return OSError(number, os.strerror(number), self._repo.store_dir)
        if _ABSENT.search(said):
            return _Absent(f"The hub {shown} does not have {ref}: {said}", hint=_LATER)
        if _INCOMPLETE.search(said):
            return Missing(f"The hub {shown} does not have all of {ref}: {said}", hint=_LATER)
        if remote.local_path is not None and not os.path.exists(remote.local_path):
            return Unreachable(f"The hub {shown} is not there", hint="Mount the disk it is on, or correct its URL.")
        if _UNSAFE.search(said) and not _CUT_OFF.search(said):
            return Unsafe(f"What the hub {shown} has as {ref} was refused: {said}", hint="Nothing of it was stored.")
        if _REFUSED.search(said):
            return Refused(
                f"The hub {shown} said no: {said}",
                hint=f"Make `git ls-remote {remote.name}` and `git push {remote.name}` work in "
                f"{os.fsdecode(self._repo.root)} without any question asked: a credential helper, "
                "an ssh key in the agent, a known host key.",
            )
        return Unreachable(f"The hub {shown} cannot be reached: {said}", hint=_LATER)


_LATER = "It will be tried again by itself."


def _starved(remote: Remote, number: int) -> Unreachable:
    """Return what to tell when the server has no room, or another error(3) that it can only mend there."""
    return Unreachable(
        f"The hub {remote.shown} cannot store anything: {os.strerror(number)}",
        hint=f"Make room there, or ask who runs it; the other devices are reached directly meanwhile. {_LATER}",
    )


def _branch(branch: str) -> str:
    if not is_branch(branch):
        raise Unsafe(f"{branch[:200]!r} is no branch", hint="Nothing was pushed or fetched.")
    return branch


def _said_by_server(errors: str) -> Sequence[str]:
    """Return what the server's hooks printed, without progress."""
    lines = [line.removeprefix("remote:").strip() for line in errors.splitlines() if line.startswith("remote:")]
    return [line for line in lines if line and "%" not in line][-4:]


def _last_words(errors: str) -> str:
    """Return the end of git's messages without progress and without passwords."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", errors)]
    kept = [line for line in lines if line and not re.search(r"\d+% \(|^(?:remote: )?Enumerating|^From |^To ", line)]
    return re.sub(r"://[^/\s@]*@", "://", "; ".join(kept[-6:]))[:800] or "no message"
