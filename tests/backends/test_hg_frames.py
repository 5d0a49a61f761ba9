"""Questions and answers survive the way to hg's process and back, and what is none is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autosync.backends.hgext.frames import HEADER_SIZE, MAGIC, Fields, Garbled, Value, body_size, frame, unframe
from tests import figures

VALUES = st.recursive(
    st.none() | st.integers() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.binary(), inner),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.binary(), VALUES))
def test_what_is_framed_comes_out_again(table: dict[bytes, Value]) -> None:
    framed = frame(table)
    assert body_size(framed[:HEADER_SIZE]) == len(framed) - HEADER_SIZE
    found = unframe(framed)
    assert {name: found.value(name) for name in found} == table


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.binary(), VALUES, min_size=1), st.data())
def test_a_cut_frame_is_refused(table: dict[bytes, Value], data: st.DataObject) -> None:
    framed = frame(table)
    with pytest.raises(Garbled):
        unframe(framed[: data.draw(st.integers(0, len(framed) - 1))])


@settings(max_examples=40, deadline=None)
@given(st.binary())
def test_anything_else_is_refused_or_a_table(body: bytes) -> None:
    framed = MAGIC + len(body).to_bytes(8, "big") + body
    try:
        found = unframe(framed)
    except Garbled:
        return
    assert unframe(frame({name: found.value(name) for name in found}))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the frame is cut off"),
        (b"warning: nobody asked" + frame({}), "is not the start of a frame"),
        (frame({}) + b"more", "the frame has another length than it says"),
        (frame([]), "a table was expected"),
        (MAGIC + (4).to_bytes(8, "big") + b"dede", "the frame holds more than one value"),
        (MAGIC + (2).to_bytes(8, "big") + b"de"[::-1], "b'e' at 16 starts no value"),
        (MAGIC + (6).to_bytes(8, "big") + b"d9:abe", "the text at 17 is cut off"),
    ],
)
def test_what_is_wrong_is_named(content: bytes, says: str) -> None:
    with pytest.raises(Garbled, match="^.*" + says):
        unframe(content)
    figures.record("bad inputs refused", 1)


def test_a_value_of_another_type_is_refused() -> None:
    fields = Fields({b"n": 1, b"t": b"x", b"l": [b"a", 1], b"nothing": None})
    assert fields.number(b"n") == 1
    assert fields.text(b"t") == b"x"
    assert b"nothing" not in fields
    for ask, name in [
        (fields.text, b"n"),
        (fields.text, b"nothing"),
        (fields.number, b"t"),
        (fields.items, b"t"),
        (fields.texts, b"l"),
        (fields.table, b"l"),
    ]:
        with pytest.raises(Garbled):
            ask(name)
