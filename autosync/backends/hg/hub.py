"""Pushes branches to the hub, any hg server, and gets them from there; it holds no snapshots."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autosync.backends.git.network import Line, Outcome, Patience
from autosync.backends.hg.branches import is_branch
from autosync.backends.hg.changegroups import MANY
from autosync.backends.hg.command import ENTRY, environment, needed_settings, own_hg
from autosync.backends.hg.histories import Histories, place_of
from autosync.backends.hg.store import Store
from autosync.causes import error_said
from autosync.core.model import CommitId, DeviceId, Snapshot, SnapshotId
from autosync.errors import AutosyncError, Missing, Refused, Unreachable, Unsafe

_SAYS = "autosync-hub: "
"""What begins a line of the answer (``hgext.hubbing``)."""
_LARGEST = 1 << 30
"""Bytes of a history that is fetched."""
_REFUSED = re.compile(
    r"denied|unauthorized|forbidden|authori[sz]ation (?:failed|required)|authentication|http error 4(?!08|29)\d\d"
    r"|not found|no suitable response|host key verification failed|certificate|not trusted|does not exist"
    r"|unrelated|did not take it|hook (?:failed|exited)|push failed|ssl required|does not support push"
    r"|destination does not",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(
    r"timed out|connection (?:refused|reset|closed)|could not resolve|name or service|no route|unreachable"
    r"|http error (?:408|429|5\d\d)|broken pipe|remote end closed|stream ended unexpectedly|error: \[?errno",
    re.IGNORECASE,
)
_LATER = "It will be tried again by itself."
_ELSEWHERE = "Snapshots go to the other devices directly; a device that is always on keeps them (`mode: store`)."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hg:
    """The hg that talks to the hub, with the user's own configuration: his paths, ssh, passwords, extensions."""

    directory: bytes
    command: tuple[str, ...]

    def argv(self, args: Iterable[str | bytes], /) -> list[str | bytes]:
        """Return the whole command line."""
        settings = ("--config", f"extensions.autosync={ENTRY}", *needed_settings(self.directory))
        return [*self.command, "-R", self.directory, *settings, *args]

    def environment(self, extra: Mapping[str, str], /) -> dict[str, str]:
        """Return the environment of a command that needs ``extra`` as well."""
        return {**environment(), "SSH_ASKPASS_REQUIRE": "never", **extra}


@dataclass(slots=True)
class Answer:
    """What a command said: at which address the hub is, and its words."""

    at: str = ""
    words: list[str] = field(default_factory=list)


