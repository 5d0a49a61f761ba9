"""Bugs that are planted one by one: the simulator finds every one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from autosync.backends.memory import MemoryWorkingCopy
from autosync.backends.shelf import Shelf
from autosync.core import diff3, sources
from autosync.core import events as ev
from autosync.core import plan as plan_module
from autosync.core.announcement import ReplayGuard
from autosync.core.debounce import Debouncer
from autosync.core.model import Order, Snapshot, Version
from autosync.core.session import Session
from autosync.history import History
from autosync.integrate import Integrator
from autosync.perform import Performer
from autosync.simulation.deeds import draw
from autosync.simulation.run import run
from autosync.simulation.shrink import shrink
from tests.figures import record

pytestmark = pytest.mark.timeout(900)  # thousands of cases

SEEDS = 300
"""Seeds within which each has to be found."""
OPS = 12

Plant = Callable[[pytest.MonkeyPatch], None]


def skip_the_compare(patch: pytest.MonkeyPatch) -> None:
    """A file is replaced even if it is not what it was when that was planned."""
    obstacle = MemoryWorkingCopy._obstacle

    def careless(self: MemoryWorkingCopy, operation: Any, done: Any) -> str:
        reason = obstacle(self, operation, done)
        return "" if reason.startswith("it is not what it was") else reason

    patch.setattr(MemoryWorkingCopy, "_obstacle", careless)


def take_refused_for_done(patch: pytest.MonkeyPatch) -> None:
    """What could not be replaced counts as replaced."""
    apply = Integrator._apply

    def hopeful(self: Integrator, attempt: Any, target: Snapshot) -> bool:
        apply(self, attempt, target)
        return True

    patch.setattr(Integrator, "_apply", hopeful)


def announce_before_store(patch: pytest.MonkeyPatch) -> None:
    """A state is announced at once and kept only when the next one comes."""
    stand_at = Performer._stand_at

    def late(self: Performer, snapshot: Snapshot) -> None:
        waiting: Snapshot | None = getattr(self, "waiting", None)
        self.waiting = snapshot  # type: ignore[attr-defined]  # the mutant's own
        if waiting is not None:
            stand_at(self, waiting)

    patch.setattr(Performer, "_stand_at", late)
    patch.setattr(Performer, "_now_at", lambda *_: None)


def drop_queued_hints(patch: pytest.MonkeyPatch) -> None:
    """What the watcher tells while files are applied is forgotten."""
    handle = Session.handle

    def deaf(self: Session, event: ev.Event, now: float) -> list[Any]:
        if isinstance(event, ev.PathsChanged) and self.status().phase == "applying":
            event = replace(event, hints=())
        return handle(self, event, now)

    patch.setattr(Session, "handle", deaf)


def forget_the_other_parent(patch: pytest.MonkeyPatch) -> None:
    """A merge has the version of one of its parents only."""
    patch.setattr(Version, "join", lambda self, _other: self)


def take_clocks_for_order(patch: pytest.MonkeyPatch) -> None:
    """The later time stamp wins."""

    def by_clock(ours: Snapshot, theirs: Snapshot) -> Order:
        if ours.id == theirs.id:
            return Order.EQUAL
        return Order.BEFORE if (ours.time, ours.id) < (theirs.time, theirs.id) else Order.AFTER

    patch.setattr("autosync.integrate.relate", by_clock)
    patch.setattr(sources, "relate", by_clock)


def forget_deletions(patch: pytest.MonkeyPatch) -> None:
    """A merge leaves out what one side deleted."""
    merge = plan_module.merge_trees

    def forgetful(ours: Any, theirs: Any, **rest: Any) -> Any:
        return merge([c for c in ours if c.new is not None], [c for c in theirs if c.new is not None], **rest)

    patch.setattr("autosync.integrate.merge_trees", forgetful)


def drop_the_loser(patch: pytest.MonkeyPatch) -> None:
    """Of two versions that cannot be merged the losing one gets no copy."""
    merge = plan_module.merge_trees

    def ruthless(*args: Any, **rest: Any) -> Any:
        merged = merge(*args, **rest)
        copies = {conflict.copy for conflict in merged.conflicts}
        return replace(merged, edits={p: e for p, e in merged.edits.items() if p not in copies})

    patch.setattr("autosync.integrate.merge_trees", ruthless)


def lose_lines(patch: pytest.MonkeyPatch) -> None:
    """A merge of two texts is one of them."""
    merge = diff3.merge

    def sloppy(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        merged = merge(base, ours, theirs)
        return None if merged is None else max(ours, theirs)

    patch.setattr(diff3, "merge", sloppy)


def unpin_too_early(patch: pytest.MonkeyPatch) -> None:
    """Tidying lets go of all that is not needed at this moment."""
    patch.setattr("autosync.history.surplus", lambda kept, *_args, **_rest: tuple(kept))


def take_an_echo_for_an_edit(patch: pytest.MonkeyPatch) -> None:
    """Whatever is looked at is recorded once more."""
    take = Performer._take

    def loud(self: Performer, command: Any) -> Any:
        event = take(self, command)
        before = command.current
        if not isinstance(event, ev.SnapshotTaken) or event.changed or before is None:
            return event
        again = self.backend.record(
            tree=before.tree,
            base=before.base,
            version=before.version.bump(self.device, above=command.above),
            parents=(before.id,),
            device=self.name,
            time=0,
        )
        self._stand_at(again)
        return replace(event, snapshot=again, changed=True)

    patch.setattr(Performer, "_take", loud)


def accept_older_announcements(patch: pytest.MonkeyPatch) -> None:
    """The last announcement that arrives counts, not the last one that was made."""
    patch.setattr(ReplayGuard, "accept", lambda *_: True)


def forget_where_it_was(patch: pytest.MonkeyPatch) -> None:
    """An agent that starts does not know its last state."""
    patch.setattr(History, "open", lambda _self: None)


def never_look_again(patch: pytest.MonkeyPatch) -> None:
    """What was being written when it was looked at, or could not be replaced, is not looked at again."""
    patch.setattr(Debouncer, "retry", lambda *_: None)


def forget_refusals(patch: pytest.MonkeyPatch) -> None:
    """That two branches cannot be joined is not remembered."""
    patch.setattr(sources.Peers, "refused", lambda *_: None)


def let_a_store_look(patch: pytest.MonkeyPatch) -> None:
    """A store takes the folder in which it has no files for its working copy."""
    patch.setattr(Shelf, "__init__", _with_eyes(Shelf.__init__))


def _with_eyes(init: Callable[..., None]) -> Callable[..., None]:
    def seeing(self: Any, inner: Any) -> None:
        init(self, inner)
        self.read = inner.read

    return seeing


MUTANTS: Mapping[str, Plant] = {
    plant.__name__: plant
    for plant in (
        skip_the_compare,
        take_refused_for_done,
        announce_before_store,
        drop_queued_hints,
        forget_the_other_parent,
        take_clocks_for_order,
        forget_deletions,
        drop_the_loser,
        lose_lines,
        unpin_too_early,
        take_an_echo_for_an_edit,
        accept_older_announcements,
        forget_where_it_was,
        never_look_again,
        forget_refusals,
        let_a_store_look,
    )
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    found = next((o for seed in range(SEEDS) if (o := run(draw(seed, ops=OPS))).broken), None)
    assert found is not None, f"{name} lived through {SEEDS} seeds"
    record("mutants caught", 1)
    print(f"\n{name}: seed {found.script.seed}: {found.broken}")


def test_a_failure_becomes_small(monkeypatch: pytest.MonkeyPatch) -> None:
    drop_the_loser(monkeypatch)
    found = next(o for seed in range(SEEDS) if (o := run(draw(seed, ops=OPS))).broken)
    small = shrink(found.script, lambda script: run(script).broken == found.broken)
    assert run(small).broken == found.broken
    assert 2 <= len(small.acts) <= 4, [str(act) for act in small.acts]
    assert small.loss == 0.0
