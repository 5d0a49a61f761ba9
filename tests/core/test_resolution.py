"""Which version of a contested file stays."""

from __future__ import annotations

import pytest

from autosync.core.copies import ConflictName, parse_conflict_name
from autosync.core.model import RelPath
from autosync.core.resolution import Ambiguous, Choice, Keep, choose


def copy(device: str) -> ConflictName:
    found = parse_conflict_name(RelPath(f"a (conflict, {device}, 2026-11-21 10.15.00).txt".encode()))
    assert found is not None
    return found


MINE, HERS, HIS, BOTHS = copy("laptop"), copy("desktop"), copy("phone"), copy("desktop+laptop")


@pytest.mark.parametrize(
    ("copies", "stands", "keep", "kept"),
    [
        ([MINE], True, Keep.MINE, MINE),
        ([MINE], True, Keep.THEIRS, None),
        ([HERS], True, Keep.MINE, None),
        ([HERS], True, Keep.THEIRS, HERS),
        ([BOTHS], True, Keep.MINE, BOTHS),
        ([BOTHS], True, Keep.THEIRS, None),
        # The only version left is kept.
        ([MINE], False, Keep.THEIRS, MINE),
        ([HERS], False, Keep.MINE, HERS),
        # Of several copies one may be the only one that fits.
        ([HERS, HIS], True, Keep.MINE, None),
        ([MINE, HERS, HIS], True, Keep.MINE, MINE),
        ([MINE, HERS], False, Keep.MINE, MINE),
        ([MINE, HERS], False, Keep.THEIRS, HERS),
        ([MINE, BOTHS], True, Keep.THEIRS, None),
    ],
)
def test_one_version_gets_the_name_and_the_others_go(
    copies: list[ConflictName], stands: bool, keep: Keep, kept: ConflictName | None
) -> None:
    assert choose(copies, stands=stands, keep=keep, device="laptop") == Choice(kept=kept, dropped=tuple(copies))


@pytest.mark.parametrize("stands", [False, True])
def test_both_renames_every_copy(stands: bool) -> None:
    assert choose([MINE, HERS], stands=stands, keep=Keep.BOTH, device="laptop") == Choice(renamed=(MINE, HERS))


M, T = Keep.MINE, Keep.THEIRS


@pytest.mark.parametrize(
    ("copies", "stands", "keep", "ways"),
    [
        ([HERS, HIS], True, T, {HERS: [(HERS, T)], HIS: [(HIS, T)]}),
        ([MINE, HERS], True, T, {None: [(MINE, T), (HERS, M)], HERS: [(HERS, T)]}),
        ([MINE, BOTHS], True, M, {MINE: [(MINE, M)], BOTHS: [(BOTHS, M)]}),
        # Nothing fits: any of them may be meant.
        ([HERS, HIS], False, M, {HERS: [(HERS, T)], HIS: [(HIS, T)]}),
        ([MINE, BOTHS], False, T, {MINE: [(MINE, M)], BOTHS: [(BOTHS, M)]}),
    ],
)
def test_what_is_not_clear_is_asked_for(
    copies: list[ConflictName],
    stands: bool,
    keep: Keep,
    ways: dict[ConflictName | None, list[tuple[ConflictName, Keep]]],
) -> None:
    found = choose(copies, stands=stands, keep=keep, device="laptop")
    assert found == Ambiguous(ways=tuple((version, tuple(calls)) for version, calls in ways.items()))
    for version, calls in ways.items():
        for name, single in calls:
            alone = choose([name], stands=True, keep=single, device="laptop")
            assert alone == Choice(kept=version, dropped=(name,))
