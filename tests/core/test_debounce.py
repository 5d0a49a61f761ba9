"""Debouncer: when each path may be looked at."""

from __future__ import annotations

import gc
import math
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from autosync.core.debounce import BURST, Debouncer
from autosync.core.events import PathHint, Touch
from autosync.core.model import RelPath, parent_directories

A, B, C, D, G, M, W = (
    Touch.ATTRIBUTES,
    Touch.SUBTREE,
    Touch.CREATED,
    Touch.CLOSED,
    Touch.GONE,
    Touch.MOVED_IN,
    Touch.WRITTEN,
)
SETTLE, MAX_WAIT, BURST_WAIT, UNFINISHED_WAIT = 0.05, 2.0, 0.5, 5.0


def rel(text: str) -> RelPath:
    return RelPath(text.encode())


def hint(path: str, touch: Touch, *, fresh: bool = False, source: str | None = None) -> PathHint:
    return PathHint(path=rel(path), touch=touch, fresh_source=fresh, source=None if source is None else rel(source))


def note(debouncer: Debouncer, now: float, path: str, *touches: Touch) -> None:
    for touch in touches:
        debouncer.note(hint(path, touch), now)


def looks(debouncer: Debouncer, until: float = math.inf) -> list[tuple[float, set[str]]]:
    """Follow the deadlines and return what leaves when, times rounded to a millisecond."""
    seen = []
    while (time := debouncer.deadline()) is not None and time <= until:
        seen.append((round(time, 3), {path.decode() for path in debouncer.due(time)}))
    return seen


def due(debouncer: Debouncer, now: float) -> set[str]:
    return {path.decode() for path in debouncer.due(now)}


def test_nothing_is_due_of_nothing() -> None:
    debouncer = Debouncer()
    assert debouncer.deadline() is None
    assert debouncer.due(99.0) == frozenset()
    assert debouncer.pending() == 0


def test_an_old_file_written_and_closed_leaves_at_once() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", W, W, D)
    assert debouncer.deadline() == 1.0
    assert due(debouncer, 1.0) == {"f"}
    assert debouncer.pending() == 0


def test_a_replaced_file_leaves_at_once_with_its_old_name() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f.tmp", C, W, D, G)
    debouncer.note(hint("f", M, fresh=True, source="f.tmp"), 1.0)
    assert due(debouncer, 1.0) == {"f", "f.tmp"}


def test_the_old_name_stays_behind_if_something_new_stands_there() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "a", G)
    debouncer.note(hint("b", M, fresh=True, source="a"), 1.0)
    note(debouncer, 1.0, "a", C)
    assert due(debouncer, 1.0) == {"b"}
    assert debouncer.pending() == 1


def test_a_rename_of_an_old_file_is_seen_whole_after_settling() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "a", G)
    debouncer.note(hint("b", M, source="a"), 1.02)
    assert looks(debouncer) == [(1.07, {"a", "b"})]


def test_a_new_file_that_was_closed_waits_since_it_may_be_temporary() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", C, W, D)
    assert looks(debouncer) == [(1.05, {"f"})]


def test_a_file_renamed_away_and_written_anew_leaves_at_once() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", G, C, W, D)
    assert due(debouncer, 1.0) == {"f"}


def test_a_file_made_deleted_and_made_again_is_still_a_new_one() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", C, D, G, C, D)
    assert looks(debouncer) == [(1.05, {"f"})]


def test_a_file_made_and_deleted_is_looked_at_once_it_is_quiet() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", C, D, G)
    assert looks(debouncer) == [(1.05, {"f"})]


@pytest.mark.parametrize("touch", [G, M, W, A, B])
def test_what_may_go_on_waits_until_it_is_quiet(touch: Touch) -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", touch)
    note(debouncer, 1.03, "f", touch)
    assert due(debouncer, 1.07) == set()
    assert looks(debouncer) == [(1.08, {"f"})]


def test_a_completed_file_that_is_opened_again_is_not_complete() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", W, D, W)
    assert looks(debouncer) == [(1.05, {"f"})]


def test_a_change_of_mode_does_not_undo_completeness() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", W, D, A)
    assert due(debouncer, 1.0) == {"f"}


def test_a_new_file_that_is_open_waits_until_it_is_closed() -> None:
    debouncer = Debouncer()
    note(debouncer, 0.0, "download", C)
    for step in range(1, 31):
        note(debouncer, step / 10, "download", W)
        assert due(debouncer, step / 10) == set()
    note(debouncer, 3.1, "download", D)
    assert looks(debouncer) == [(3.15, {"download"})]


