"""A working copy between two states, and the jobs that an agent does there, whatever version control it is under."""

from __future__ import annotations

import io
import os
import shutil
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from autosync.apply import WorkingTree
from autosync.core import events as ev
from autosync.core.commands import Commit, Fetch, Integrate, LocalCommand, Source, SourceKind, TakeSnapshot
from autosync.core.model import DeviceId, Kind, Snapshot, WorkspaceId
from autosync.errors import AutosyncError
from autosync.perform import Performer
from autosync.ports import Backend
from tests.edges.faults import Around, Fault, Watched, install, rest
from tests.edges.plain_scene import AFTER, BEFORE, EDIT, Files, standing, write

WORKSPACE = WorkspaceId("c0ffee00" * 4)
_ROUNDS = 12

ACCEPTED = (ev.SnapshotTaken, ev.Integrated, ev.CommandFailed, ev.UserBusy, ev.SnapshotFetched, ev.BranchSettled)


@dataclass(slots=True, kw_only=True)
class Scene(ABC):
    """Makes working copies below ``directory`` for the job ``name``.

    The user is at a commit with an edit of his own that is recorded, and one that is not.
    The other device has committed something, changed more, and sent it here.
    """

    directory: Path
    name: str
    ours: Snapshot = field(init=False)
    theirs: Snapshot = field(init=False)
    pack: bytes = field(init=False)
    inline: bytes = field(init=False)
    wanted: tuple[Files, str] = field(init=False)

    def __post_init__(self) -> None:
        template, other = self.directory / "template", self.directory / "other"
        write(template, {**BEFORE, "mine": (Kind.FILE, b"mine\n")})
        self.make(template)
        self.clone(template, other)
        here, there = self._agent(template, "laptop"), self._agent(other, "desktop")
        start = _snapshot(here, None)
        there.absorb(_fetch(start, here.backend.pack(start.id, limit=1 << 20) or b""))
        at_other = _snapshot(there, None)
        _replace(other, AFTER)
        self.commit_all(other)
        write(other, {"uncommitted": (Kind.FILE, b"not committed\n")})
        self.theirs = _snapshot(there, at_other)
        write(template, {"mine": (Kind.FILE, b"mine, changed\n")})
        self.ours = _snapshot(here, start)
        packed = io.BytesIO()
        there.backend.serve(self.theirs.id, [*here.backend.haves()], packed)
        self.pack = packed.getvalue()
        self.inline = there.backend.pack(self.theirs.id, limit=1 << 20, known=[self.head(template)]) or b""
        if self.name not in {"receive", "absorb", "early"}:
            here.receive(_fetch(self.theirs), lambda: here.backend.receive(self.theirs.id, io.BytesIO(self.pack)))
        for agent in (here, there):
            _close(agent)
        write(template, {"edited": (Kind.FILE, EDIT)})

    def fresh(self, number: int) -> Path:
        """Return the working copy number ``number``, as if nothing had happened."""
        root = self.directory / f"copy-{number}"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.directory / "template", root, symlinks=True)
        return root

    def calls(self) -> list[str]:
        """Return the names of the calls that the job makes undisturbed; only for a child."""
        watched = Watched()
        self.job(self.fresh(0), watched)
        return [name for name, _ in watched.calls]

    def job(self, root: Path, around: Around) -> None:
        """Do the job with ``around`` about every call; only for a child.

        After every other fault the same agent goes on by itself when the cause is gone.
        Raises :class:`AssertionError` for an error that is not deliberate, and for a
        descriptor that is left open.
        """
        before = _descriptors()
        install(around)
        agent = None
        with suppress(AutosyncError):  # the agent says so, and the user starts it again
            agent = self._agent(root, "laptop", anew=self.name == "start")
            current = agent.open()
            current = getattr(self, f"_{self.name}")(agent, current) or current
            if isinstance(around, Fault) and around.at % 2 and self.name != "commit":
                rest()
                self._go_on(agent, current)
        rest()
        if agent is not None:
            _close(agent)
        left = _descriptors() - before
        assert not left, f"left open: {left}"

    # -- the jobs -------------------------------------------------------------------------
    def _start(self, agent: Performer, current: Snapshot | None) -> Snapshot | None:
        return self._record(agent, current)

    def _record(self, agent: Performer, current: Snapshot | None) -> Snapshot | None:
        return _reached(_ask(agent, TakeSnapshot(paths=None, current=current, above=0)))

    def _integrate(self, agent: Performer, current: Snapshot | None) -> Snapshot | None:
        """Return the state that a session would know of."""
        recorded = self._record(agent, current)
        if recorded is None:
            return None
        event = _ask(agent, Integrate(current=recorded, theirs=self.theirs, exact=False, above=0))
        return _reached(event) or recorded

    def _receive(self, agent: Performer, _: Snapshot | None) -> None:
        fetched = agent.receive(
            _fetch(self.theirs), lambda: agent.backend.receive(self.theirs.id, io.BytesIO(self.pack))
        )
        assert fetched.snapshot is not None or fetched.reason, fetched

    def _absorb(self, agent: Performer, _: Snapshot | None) -> None:
        fetched = agent.absorb(_fetch(self.theirs, self.inline))
        assert fetched.snapshot is not None or fetched.reason, fetched

    def _early(self, agent: Performer, current: Snapshot | None) -> Snapshot | None:
        """Integrate what comes inline while it is in memory only."""
        reached = self._record(agent, current)

        def integrate(fetched: ev.SnapshotFetched) -> None:
            nonlocal reached
            if reached is not None and fetched.snapshot is not None:
                event = _ask(agent, Integrate(current=reached, theirs=fetched.snapshot, exact=False, above=0))
                reached = _reached(event) or reached

        fetched = agent.absorb(_fetch(self.theirs, self.inline), integrate)
        assert fetched.snapshot is not None or fetched.reason, fetched
        return reached

    def _commit(self, agent: Performer, current: Snapshot | None) -> None:
        taken = _ask(agent, TakeSnapshot(paths=None, current=current, above=0))
        if isinstance(taken, ev.SnapshotTaken) and taken.snapshot is not None:
            _ask(agent, Commit(current=taken.snapshot, above=0))

    def _tidy(self, agent: Performer, _: Snapshot | None) -> None:
        try:
            self.tidy(agent.backend)
        except OSError as error:
            assert error.errno, error  # the runner logs it and comes back later

    # -- what has to hold ------------------------------------------------------------------
    def wrong(self, root: Path) -> str | None:
        """Return what is torn, lost or in the user's way, in words."""
        allowed = ({**BEFORE, "mine": (Kind.FILE, b"mine, changed\n")}, AFTER)
        for name, found in standing(root).items():
            free = name in {"edited", "uncommitted"} or "conflict" in name
            if not free and found not in [files.get(name) for files in allowed]:
                return f"{name} is neither as before nor as after: {found}"
        if not any(content == EDIT for content in _contents(root)):
            return "what the user saved is gone"
        if self.head(root) not in (self.ours.base.commit, self.theirs.base.commit) and self.name != "commit":
            return f"{self.head(root)} is checked out"
        return None

    def finish(self, root: Path) -> str | None:
        """Go on undisturbed, as a restarted agent does; return in what the end is not as wanted."""
        agent = self._agent(root, "laptop", anew=self.name == "start")
        try:
            if self.name == "commit":
                return self._finish_commit(agent, root)
            self._go_on(agent, agent.open())
        finally:
            _close(agent)
        files = standing(root)
        if told := self.told(root):
            return f"something is staged that nobody staged: {told}"
        conflicts = [name for name in files if "conflict" in name]
        if len(conflicts) != 1 or EDIT not in {content for _, content in files.values()}:
            return f"not one conflict with the user's save in it: {sorted(files)}"
        wanted = {**AFTER, "mine": (Kind.FILE, b"mine, changed\n"), "uncommitted": (Kind.FILE, b"not committed\n")}
        plain = {name: what for name, what in files.items() if name not in {"edited", *conflicts}}
        wanted.pop("edited")
        if plain != wanted:
            return f"in the end {sorted(plain.items() ^ wanted.items())}"
        if self.head(root) != self.theirs.base.commit:
            return f"{self.head(root)} is checked out, not {self.theirs.base.commit}"
        return self.found(root)

    def _finish_commit(self, agent: Performer, root: Path) -> str | None:
        current = agent.open()
        for _ in range(_ROUNDS):
            taken = _ask(agent, TakeSnapshot(paths=None, current=current, above=0))
            current = _reached(taken) or current
            if current is not None:
                event = _ask(agent, Commit(current=current, above=0))
                current = _reached(event) or current
                if isinstance(event, ev.BranchSettled) and not agent.tree.keeps():
                    break
        else:
            return f"it does not arrive: {taken}, {event}"
        wanted = {**BEFORE, "mine": (Kind.FILE, b"mine, changed\n"), "edited": (Kind.FILE, EDIT)}
        if (files := standing(root)) != wanted:
            return f"in the end {sorted(files.items() ^ wanted.items())}"
        if status := self.status(root):
            return f"not everything is committed: {status}"
        return self.found(root)

    def found(self, root: Path) -> str | None:
        """Return what is left over or broken, in words."""
        left = self.left(root)
        return f"left: {left}" if left else self.broken(root)

    # -- what differs ----------------------------------------------------------------------
    @abstractmethod
    def make(self, root: Path) -> None:
        """Make a repository of what stands at ``root``, all of it committed."""

    @abstractmethod
    def clone(self, source: Path, root: Path) -> None:
        """Make a working copy that is a clone of another."""

    @abstractmethod
    def commit_all(self, root: Path) -> None:
        """Commit everything as the user."""

    @abstractmethod
    def head(self, root: Path) -> str:
        """Return what is checked out."""

    @abstractmethod
    def told(self, root: Path) -> list[str]:
        """Return what the version control was told of files that are not committed."""

    @abstractmethod
    def status(self, root: Path) -> str:
        """Return everything that is not committed, in the words of the version control."""

    @abstractmethod
    def left(self, root: Path) -> list[str]:
        """Return the files that should not be there any more."""

    @abstractmethod
    def broken(self, root: Path) -> str | None:
        """Return what the version control finds broken, in words."""

    @abstractmethod
    def open(self, root: Path, *, anew: bool) -> Backend:
        """Return the backend; ``anew``: learn everything about the repository again."""

    @abstractmethod
    def tidy(self, backend: Backend) -> None:
        """Let go of everything that is not needed any more."""

    # -- the agent -------------------------------------------------------------------------
    def _agent(self, root: Path, name: str, *, anew: bool = False) -> Performer:
        backend = self.open(root, anew=anew)
        try:
            tree = WorkingTree(
                backend.root,
                backend.metadata,
                standing=backend.standing,
                standings=backend.standings,
                stage=backend.stage,
                quiet=0.0,
            )
        except AutosyncError:
            backend.close()
            raise
        return Performer(backend=backend, tree=tree, device=DeviceId(f"{name}-00000001"), name=name)

    def _go_on(self, agent: Performer, current: Snapshot | None) -> None:
        """Do what a session does until all is where it has to be."""
        if agent.load(self.theirs.id) is None:
            if self.name == "early":  # what stands here is recorded as ours before it comes again
                current = _reached(_ask(agent, TakeSnapshot(paths=None, current=current, above=0))) or current
            agent.receive(_fetch(self.theirs), lambda: agent.backend.receive(self.theirs.id, io.BytesIO(self.pack)))
        for _ in range(_ROUNDS):
            taken = _ask(agent, TakeSnapshot(paths=None, current=current, above=0))
            current = getattr(taken, "current", None) or getattr(taken, "snapshot", None) or current
            if current is None:
                continue
            event = _ask(agent, Integrate(current=current, theirs=self.theirs, exact=False, above=0))
            current = getattr(event, "current", current)
            if isinstance(event, ev.Integrated) and event.complete and not agent.tree.keeps():
                return
        raise AssertionError(f"it does not arrive: {taken}, {event}")


