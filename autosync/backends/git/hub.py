"""Puts snapshots and branches on the hub, any git server, and gets them from there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from autosync.backends.git.incoming import Incoming, alternates, incoming
from autosync.backends.git.network import Line, Outcome, Patience
from autosync.backends.git.objects import is_branch
from autosync.backends.git.remote import ALIAS, Remote, find_remote
from autosync.backends.git.repository import Repository
from autosync.backends.git.store import Store
from autosync.causes import error_said
from autosync.core.announcement import MAX_DEVICES, is_device_id
from autosync.core.model import CommitId, DeviceId, Snapshot, SnapshotId, WorkspaceId
from autosync.errors import AutosyncError, ConfigError, Missing, Refused, Unreachable, Unsafe

_LISTING_LIMIT = 64 << 20
"""Bytes of a listing of refs: about a million."""
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
# --no-verify and core.hooksPath: no hook of the user's runs for what we push, not for
# his branch either, since a hook may lie in the working copy (husky does) and what is
# synced must never be executed.  The server's hooks decide as ever.
_PUSH = ("push", "--porcelain", "--progress", "--no-verify")

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
_ABSENT = re.compile(
    r"couldn't find remote ref|did not send all necessary|not our ref|did not receive expected", re.IGNORECASE
)


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
        self._line = Line(repo.git, patience)

    def close(self) -> None:
        """End every command that runs."""
        self._line.close()

    def push(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Put ``snapshot`` on the hub as this device's latest.  Raises :class:`Unreachable`, :class:`Refused`."""
        self._place(find_remote(self._repo, self._remote), self._folder + _component(device), snapshot)

    def probe(self) -> None:
        """Put an empty changeset on the hub and take it away again: does it take what is ours?

        :meth:`list_hub` never shows it.  Raises :class:`Unreachable`, :class:`Refused`.
        """
        remote = find_remote(self._repo, self._remote)
        # Author and time are fixed: however often it is made, it is one object.
        nobody = {f"GIT_{who}_{what}": _PROBE[what] for who in ("AUTHOR", "COMMITTER") for what in _PROBE}
        tree = self._repo.store.run("hash-object", "-w", "-t", "tree", "--stdin", input=b"").strip()
        changeset = self._repo.store.run("commit-tree", "-m", "Can autosync write here?", tree, env=nobody).strip()
        ref = self._folder + "probe/check"
        self._place(remote, ref, changeset.decode())
        self._push(remote, ALIAS, f":{ref}")

    def _place(self, remote: Remote, ref: str, oid: str) -> None:
        """Let ``ref`` be ``oid`` on the hub, whatever it was."""
        hint = (
            f"Let the server accept {self._folder}*, or set `hub-prefix: refs/heads/autosync` "
            "for this path if it takes branches only."
        )
        reason = self._push(remote, ALIAS, f"+{oid}:{ref}")
        if reason and "non-fast-forward" in reason:
            # A server that lets no branch move back (receive.denyNonFastForwards, as
            # `git init --shared` sets it) does let it go and come anew.
            reason = self._push(remote, ALIAS, f":{ref}") or self._push(remote, ALIAS, f"+{oid}:{ref}")
        if reason:
            raise Refused(f"The hub {remote.shown} does not take {ref}: {reason}", hint=hint)

    def list_hub(self) -> Mapping[DeviceId, SnapshotId]:
        """Return the latest snapshot of every device that the hub has for this workspace.

        Whatever else it lists is passed over, and so are more devices than one version can hold.
        """
        found: dict[DeviceId, SnapshotId] = {}
        for ref, oid in self._refs(find_remote(self._repo, self._remote), self._folder + "*").items():
            device = DeviceId(unquote(ref.removeprefix(self._folder)))
            if ref.startswith(self._folder) and is_device_id(device) and len(found) < MAX_DEVICES:
                found[device] = SnapshotId(oid)
        return found

    def fetch(self, device: DeviceId, snapshot: SnapshotId) -> Snapshot:
        """Get ``snapshot`` if it is the latest of ``device``.

        Raises :class:`Missing` if the hub has not got it, or has a later one by now;
        :class:`Unreachable`, :class:`Refused`; :class:`Unsafe` for what must not be stored.
        """
        remote = find_remote(self._repo, self._remote)
        with incoming(self._repo) as arriving:
            self._fetch(remote, self._folder + _component(device), arriving)
            return arriving.admit(snapshot)

    def push_branch(self, branch: str) -> bool:
        """Push the user's branch, never forced; ``False`` if the hub has moved on.

        The remote-tracking branch follows, as when the user pushes.  His pre-push hook
        does not run.
        """
        remote = find_remote(self._repo, self._remote)
        reason = self._push(remote, remote.name, f"{_branch(branch)}:{branch}")
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
            with incoming(self._repo) as arriving:
                self._fetch(remote, branch, arriving)
                arriving.admit_changeset(tip)
        self._repo.store.run("update-ref", f"refs/autosync/hub/{branch.removeprefix('refs/')}", tip)
        return tip

    def _push(self, remote: Remote, name: str, refspec: str) -> str | None:
        """Push; return the reason why the server refused the ref, ``None`` if it is there now."""
        objects = os.fsdecode(os.path.join(self._repo.store_dir, b"objects"))
        places = {"GIT_OBJECT_DIRECTORY": objects, "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates(self._repo)}
        outcome = self._line.run([*_PUSH, name, refspec], env={**remote.environment, **places})
        if outcome.code == 0 and outcome.ended is None:
            return None
        for line in outcome.output.decode("utf-8", "replace").splitlines():
            flag, *parts = line.split("\t")
            if flag == "!" and len(parts) == 2:
                reason = "; ".join([parts[1], *_said_by_server(outcome.errors)])
                if (number := error_said(reason)) is not None:
                    raise _starved(remote, number)
                return reason
        raise self._failure(remote, outcome)

    def _fetch(self, remote: Remote, ref: str, arriving: Incoming) -> None:
        outcome = self._line.run([*_FETCH, ALIAS, ref], env={**remote.environment, **arriving.environment})
        if outcome.code != 0 or outcome.ended is not None:
            raise self._failure(remote, outcome, ref)

    def _refs(self, remote: Remote, pattern: str) -> Mapping[str, str]:
        outcome = self._line.run(["ls-remote", "--refs", ALIAS, pattern], env=remote.environment, most=_LISTING_LIMIT)
        if outcome.code != 0 or outcome.ended is not None:
            raise self._failure(remote, outcome)
        lines = (line.partition("\t") for line in outcome.output.decode("utf-8", "replace").split("\n"))
        return {ref: oid for oid, _, ref in lines if self._repo.is_id(oid)}

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
            return Missing(f"The hub {shown} does not have {ref}: {said}", hint=_LATER)
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


def _component(device: DeviceId) -> str:
    """Return ``device`` as one component of a ref (git-check-ref-format(1))."""
    return quote(device, safe="", errors="surrogateescape").replace(".", "%2E").replace("~", "%7E")


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