def test_a_new_file_that_stays_open_is_looked_at_in_the_end() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "log", C, W)
    assert looks(debouncer) == [(6.0, {"log"})]


def test_a_new_file_that_nobody_writes_to_is_looked_at_soon() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "lock", C)
    assert looks(debouncer) == [(1.5, {"lock"})]


def test_a_file_written_without_pause_leaves_at_the_latest_after_the_longest_wait() -> None:
    debouncer = Debouncer()
    left = []
    for step in range(0, 100):
        now = step * 0.04
        note(debouncer, now, "log", W)
        left += [now for _ in debouncer.due(now)]
    assert left == [2.0]


def test_a_file_saved_over_and_over_leaves_ever_less_often() -> None:
    debouncer = Debouncer()
    left = []
    for step in range(0, 1200):
        now = step * 0.01
        note(debouncer, now, "f", W, D)
        left += [now for _ in debouncer.due(now)]
    gaps = [round(b - a, 2) for a, b in pairwise(left)]
    assert gaps == pytest.approx([0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0], abs=0.011)


def test_a_save_after_a_quiet_time_leaves_at_once_again() -> None:
    debouncer = Debouncer()
    for step in range(0, 100):
        note(debouncer, step * 0.01, "f", W, D)
        debouncer.due(step * 0.01)
    looks(debouncer)
    note(debouncer, 9.0, "f", W, D)
    assert due(debouncer, 9.0) == {"f"}
    note(debouncer, 9.6, "f", W, D)
    assert due(debouncer, 9.6) == {"f"}


def test_saves_a_moment_apart_each_leave_at_once() -> None:
    debouncer = Debouncer()
    for now in (1.0, 1.2, 1.4):
        note(debouncer, now, "f", W, D)
        assert due(debouncer, now) == {"f"}


def test_a_lone_save_is_not_held_back_by_a_busy_path() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "download", C, W)
    note(debouncer, 1.0, "log", W)
    note(debouncer, 1.0, "f", W, D)
    assert due(debouncer, 1.0) == {"f"}


def test_a_lone_save_is_not_held_back_by_a_burst() -> None:
    debouncer = Debouncer()
    for n in range(100):
        note(debouncer, 1.0, f"new/{n}", C, D)
    note(debouncer, 1.0, "new/f", W, D)
    assert due(debouncer, 1.0) == {"new/f"}


def test_a_burst_leaves_together_once_it_is_quiet() -> None:
    debouncer = Debouncer()
    for n in range(40):
        note(debouncer, 1.0 + n * 0.003, f"{n}", C, W, D)
        assert n <= BURST or due(debouncer, 1.0 + n * 0.003) == set()
    assert looks(debouncer) == [(1.167, {str(n) for n in range(40)})]


def test_a_burst_that_goes_on_leaves_in_parts_without_the_file_that_is_open() -> None:
    debouncer = Debouncer()
    seen = []
    for n in range(1000):
        now = n * 0.001
        note(debouncer, now, f"{n}", C, W)
        if paths := debouncer.due(now):
            seen.append((now, len(paths)))
        note(debouncer, now, f"{n}", D)
    seen += [(time, len(paths)) for time, paths in looks(debouncer)]
    assert seen == [(0.5, 500), (pytest.approx(1.0), 500)]


def test_a_new_directory_waits_for_what_happens_below_it() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "d", B)
    note(debouncer, 1.04, "d/e/f", C, D)
    assert due(debouncer, 1.06) == set()
    assert looks(debouncer) == [(1.09, {"d"})]


def test_a_new_directory_waits_for_the_unfinished_file_below_it() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "d", B)
    note(debouncer, 1.01, "d/e/f", C, W)
    assert due(debouncer, 4.0) == set()
    note(debouncer, 4.0, "d/e/f", D)
    assert looks(debouncer) == [(4.05, {"d"})]


def test_a_directory_over_a_file_that_stays_open_leaves_in_the_end() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "", B)
    note(debouncer, 1.0, "f", C, W)
    assert looks(debouncer) == [(6.0, {""})]


def test_a_replaced_file_in_a_new_directory_does_not_wait_for_it() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "d", B)
    debouncer.note(hint("d/f", M, fresh=True), 1.0)
    assert due(debouncer, 1.0) == {"d/f"}
    assert looks(debouncer) == [(1.05, {"d"})]


