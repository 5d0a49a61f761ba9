"""Seals: only the same key and context open one, and key files are kept secret."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.model import DeviceId
from autosync.errors import ConfigError
from autosync.trust.sealing import MAX_SEALED, OVERHEAD, SealBroken, WorkspaceKey, create_key, load_key

KEY = WorkspaceKey(bytes(range(32)))
OTHER = WorkspaceKey(bytes(32))


@given(st.binary(max_size=500), st.binary(max_size=60))
def test_what_was_sealed_opens(plaintext: bytes, context: bytes) -> None:
    assert KEY.open(KEY.seal(plaintext, context=context), context=context) == plaintext


@given(st.binary(max_size=500), st.binary(max_size=60))
def test_what_was_hidden_is_found_by_holders_of_the_key(plaintext: bytes, salt: bytes) -> None:
    hidden = KEY.hide(KEY.seal(plaintext, context=b"x"), salt)
    found = KEY.unhide(hidden, salt)
    assert found is not None
    assert KEY.open(found, context=b"x") == plaintext
    assert OTHER.unhide(hidden, salt) is None
    assert KEY.unhide(hidden, salt + b"x") is None
    assert KEY.unhide(hidden[:7], salt) is None


def test_the_largest_message_opens_and_a_larger_one_is_not_sealed() -> None:
    largest = bytes(MAX_SEALED - OVERHEAD)
    sealed = KEY.seal(largest, context=b"x")
    assert len(sealed) == MAX_SEALED
    assert KEY.open(sealed, context=b"x") == largest
    with pytest.raises(ValueError, match="65504 bytes are too many to be sealed in 65536"):
        KEY.seal(largest + b"x", context=b"x")


@given(st.data())
def test_a_single_changed_bit_breaks_the_seal(data: st.DataObject) -> None:
    sealed = bytearray(KEY.seal(b"we are at a1b2", context=b"announcement"))
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[at // 8] ^= 1 << at % 8
    with pytest.raises(SealBroken):
        KEY.open(bytes(sealed), context=b"announcement")


@given(st.binary(max_size=200))
def test_noise_does_not_open(noise: bytes) -> None:
    with pytest.raises(SealBroken):
        KEY.open(noise, context=b"announcement")


@pytest.mark.parametrize(
    ("sealed", "reason"),
    [
        (b"", "0 bytes are no sealed message"),
        (bytes(MAX_SEALED + 1), "65537 bytes are no sealed message"),
        (b"\x07" + bytes(60), r"sealed in a form \(7\) that is not known here"),
        (OTHER.seal(b"x", context=b"announcement"), "sealed with another key"),
        (KEY.seal(b"x", context=b"beacon"), "the seal is broken"),
        (KEY.seal(b"x", context=b"announcement")[:-1], "the seal is broken"),
    ],
    ids=["empty", "too long", "another form", "another key", "another context", "cut short"],
)
def test_the_reason_is_given(sealed: bytes, reason: str) -> None:
    with pytest.raises(SealBroken, match=reason):
        KEY.open(sealed, context=b"announcement")


def test_two_seals_of_one_text_differ() -> None:
    assert KEY.seal(b"x", context=b"y") != KEY.seal(b"x", context=b"y")


def test_names_are_stable_and_tell_nothing() -> None:
    # Devices of different releases must agree on these.
    assert KEY.id == "c7fc31c1d16b2889184321ed55368297"
    laptop = DeviceId("laptop-0a1b2c3d")
    assert KEY.slot(laptop) == "6a38d3d748e61b999394c77209f97b44"
    assert KEY.tag == KEY.id
    assert len({KEY.id, OTHER.id, KEY.slot(laptop), OTHER.slot(laptop), KEY.slot(DeviceId("desktop-0a1b2c3d"))}) == 5
    assert bytes(range(32)).hex() not in repr(KEY)


def test_a_receiver_with_many_keys_finds_the_right_one() -> None:
    sealed = KEY.seal(b"x", context=b"y")
    assert [key.fits(sealed) for key in (OTHER, KEY)] == [False, True]


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a workspace key has 32 bytes, not 16"):
        WorkspaceKey(bytes(16))


def test_a_created_key_is_secret_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "config" / "keys" / "notes.key"
    key = create_key(str(path))
    assert load_key(str(path)).id == key.id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(base64.b64decode(path.read_bytes(), validate=False)) == 32


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "notes.key"
    create_key(str(path))
    before = path.read_bytes()
    with pytest.raises(ConfigError) as caught:
        create_key(str(path))
    assert caught.value.title == f"key-file {path} exists already"
    assert "To join the workspace" in caught.value.hint
    assert path.read_bytes() == before


def test_a_key_that_cannot_be_written_is_named() -> None:
    with pytest.raises(ConfigError, match=r"key-file /proc/nowhere/notes\.key cannot be written: No such file"):
        create_key("/proc/nowhere/notes.key")


def test_an_absent_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_key(str(tmp_path / "none.key"))
    assert caught.value.title == f"key-file {tmp_path}/none.key does not exist"
    assert "Copy the file from another of your devices" in caught.value.hint


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o606])
def test_a_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "notes.key"
    create_key(str(path))
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load_key(str(path))
    assert caught.value.title == f"key-file {path} is open to other users of this machine (mode {mode:04o})"
    assert caught.value.hint == f"Run: chmod 600 {path}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not base64!",
        base64.b64encode(bytes(31)),
        base64.b64encode(bytes(33)),
        bytes(32),
        b"A" * 5000,
        b"\xff" * 44,
    ],
)
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"key-file {path} does not hold the base64 of 32 bytes"):
        load_key(str(path))


def test_a_key_file_with_spaces_around_it_loads(tmp_path: Path) -> None:
    path = tmp_path / "notes.key"
    path.write_bytes(b"\n  " + base64.b64encode(bytes(range(32))) + b"\r\n")
    path.chmod(0o600)
    assert load_key(str(path)).id == KEY.id


def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match=f"key-file {path} (is not a file|cannot be read: Is a directory)"):
            load_key(str(path))
