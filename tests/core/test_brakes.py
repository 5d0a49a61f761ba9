"""What must not leave a device unasked is held, and goes when the user says so."""

from __future__ import annotations

import pytest

from autosync.core.brakes import WINDOW, Brake, BrakeLimits, Brakes, Deletions, Held, news_of_held
from autosync.core.model import RelPath

MB = 1 << 20


def rel(*names: str) -> list[RelPath]:
    return [RelPath(name.encode()) for name in names]


def many(number: int, directory: str = "d") -> list[RelPath]:
    return rel(*(f"{directory}/{n}" for n in range(number)))


def held(brakes: Brakes) -> dict[bytes, Brake]:
    return {each.path: each.brake for each in brakes.held}


def judge(
    brakes: Brakes, gone: list[RelPath], remaining: int, *, now: float = 0.0, paths: list[RelPath] | None = None
) -> Deletions:
    """Look twice, as happens when the first look finds many."""
    for _ in range(2):
        brakes.begin(paths, now)
        found = brakes.judge_deletions(gone, lambda: remaining)
        if not found.growing:
            return found
    raise AssertionError(found)


# -- files ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "secret"),
    [
        (".env", True),
        ("web/.env.production", True),
        (".env.example", False),
        ("keys/ID_RSA", True),
        ("server.PEM", True),
        ("environment.txt", False),
        ("id_rsa.pub", False),
    ],
)
def test_names_that_look_like_secrets(name: str, secret: bool) -> None:
    brakes = Brakes(BrakeLimits())
    assert brakes.hold(RelPath(name.encode()), 10) is secret
    assert held(brakes) == ({name.encode(): Brake.SECRET} if secret else {})


def test_huge_files_are_held_and_the_others_go_on() -> None:
    brakes = Brakes(BrakeLimits(huge_file=MB))
    assert not brakes.hold(RelPath(b"a"), MB)
    assert brakes.hold(RelPath(b"b"), MB + 1)
    assert brakes.held == (Held(path=RelPath(b"b"), brake=Brake.HUGE),)


def test_a_burst_of_new_content_is_held_until_it_is_over() -> None:
    brakes = Brakes(BrakeLimits(huge_file=None, burst=3 * MB))
    brakes.begin(None, 0.0)
    assert [brakes.hold(path, MB) for path in many(5)] == [False, False, False, True, True]
    assert set(held(brakes).values()) == {Brake.BURST}
    brakes.begin(None, 1.0)
    assert not brakes.hold(RelPath(b"d/0"), MB)  # itself again adds nothing
    assert brakes.hold(RelPath(b"d/4"), MB)
    brakes.begin(None, 1.1 + WINDOW)
    assert not brakes.hold(RelPath(b"d/4"), MB)


def test_every_brake_can_be_switched_off() -> None:
    brakes = Brakes(BrakeLimits(huge_file=None, burst=None, mass_deletion=None, secrets=()))
    assert not brakes.hold(RelPath(b".env"), 1 << 40)
    assert brakes.judge_deletions(many(1000), lambda: 0) == Deletions()


def test_a_file_that_is_looked_at_again_is_judged_again() -> None:
    brakes = Brakes(BrakeLimits(huge_file=MB))
    brakes.hold(RelPath(b"a"), 2 * MB)
    assert brakes.begin(rel("b"), 1.0) == rel("b")
    assert held(brakes) == {b"a": Brake.HUGE}
    brakes.begin(rel("a"), 2.0)
    assert not brakes.hold(RelPath(b"a"), 10)
    assert held(brakes) == {}


@pytest.mark.parametrize("word", ["dir/a.pem", "dir", ""])
def test_what_was_released_is_not_held_again(word: str) -> None:
    brakes = Brakes(BrakeLimits())
    path = RelPath(b"dir/a.pem")
    brakes.hold(path, 10)
    assert brakes.release(rel("elsewhere")) == frozenset()
    assert brakes.release(rel(word)) == {path}
    assert brakes.held == ()
    assert not brakes.hold(path, 10)
    assert brakes.hold(RelPath(b"dir/b.pem"), 10)
    assert brakes.released == {path}
    assert not Brakes(BrakeLimits(), rel("dir")).hold(path, 10)


