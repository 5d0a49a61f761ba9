"""Key files: of a key that was changed, handed over, replaced, and what is none."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosync.core.model import WorkspaceId
from autosync.errors import ConfigError
from autosync.trust.keyfile import MAX_PREVIOUS, KeyText, parse, read_key, replace_key
from autosync.trust.sealing import SealBroken, WorkspaceKey, create_key, key_text, load_key, write_key
from tests import figures

RAW = bytes(range(32))
CHANGED = KeyText(raw=bytes(32), id=WorkspaceKey(RAW).id, epoch=1, head="ab" * 32, previous=(RAW,))

raws = st.binary(min_size=32, max_size=32)
texts = st.builds(
    KeyText,
    raw=raws,
    id=st.just("0a" * 16),
    epoch=st.integers(1, 10**8),
    head=st.just("cd" * 32),
    previous=st.lists(raws, max_size=MAX_PREVIOUS).map(tuple),
) | st.builds(KeyText, raw=raws)


def secret_file(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


@given(texts)
def test_what_was_rendered_is_read(text: KeyText) -> None:
    assert parse(text.render()) == text
    assert base64.b64encode(text.raw).decode() not in repr(text)


def test_a_new_key_is_one_line(tmp_path: Path) -> None:
    create_key(str(tmp_path / "notes.key"))
    assert (tmp_path / "notes.key").read_bytes().count(b"\n") == 1


def test_a_changed_key_stays_the_key_of_its_workspace(tmp_path: Path) -> None:
    first, second = WorkspaceKey(RAW), load_key(secret_file(tmp_path / "notes.key", CHANGED.render()))
    assert (second.id, second.epoch) == (first.id, 1)
    assert second.tag != first.tag
    with pytest.raises(SealBroken, match="sealed with another key"):
        second.open(first.seal(b"x", context=b"y"), context=b"y")


def test_a_retired_key_opens_as_before_and_is_a_workspace_of_its_own_to_links() -> None:
    key = WorkspaceKey(RAW, workspace=WorkspaceId("0a" * 16), epoch=3)
    old = key.retire()
    assert old.open(key.seal(b"x", context=b"y"), context=b"y") == b"x"
    assert (old.tag, old.epoch, old.retired, key.retired) == (key.tag, 3, True, False)
    assert old.id not in (key.id, key.tag)
    assert old.retire() is old


def test_a_key_is_handed_over_without_those_before(tmp_path: Path) -> None:
    path = secret_file(tmp_path / "notes.key", CHANGED.render())
    text = key_text(path)
    assert base64.b64encode(RAW).decode() not in text
    given = write_key(str(tmp_path / "new" / "notes.key"), text)
    assert (given.id, given.tag, given.epoch) == (load_key(path).id, load_key(path).tag, 1)
    assert stat.S_IMODE((tmp_path / "new" / "notes.key").stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="exists already"):
        write_key(path, text)
    with pytest.raises(ConfigError, match="The key that was handed over does not hold the base64 of 32 bytes"):
        write_key(str(tmp_path / "other.key"), "nonsense")
    with pytest.raises(ConfigError, match="The key that was handed over is not text"):
        write_key(str(tmp_path / "other.key"), "ä" * 44)
    assert not (tmp_path / "other.key").exists()


def test_a_replaced_key_is_secret_and_a_link_to_it_stays(tmp_path: Path) -> None:
    target = tmp_path / "vault" / "notes.key"
    create_key(str(target))
    link = tmp_path / "notes.key"
    link.symlink_to(target)
    replace_key(str(link), CHANGED)
    assert link.is_symlink()
    assert read_key(str(link)) == CHANGED
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(target.parent) == ["notes.key"]


def test_a_key_that_cannot_be_replaced_is_named() -> None:
    with pytest.raises(ConfigError, match=r"key-file /proc/nowhere/notes\.key cannot be written: No such file"):
        replace_key("/proc/nowhere/notes.key", CHANGED)


GOOD = CHANGED.render().decode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD + "colour blue\n", "has a line that says nothing known"),
        (GOOD + "epoch 2\n", "has a line that says nothing known"),
        (GOOD + "epoch  2\n", "has a line that says nothing known"),
        (GOOD.replace("epoch 1\n", ""), "does not say all of id, epoch and head"),
        (GOOD.replace("epoch 1", "epoch 0"), "has an id, epoch or head that is none"),
        (GOOD.replace("epoch 1", "epoch -1"), "has an id, epoch or head that is none"),
        (GOOD.replace("head ab", "head xx"), "has an id, epoch or head that is none"),
        (GOOD.replace("id ", "id 00"), "has an id, epoch or head that is none"),
        (GOOD + "previous AAAA\n", "does not hold the base64 of 32 bytes"),
        (GOOD.split("\n", 1)[1], "does not hold the base64 of 32 bytes"),
        (GOOD + f"previous {base64.b64encode(RAW).decode()}\n" * 20, "has a line that says nothing known"),
    ],
)
def test_what_is_no_key_file_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = secret_file(tmp_path / "notes.key", content.encode())
    with pytest.raises(ConfigError) as caught:
        load_key(path)
    assert caught.value.title == f"key-file {path} {reason}"
    assert "Copy the file from another of your devices" in caught.value.hint
    figures.record("bad inputs refused", 1)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: GOOD.encode() + text.encode()))
def test_any_content_is_read_or_refused(content: bytes) -> None:
    try:
        text = parse(content)
    except ValueError:
        return
    assert parse(text.render()) == text
