"""Every fuzz target withstands its corpus, changed seeds, noise, and a moment of atheris."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import figures
from tests.fuzz.__main__ import NAMES, Result, fuzz
from tests.fuzz.targets import TARGETS

EXAMPLES = 100
SECONDS, JOBS = 1, 2


@pytest.fixture(scope="module", autouse=True)
def _scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the targets write where pytest cleans up."""
    patch = pytest.MonkeyPatch()
    patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("fuzz")))
    yield
    patch.undo()


def changed(seed: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Return ``seed`` with each (place, length, bytes) put in for what stands there."""
    content = bytearray(seed)
    for place, length, part in changes:
        at = place % (len(content) + 1)
        content[at : at + length] = part
    return bytes(content)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_takes_its_seeds_and_only_refuses_the_rest(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    known = [*seeds, *target.regressions()]
    assert any(target.feed(seed) for seed in seeds), "no seed is accepted: nothing but the first check is tried"
    refused = sum(not target.feed(content) for content in known)

    noise = st.binary(max_size=600) | st.sampled_from([b"[" * 4000, b"\xff" * 4000, bytes(4000), b"1" * 4000])
    edits = st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 16), st.binary(max_size=16)), max_size=6)
    mutants = st.builds(changed, st.sampled_from(known), edits)

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.one_of(noise, mutants, mutants))
    def attack(content: bytes) -> None:
        nonlocal refused
        refused += not target.feed(content)

    attack()
    figures.record("bad inputs refused", refused)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """A moment of coverage-guided fuzzing of all targets."""
    found = fuzz(NAMES, seconds=SECONDS, jobs=JOBS, place=tmp_path_factory.mktemp("guided"))
    figures.record("fuzz executions", sum(result.executions for result in found))
    return {result.name: result for result in found}


@pytest.mark.parametrize("name", NAMES)
def test_a_target_withstands_a_moment_of_coverage_guided_fuzzing(name: str, results: dict[str, Result]) -> None:
    assert not results[name].crash
    assert results[name].executions > len(TARGETS[name].seeds())


def test_every_target_has_a_name_for_the_command_line() -> None:
    assert sorted(TARGETS) == sorted(NAMES)