def _reached(event: ev.Event) -> Snapshot | None:
    """Return the state that a session is at after ``event``, ``None`` if it tells of none."""
    return event.snapshot if isinstance(event, ev.SnapshotTaken) else getattr(event, "current", None)


def _ask(agent: Performer, command: LocalCommand) -> ev.Event:
    event = agent.local(command)
    assert isinstance(event, ACCEPTED), event
    if isinstance(event, ev.CommandFailed):
        assert "failed unexpectedly" not in event.title, event
        assert event.hint, event
    return event


def _snapshot(agent: Performer, current: Snapshot | None) -> Snapshot:
    if current is None:
        current = agent.open()
    while True:
        taken = agent.local(TakeSnapshot(paths=None, current=current, above=0))
        assert isinstance(taken, ev.SnapshotTaken), taken
        if not taken.torn and taken.snapshot is not None:
            return taken.snapshot
        current = taken.snapshot


def _fetch(snapshot: Snapshot, pack: bytes = b"") -> Fetch:
    kind = SourceKind.INLINE if pack else SourceKind.PEER
    return Fetch(wanted=snapshot.id, source=Source(kind=kind, device=DeviceId("desktop-00000001"), pack=pack))


def _close(agent: Performer) -> None:
    agent.tree.close()  # type: ignore[attr-defined]  # a WorkingTree
    agent.backend.close()


def _replace(root: Path, files: Files) -> None:
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path.name not in {".git", ".hg"}:
                shutil.rmtree(path)
        elif path.name != "mine":
            path.unlink()
    write(root, files)


def _descriptors() -> set[tuple[str, str]]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return {(number, name) for number, name in found if not name.endswith("/fd")}


def _contents(root: Path) -> list[bytes]:
    return [p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