# -- deletions -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("gone", "remaining", "mass"),
    [(24, 24, False), (25, 25, True), (25, 26, False), (1000, 1001, False), (3, 0, True), (2, 0, False)],
)
def test_many_deletions_are_held(gone: int, remaining: int, mass: bool) -> None:
    brakes = Brakes(BrakeLimits())
    paths = many(gone)
    assert judge(brakes, paths, remaining).held == (frozenset(paths) if mass else frozenset())
    assert len(brakes.held) == (gone if mass else 0)


def test_many_deletions_are_looked_at_again_before_any_is_taken_in() -> None:
    brakes = Brakes(BrakeLimits())
    brakes.begin(many(30), 0.0)
    assert brakes.judge_deletions(many(30), lambda: 70) == Deletions(growing=frozenset(many(30)))
    brakes.begin(many(60), 0.1)
    assert brakes.judge_deletions(many(60), lambda: 40).held == frozenset(many(60))


def test_while_deletions_grow_everything_is_looked_at() -> None:
    """Or else two looks at the same few of them would pass for an end, while others go on elsewhere."""
    brakes = Brakes(BrakeLimits())
    assert brakes.begin(many(30), 0.0) == many(30)
    assert brakes.judge_deletions(many(30), lambda: 170).growing
    assert brakes.begin(many(30), 0.1) is None
    assert brakes.judge_deletions(many(60), lambda: 140).growing
    assert brakes.begin(many(60), 0.2) is None
    assert brakes.judge_deletions(many(60), lambda: 140) == Deletions()
    assert brakes.begin(rel("other"), 0.3) == rel("other")
    assert brakes.judge_deletions(many(30, "e"), lambda: 110).growing
    assert brakes.begin(rel("other"), 0.4) is None  # and all of them are back
    assert brakes.begin(rel("other"), 0.5) == rel("other")


def test_small_portions_that_add_up_are_looked_at_again_too() -> None:
    brakes = Brakes(BrakeLimits())
    brakes.begin(many(20), 0.0)
    assert brakes.judge_deletions(many(20), lambda: 42) == Deletions()
    brakes.begin(many(8, "e"), 0.1)
    assert brakes.judge_deletions(many(8, "e"), lambda: 34) == Deletions(growing=frozenset(many(8, "e")))
    assert brakes.begin(many(8, "e"), 0.2) is None
    assert brakes.judge_deletions(many(40, "e"), lambda: 2).held == frozenset(many(40, "e"))


def test_deletions_add_up_for_a_while() -> None:
    brakes = Brakes(BrakeLimits())
    for step, remaining in enumerate((80, 60, 40, 40)):
        gone = many(20, f"d{step}")
        assert judge(brakes, gone, remaining, now=1.0 * step, paths=gone).held == frozenset(gone if step >= 2 else ())
    assert len(brakes.held) == 40
    late = Brakes(BrakeLimits())
    for step in range(4):
        assert judge(late, many(20, f"d{step}"), 80 - 20 * step + 20, now=20.0 * step) == Deletions()


def test_what_is_held_counts_while_more_is_deleted() -> None:
    brakes = Brakes(BrakeLimits())
    judge(brakes, many(60), 40)
    more = many(10, "e")
    brakes.begin(more, 1.0)
    assert brakes.judge_deletions(more, lambda: 90).held == frozenset(more)
    assert len(brakes.held) == 70


def test_a_deletion_that_is_undone_is_noticed() -> None:
    brakes = Brakes(BrakeLimits())
    judge(brakes, many(60), 40)
    assert brakes.begin(rel("other"), 1.0) == rel("other")
    assert len(brakes.held) == 60
    for hint in ("d/3", "d", ""):
        judge(brakes, many(60), 40)
        assert brakes.begin(rel(hint), 2.0) is None
        assert brakes.held == ()
    assert judge(brakes, many(10), 90, now=30.0) == Deletions()


