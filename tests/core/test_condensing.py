"""What is condensed comes back, is shorter, and nothing that is no announcement grows without bound."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.announcement import MAX_ENCODED, encode
from autosync.core.condensing import condense, expand
from tests import figures
from tests.core.test_announcement import PLAIN, announcements


@given(announcements)
def test_every_announcement_comes_back_as_it_was(announcement: object) -> None:
    encoded = encode(announcement)  # type: ignore[arg-type]  # drawn as one
    assert expand(condense(encoded)) == encoded


def test_an_announcement_gets_shorter_and_what_cannot_hardly_longer() -> None:
    encoded = encode(PLAIN)
    assert len(condense(encoded)) < 0.6 * len(encoded)
    noise = zlib.compress(bytes(range(256)) * 4)[:MAX_ENCODED]
    assert len(condense(noise)) < len(noise) + 64


@pytest.mark.parametrize(
    ("condensed", "said"),
    [
        (b"", "cut short, or more follows"),
        (condense(b"x" * 1000)[:-1], "cut short, or more follows"),
        (condense(b"x") + b"y", "cut short, or more follows"),
        (encode(PLAIN), "cannot be expanded"),
        (condense(bytes(MAX_ENCODED + 1)), "is too large"),
        (condense(bytes(200_000_000)), "is too large"),
    ],
    ids=["nothing", "cut", "followed", "not condensed", "one too many", "a bomb"],
)
def test_what_is_no_condensed_announcement_is_refused(condensed: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expand(condensed)
    figures.record("bad inputs refused", 1)


@given(st.binary(max_size=2000))
def test_noise_expands_to_nothing_large_or_is_refused(noise: bytes) -> None:
    try:
        encoded = expand(noise)
    except ValueError:
        return
    assert len(encoded) <= MAX_ENCODED