class Hub:
    """The hub of one working copy, for any number of threads.

    ``remote`` is a name in the section ``paths`` of its configuration or a URL, ``None`` for no hub;
    ``hg`` is the command to run, by default that of our own environment.
    """

    def __init__(
        self,
        root: bytes,
        store: Store,
        histories: Histories,
        remote: str | None,
        *,
        hg: Iterable[str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._root = root
        self._store = store
        self._histories = histories
        self._remote = remote
        self._line = Line(_Hg(directory=root, command=tuple(hg or own_hg())), patience or Patience())

    def close(self) -> None:
        """End every command that runs."""
        self._line.close()

    # -- snapshots, of which it has none ---------------------------------------------------
    def push(self, device: DeviceId, snapshot: SnapshotId) -> None:
        """Raise :class:`Refused`: no hg server takes a changeset without making it part of everybody's history."""
        raise Refused(f"A hub of Mercurial cannot hold snapshot {snapshot} of {device}", hint=_ELSEWHERE)

    def list_hub(self) -> Mapping[DeviceId, SnapshotId]:
        """Return nothing, without asking."""
        return {}

    def fetch(self, device: DeviceId, snapshot: SnapshotId) -> Snapshot:
        """Raise :class:`Missing`."""
        raise Missing(f"A hub of Mercurial cannot hold snapshot {snapshot} of {device}", hint=_ELSEWHERE)

    def probe(self) -> None:
        """Find out whether the hub answers.  Raises :class:`Unreachable`, :class:`Refused`."""
        self.ask("autosync-hub-look", "default")

    # -- branches ------------------------------------------------------------------------------
    def push_branch(self, branch: str) -> bool:
        """Push the user's branch, never forced; ``False`` if the hub has moved on.

        Only what is public already, and what an agent has committed for him, is ever published.
        Raises :class:`Refused` if anything else would go along; then nothing is pushed.
        """
        said = self.ask("autosync-hub-push", _checked(branch))
        shown, result = self.shown(said), said.words[-1].split()
        if result[0] == "private":
            count, phase, node = result[1:4]
            first = node[:12]
            changesets = "1 changeset" if count == "1" else f"{count} changesets"
            allow = f"`hg phase --draft -r {first}::.` and " if phase == "secret" else ""
            raise Refused(
                f"{branch} was not pushed to the hub {shown}: {changesets} of your own would go along, "
                f"the first is {first} ({phase})",
                hint=f"Push yourself, with {allow}`hg push -r .`, or set `commits: manual` for this path.",
            )
        return result[0] == "pushed"

    def fetch_branch(self, branch: str) -> CommitId | None:
        """Get the hub's ``branch`` into the store and return its tip, ``None`` if the hub has none.

        No lock of the user's is held meanwhile, and nothing of it shows in his repository.
        """
        with self._histories.scratch() as bundle:
            said = self.ask("autosync-hub-fetch", _checked(branch), place_of(bundle))
            result = said.words[-1].split()
            if result[0] == "none":
                return None
            tip = CommitId(result[1])
            if not self._histories.here(tip) and not self._store.has_bundle(tip):
                if os.fstat(bundle.fileno()).st_size > _LARGEST:
                    raise Unsafe(
                        f"What the hub {self.shown(said)} has of {branch} is larger than {_LARGEST} bytes",
                        hint="Get it once with `hg pull`; then only what is new is fetched.",
                    )
                self._histories.admit(tip, bundle, MANY)
        return tip

    # -- what the user follows -----------------------------------------------------------------
    def ask(self, command: str, *arguments: bytes | str) -> Answer:
        """Return what a command of ours said that talks to the hub.  Raises :class:`Unreachable`, :class:`Refused`."""
        if self._remote is None:
            raise Refused("This path has no hub", hint="Set `remote:` for it, to a path name of hg or to a URL.")
        return self._run([command, "--", self._remote, *arguments])

    def note(self, deed: str, names: Sequence[str]) -> Answer:
        """Return what the command said that adds names to those followed here, or removes them (``deed``)."""
        return self._run(["autosync-hub-subscribe", "--", deed, *names])

    def _run(self, command: Sequence[bytes | str]) -> Answer:
        outcome = self._line.run(command, env={})
        answer = Answer()
        for line in outcome.output.decode("utf-8", "replace").split("\n"):  # U+2028 may be in a name
            if line.startswith(_SAYS):
                words = line.removeprefix(_SAYS)
                if words.startswith("at "):
                    answer.at = words.removeprefix("at ")
                else:
                    answer.words.append(words)
        if outcome.code != 0 or outcome.ended is not None or not answer.words:
            raise self._failure(answer, outcome)
        return answer

    def shown(self, answer: Answer) -> str:
        """Return which hub answered, for messages; without a password."""
        remote = re.sub(r"://[^/\s@]*@", "://", self._remote or "")
        return remote if answer.at in {"", remote} else f"{remote} ({answer.at})"

    def _failure(self, answer: Answer, outcome: Outcome) -> AutosyncError | OSError:
        """Return why a command failed, in hg's words."""
        shown, said = self.shown(answer), _last_words(outcome.errors)
        if outcome.ended is not None:
            return Unreachable(f"The hub {shown} was given up: {outcome.ended}", hint=_LATER)
        if "remote:" not in said and (number := error_said(said)) is not None:
            return OSError(number, os.strerror(number), self._root)
        if answer.at.startswith("/") and not os.path.exists(answer.at):
            return Unreachable(f"The hub {shown} is not there", hint="Mount the disk it is on, or correct its address.")
        if _REFUSED.search(said) and not _UNREACHABLE.search(said):
            return Refused(
                f"The hub {shown} said no: {said}",
                hint=f"Make `hg incoming {self._remote}` and `hg push {self._remote}` work in "
                f"{os.fsdecode(self._root)} without any question asked: a password in the section auth, "
                "an ssh key in the agent, a known host key.",
            )
        return Unreachable(f"The hub {shown} cannot be reached: {said}", hint=_LATER)


def _checked(branch: str) -> str:
    if not is_branch(branch):
        raise Unsafe(f"{branch[:200]!r} is no branch", hint="Nothing was pushed or fetched.")
    return branch


def _last_words(errors: str) -> str:
    """Return the end of hg's messages without signs of life and without passwords."""
    lines = [line.strip().lstrip(".") for line in re.split(r"[\r\n]+", errors)]
    kept = [line for line in lines if line]
    return re.sub(r"://[^/\s@]*@", "://", "; ".join(kept[-6:]))[:800] or "no message"