def test_released_deletions_are_let_go_once() -> None:
    brakes = Brakes(BrakeLimits())
    judge(brakes, many(60), 40)
    assert brakes.held_within(rel("d/7")) == (Held(path=RelPath(b"d/7"), brake=Brake.DELETION),)
    assert len(brakes.release(rel(""))) == 60
    assert brakes.released == frozenset()
    brakes.begin(many(1, "x"), 1.0)  # a look elsewhere in between takes nothing back
    assert brakes.judge_deletions(many(1, "x"), lambda: 99) == Deletions()
    brakes.taken()
    brakes.begin(many(60), 2.0)
    assert brakes.judge_deletions(many(60), lambda: 40) == Deletions()
    brakes.undo()  # this look has failed: the word is for one that is recorded
    brakes.begin(many(60), 3.0)
    assert brakes.judge_deletions(many(60), lambda: 40) == Deletions()
    brakes.taken()
    assert judge(brakes, many(60), 40, now=60.0).held


def test_a_look_that_fails_lets_nothing_go() -> None:
    brakes = Brakes(BrakeLimits())
    judge(brakes, many(60), 40)
    before = brakes.held
    brakes.begin(None, 1.0)
    assert brakes.held == ()
    brakes.undo()
    assert brakes.held == before
    assert len(brakes.release(rel(""))) == 60


def test_what_a_command_of_the_user_deleted_is_meant() -> None:
    brakes = Brakes(BrakeLimits())
    brakes.expect(many(60))
    brakes.begin(many(60), 0.0)
    assert brakes.judge_deletions(many(60), lambda: 40) == Deletions()


@pytest.mark.parametrize("looked", [["d"], [""], None])
def test_what_was_expected_and_is_still_there_is_not_meant_later(looked: list[str] | None) -> None:
    brakes = Brakes(BrakeLimits())
    brakes.expect(many(60))
    brakes.begin(None if looked is None else rel(*looked), 0.0)
    brakes.taken()
    assert judge(brakes, many(60), 40, now=1.0).held == frozenset(many(60))


def test_what_a_command_of_the_user_brings_back_is_not_held() -> None:
    brakes = Brakes(BrakeLimits())
    brakes.welcome([RelPath(b".env")])
    brakes.begin(None, 0.0)
    assert not brakes.hold(RelPath(b".env"), 10)
    assert brakes.hold(RelPath(b"d/.env"), 10)
    brakes.taken(torn=rel(".env"))
    brakes.begin(rel("d"), 1.0)
    brakes.taken()
    assert not brakes.hold(RelPath(b".env"), 10)
    brakes.begin(rel(".env"), 2.0)
    brakes.taken()
    assert brakes.hold(RelPath(b".env"), 10)  # it was once brought back, and then recorded


# -- words -----------------------------------------------------------------------------------
def test_only_what_is_newly_held_is_told() -> None:
    secret, huge = Held(path=RelPath(b".env"), brake=Brake.SECRET), Held(path=RelPath(b"film"), brake=Brake.HUGE)
    gone = [Held(path=path, brake=Brake.DELETION) for path in many(30)]
    assert news_of_held([], []) == ""
    assert news_of_held([secret], [secret]) == ""
    assert news_of_held([], [secret]) == ".env is held back, for it looks like a secret by its name"
    assert news_of_held([secret], [secret, huge]) == "film is held back, for it is huge"
    assert news_of_held([], [secret, huge]).endswith(" (and 1 more)")
    assert news_of_held([], gone) == "30 deletions are held back and not sent to the other devices"
    assert news_of_held([], [*gone, huge]).startswith(
        "30 deletions are held back and not sent to the other devices; film"
    )


def test_who_releases_what_stands_in_a_place_releases_the_deletion_there() -> None:
    brakes = Brakes(BrakeLimits())
    assert judge(brakes, many(60), 0).held == frozenset(many(60))
    below = RelPath(many(1)[0] + b"/below")
    brakes.hold_in_place([below])
    assert held(brakes) == {**dict.fromkeys(many(60), Brake.DELETION), below: Brake.PLACE}
    assert brakes.release([below]) == {below, many(1)[0]}
    assert brakes.released == frozenset()  # it was not held for what it is
    assert held(brakes) == dict.fromkeys(many(60)[1:], Brake.DELETION)
