"""Words of others are shown, never obeyed: by a terminal, in the log, in what is counted."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import pytest

from autosync.channels.beacon import as_text
from autosync.channels.discovery import Discovery
from autosync.cli.failures import exit_code_of
from autosync.cli.logs import PlainFormatter
from autosync.config import read_overrides
from autosync.errors import ConfigError, Unsafe
from autosync.link import Links
from autosync.link.hello import HelloRefused, open_hello
from autosync.trust.identity import load_or_create_identity
from tests import figures
from tests.edges.link_attackers import hello_of
from tests.edges.linked_devices import KEY, Workspace

ESCAPES = ["\x1b]0;pwned\x07", "\x1b[2J", "\x9b31m", "\r", "\u202e", "\x00", "\ud800"]


@pytest.mark.parametrize("escape", ESCAPES)
def test_an_error_cannot_steer_the_terminal(escape: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise Unsafe(f"A hub said: {escape}done", hint=f"Ask {escape}it.")

    assert exit_code_of(fail, lambda: None) == 1
    shown = capsys.readouterr().err
    assert shown.replace("\n", "").isprintable()
    assert len(shown.splitlines()) == 2
    figures.record("bad inputs refused", 1)


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_log_record_cannot_steer_the_terminal_or_forge_another(escape: str) -> None:
    message = f"{escape} a\n2026-11-21 10:00:00,000 INFO autosync: all is well"
    record = logging.LogRecord("autosync", logging.INFO, "", 0, "branch %s", (message,), None)
    first, second = PlainFormatter("%(levelname)s: %(message)s").format(record).split("\n")
    assert first.isprintable()
    assert first.startswith("INFO: branch ")
    assert second.startswith("    2026")
    figures.record("bad inputs refused", 1)


@pytest.mark.parametrize("escape", ["\\e]0;pwned\\a", "\\x9b31m", "\\ud800", "\\u202e"])
def test_a_key_that_travels_with_the_working_copy_is_named_plainly(escape: str) -> None:
    with pytest.raises(ConfigError, match="unknown key") as caught:
        read_overrides(f'"{escape}": 1\n', ".autosync")
    assert caught.value.title.isprintable()
    figures.record("bad inputs refused", 1)


@pytest.mark.parametrize("form", ["\x1b[2J", 2, [], None, 10**400])
def test_a_hellos_format_is_counted_in_our_words(form: object) -> None:
    """Else a member could have any number of reasons counted, and shown by `status`."""
    body = json.loads(KEY.open(hello_of().sealed(KEY, answers=None)[2:], context=b"hello"))
    sealed = KEY.seal(json.dumps({**body, "v": form}).encode(), context=b"hello")
    with pytest.raises(HelloRefused) as caught:
        open_hello(KEY, sealed, answers=None)
    assert caught.value.reason == "hello of another format"
    figures.record("bad inputs refused", 1)


@pytest.mark.parametrize("port", ["Infinity", "-1", "65536", "1e999", "true", '"4711"', "NaN", "[]"])
async def test_a_beacon_with_an_impossible_port_is_counted_and_nothing_else(tmp_path: Path, port: str) -> None:
    links = Links(load_or_create_identity(str(tmp_path)), listen=("127.0.0.1", 0))
    links.add(Workspace("laptop"))
    dropped: Counter[str] = Counter()
    discovery = Discovery(links, dropped)
    content = f'{{"device":"desktop-00000000","instance":"00","addresses":[],"local":[],"port":{port}}}'
    discovery._take("label", as_text(KEY, "label", content.encode()))
    await links.stop()
    assert dropped == {"malformed beacon": 1}
    figures.record("bad inputs refused", 1)