def test_a_file_in_a_new_directory_is_a_new_one_though_its_creation_went_unseen() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "d", B)
    note(debouncer, 1.0, "d/f", W)
    assert due(debouncer, 3.0) == set()
    note(debouncer, 3.0, "d/f", D)
    assert looks(debouncer) == [(3.05, {"d"})]


def test_a_backup_made_by_a_rename_waits_until_the_new_content_is_written() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", G)
    debouncer.note(hint("f.bak", M, source="f"), 1.0)
    note(debouncer, 1.0, "f", C, W)
    assert due(debouncer, 1.2) == set()
    note(debouncer, 1.2, "f", D)
    assert due(debouncer, 1.2) == {"f"}
    note(debouncer, 1.21, "f.bak", G)
    assert looks(debouncer) == [(1.26, {"f.bak"})]


def test_a_backup_made_by_copying_waits_until_the_new_content_is_written() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f~", C, W, D)
    note(debouncer, 1.01, "f", W)
    note(debouncer, 1.05, "f", W)
    assert due(debouncer, 1.08) == set()
    note(debouncer, 1.09, "f", D)
    assert due(debouncer, 1.09) == {"f"}
    assert looks(debouncer) == [(1.14, {"f~"})]


def test_a_backup_does_not_wait_longer_than_a_new_file_would() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", G)
    debouncer.note(hint("f~", M, source="f"), 1.0)
    note(debouncer, 1.0, "f", C, W)
    assert looks(debouncer) == [(6.0, {"f", "f~"})]


def test_a_torn_file_is_looked_at_again_after_growing_pauses() -> None:
    debouncer = Debouncer()
    note(debouncer, 0.0, "f", W, D)
    now, gaps = 0.0, []
    for _ in range(8):
        assert due(debouncer, now) == {"f"}
        debouncer.retry({rel("f")}, now)
        then = debouncer.deadline()
        assert then is not None
        gaps.append(round(then - now, 3))
        now = then
    assert gaps == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_a_torn_file_that_is_closed_leaves_at_once() -> None:
    debouncer = Debouncer()
    for now in (0.0, 0.05, 0.15, 0.35):
        debouncer.retry({rel("f")}, now)
        debouncer.due(debouncer.deadline() or 0.0)
    debouncer.retry({rel("f")}, 0.8)
    note(debouncer, 0.9, "f", W, D)
    assert due(debouncer, 0.9) == {"f"}


def test_a_file_closed_while_it_was_looked_at_needs_no_pause() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "f", W, D)
    assert due(debouncer, 1.0) == {"f"}
    note(debouncer, 1.01, "f", W, D)
    debouncer.retry({rel("f")}, 1.01)
    assert due(debouncer, 1.01) == {"f"}


def test_flush_returns_everything_and_forgets_it() -> None:
    debouncer = Debouncer()
    note(debouncer, 1.0, "a", C, W)
    note(debouncer, 1.0, "b", D)
    note(debouncer, 1.0, "d", B)
    note(debouncer, 1.0, "d/f", G)
    assert debouncer.flush() == {rel("a"), rel("b"), rel("d")}
    assert (debouncer.pending(), debouncer.deadline(), debouncer.due(9.0)) == (0, None, frozenset())


def test_too_many_paths_are_named_by_their_directories() -> None:
    debouncer = Debouncer(capacity=1000)
    for n in range(20_000):
        note(debouncer, 1.0, f"d{n % 7}/{n}", C, D)
        assert debouncer.pending() <= 1000
    (_, paths), *more = looks(debouncer)
    assert paths >= {f"d{n}" for n in range(7)}
    assert more == []


def test_a_note_costs_the_same_however_many_wait() -> None:
    """Counted in calls, which no other process can disturb."""

    def calls(waiting: int) -> int:
        debouncer = Debouncer(capacity=100_000)
        for n in range(waiting):
            note(debouncer, 1.0, f"d/{n}", C, D)
        debouncer.deadline()  # once for all, it sorts out what the notes have outdated
        count = 0

        def counter(_frame: object, event: str, _arg: object) -> None:
            nonlocal count
            count += event in {"call", "c_call"}

        gc.collect()
        gc.disable()  # what it calls is counted too
        sys.setprofile(counter)
        try:
            for n in range(100):
                note(debouncer, 1.0 + n * 1e-4, f"e/{n}", C, W, D)
                debouncer.deadline()
                debouncer.due(1.0 + n * 1e-4)
        finally:
            sys.setprofile(None)
            gc.enable()
        return count

    assert calls(20_000) <= 1.1 * calls(200)


