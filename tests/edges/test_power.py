"""After a power cut no file is empty or lost, and a damaged journal costs nobody a byte."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosync.apply.limbo import Limbo
from tests.edges.forks import with_offspring
from tests.edges.git_scene import GitScene
from tests.edges.plain_scene import PlainScene
from tests.edges.points import fast_directory, survive, undisturbed
from tests.edges.powercut import PowerCut, lose
from tests.figures import record

pytestmark = pytest.mark.timeout(900)  # thousands of cases


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for working copies."""
    with fast_directory(tmp_path) as directory:
        yield directory


@pytest.mark.parametrize("names", [False, True], ids=["content", "names"])
def test_applying_survives_a_power_cut_at_each_call(place: Path, names: bool) -> None:
    scene = PlainScene(directory=place)
    calls = undisturbed(scene.calls)

    def attempt(number: int, at: int) -> str | None:
        root = scene.fresh(number)
        report = str(place / f"report-{number}")
        ended = with_offspring(lambda: scene.job(root, PowerCut(at, report)))
        if ended.killed:  # else it came through with fewer calls than the first time
            lose(root, report, names=names)
        elif ended.error:
            return ended.error[-1500:]
        return scene.wrong(root) or scene.finish(root)

    record("kills survived", survive(range(1, len(calls) + 1), 10_000, attempt))


@pytest.mark.parametrize("names", [False, True], ids=["content", "names"])
def test_what_is_integrated_before_it_is_written_survives_a_power_cut(place: Path, names: bool) -> None:
    scene = GitScene(directory=place, name="early")
    calls = undisturbed(scene.calls)

    def attempt(number: int, at: int) -> str | None:
        root = scene.fresh(number)
        report = str(place / f"report-{number}")
        ended = with_offspring(lambda: scene.job(root, PowerCut(at, report)))
        if ended.killed:
            lose(root, report, names=names)
        elif ended.error:
            return ended.error[-1500:]
        return scene.wrong(root) or scene.finish(root)

    record("kills survived", survive(range(1, len(calls) + 1), 16, attempt))


SLOT = b"what a user saved"


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 400), garbage=st.binary(max_size=40), notes=st.booleans())
def test_a_slot_that_a_damaged_journal_does_not_explain_is_kept(cut: int, garbage: bytes, notes: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        limbo = os.path.join(os.fsencode(directory), b"limbo")
        batch = os.path.join(limbo, b"7")
        os.makedirs(batch)
        for slot in (b"0", b"1"):
            with open(os.path.join(batch, slot), "wb") as file:
                file.write(SLOT + slot)
        line = b'"path": "a", "kind": "file", "oid": "0123", "was": [0, 0, 0, 0], "placed": null}'
        journal = b'{"slots": [{"slot": "0", %s, {"slot": "1", %s]}\n' % (line, line)
        journal += b'{"slot": "0", %s\n' % line if notes else b""
        with open(os.path.join(batch, b"journal"), "wb") as file:
            file.write(journal[:cut] + garbage)
        opened = Limbo(limbo)
        kept = [os.path.join(limbo, k.slot) for k in opened.kept()]
        opened.close()
        recovered = Path(directory, "recovered")
        aside = [os.fsencode(p) for p in recovered.iterdir()] if recovered.exists() else []
        held = sorted(Path(os.fsdecode(p)).read_bytes() for p in [*kept, *aside])
        assert held == [SLOT + b"0", SLOT + b"1"]