PATHS = ["a", "a~", "b", "d", "d/a", "d/b", "d/e", "d/e/f", ""]


class Life(RuleBasedStateMachine):
    """Any sequence of touches, looks and retries, against what a debouncer promises."""

    capacity = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.debouncer = Debouncer(capacity=self.capacity)
        self.waiting: dict[str, float] = {}
        self.noted: set[str] = set()

    def covered(self, path: str, by: set[str]) -> bool:
        above = {directory.decode() for directory in parent_directories(rel(path))} | {path, ""}
        return bool(above & by)

    def take(self, paths: set[str]) -> None:
        for path in paths:
            assert any(self.covered(noted, {path}) for noted in self.noted), f"{path!r} was never noted"
        self.waiting = {path: since for path, since in self.waiting.items() if not self.covered(path, paths)}

    @rule(
        path=st.sampled_from(PATHS),
        touch=st.sampled_from(list(Touch)),
        fresh=st.booleans(),
        source=st.sampled_from([None, *PATHS]),
    )
    def touch(self, path: str, touch: Touch, fresh: bool, source: str | None) -> None:
        moved = touch is M
        self.debouncer.note(hint(path, touch, fresh=fresh and moved, source=source if moved else None), self.now)
        self.wait(path)

    def wait(self, path: str) -> None:
        self.waiting.setdefault(path, self.now)
        self.noted.add(path)

    @rule(count=st.sampled_from([20, 40]))
    def touch_many(self, count: int) -> None:
        for n in range(count):
            note(self.debouncer, self.now, f"many/{n}", C, D)
            self.wait(f"many/{n}")

    @rule(by=st.sampled_from([0.001, 0.03, 0.05, 0.2, 1.0, 3.0]))
    def pass_time(self, by: float) -> None:
        """Go on, stopping at every deadline as a session does."""
        end = self.now + by
        while (time := self.debouncer.deadline()) is not None and time <= end:
            assert self.debouncer.due(math.nextafter(time, -math.inf)) == frozenset()
            self.now = max(time, self.now)
            paths = due(self.debouncer, self.now)
            assert paths, "the deadline promised something"
            self.take(paths)
        assert self.debouncer.due(end) == frozenset(), "the deadline promised nothing"
        self.now = end

    @rule(path=st.sampled_from(PATHS))
    def retry(self, path: str) -> None:
        self.debouncer.retry({rel(path)}, self.now)
        self.waiting[path] = self.now
        self.noted.add(path)

    @rule()
    def flush(self) -> None:
        paths = {path.decode() for path in self.debouncer.flush()}
        assert all(self.covered(path, paths) for path in self.waiting)
        self.waiting.clear()

    @invariant()
    def nobody_starves(self) -> None:
        for path, since in self.waiting.items():
            assert self.now - since <= UNFINISHED_WAIT + MAX_WAIT + 1e-9, path

    @invariant()
    def what_waits_has_a_deadline(self) -> None:
        assert (self.debouncer.deadline() is None) == (self.debouncer.pending() == 0)
        assert self.debouncer.pending() <= self.capacity

    def teardown(self) -> None:
        self.pass_time(20.0)
        assert not self.waiting


class CrowdedLife(Life):
    """The same with room for a few paths only."""

    capacity = 20


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCrowdedLife = CrowdedLife.TestCase
TestCrowdedLife.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


@given(touches=st.lists(st.tuples(st.sampled_from(list(Touch)), st.floats(0, 0.3)), min_size=1, max_size=40))
def test_without_retries_a_path_waits_no_longer_than_its_longest_wait(touches: list[tuple[Touch, float]]) -> None:
    debouncer = Debouncer()
    now = 0.0
    since: float | None = None
    for touch, pause in touches:
        note(debouncer, now, "f", touch)
        since = now if since is None else since
        for time, _ in looks(debouncer, until=now + pause):
            assert since is not None
            assert time - since <= UNFINISHED_WAIT + 0.001
            since = None if debouncer.pending() == 0 else time
        now += pause
    final = looks(debouncer)
    assert since is None or (len(final) == 1 and final[0][0] - since <= UNFINISHED_WAIT + 0.001)
