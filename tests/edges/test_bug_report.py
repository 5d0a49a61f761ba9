"""What a report of a bug shows: autosync's own words, and nothing of anybody's, whatever is put into any field."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autosync.cli.bugreport.command import redact
from autosync.cli.bugreport.gathering import as_plain
from autosync.cli.bugreport.redacting import Redactor
from autosync.cli.bugreport.sentences import Sentence, Sentences, own_sentences
from autosync.config import Config, PathConfig, Vcs, XmppConfig
from autosync.logbook import Logbook
from tests.figures import record

OWN = own_sentences()
SECRETS = ("Hunter2Zq", "quokka-Ärger", "4815162342", "wombat\udc80")
"""What must never be seen."""
# Sentences of autosync's, pieces of templates, and what steers a text: around a secret, to get it through.
PIECES = ("", " ", "/", "\n", "%s", "%(x)d", "{0}", "The hub ", " does not take ", ": ", '"', "\\")
AROUND = (*PIECES, "notes", "git", " of ", "online")
SEEDS = 40


def hostile(chance: random.Random) -> str:
    """Return a secret with something around it."""
    before, after = ("".join(chance.choices(AROUND, k=chance.randrange(4))) for _ in range(2))
    return before + chance.choice(SECRETS) + after


def planted(shape: object, draw: Callable[[], str]) -> Any:
    """Return a value of the same shape in which every text, and every key that may be a name, is hostile."""
    if isinstance(shape, dict):
        return {(draw() if key == "*" else key): planted(value, draw) for key, value in shape.items()}
    if isinstance(shape, list):
        return [planted(each, draw) for each in shape]
    return draw() if isinstance(shape, str) else shape


XMPP = XmppConfig(
    jid="j", password="p", password_command=("x", "y"), host="h", ca_file="c", members=("m",), service="s", node="n"
)
PATH = PathConfig(
    path="p", workspace="w", key_file="k", remote="r", backend=Vcs.GIT, hg=("h",), ignore=("i",), hub_prefix="u"
)
CONFIG = Config(
    source="s",
    device="d",
    state_dir="t",
    listen=("h", 1),
    peers=("a",),
    ssh_peers=("b",),
    ssh_address="c",
    xmpp=XMPP,
    reflector="r",
    fanout="f",
    hg=("g",),
    paths=(PATH,),
)
PEER = {
    "device": "d",
    "id": "i",
    "state": "s",
    "address": "a",
    "problem": "p",
    "seen": "s",
    "tree": None,
    "clock-ahead": 1.0,
}
STATUS = {
    "device": "d",
    "agent": {"pid": 1, "uptime": 2.0, "rss": None},
    "channels": [{"kind": "k", "state": "s", "detail": "d", "dropped": {"*": 3}}],
    "workspaces": [
        {
            "name": "n",
            "path": "p",
            "phase": "p",
            "branch": "b",
            "waiting-for": "w",
            "halt": {"title": "t", "hint": "h"},
            "held": {"count": 1, "reasons": {"*": 1}, "paths": [{"path": "p", "reason": "r", "text": "t"}]},
            "unreadable": ["u"],
            "conflicts": [{"path": "p", "copy": "c", "device": "d", "time": "t"}],
            "peers": [PEER],
            "something new": {"*": ["x"]},
        }
    ],
    "invitations": [{"id": "i", "joined": [{"name": "n", "address": "a"}]}],
}
FINDING = {"level": "l", "what": "w", "detail": "d", "hint": "h"}
TEMPLATES = ("%s: %s is held back, for it %s. %s", "%s is up", "%d of %s", "no values", "%s %s %s %s %s", "100 %")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_that_is_planted_in_any_field_is_shown(seed: int) -> None:
    chance = random.Random(seed)

    def draw() -> str:
        return hostile(chance)

    log = [
        {
            "time": 0.0,
            "level": "INFO",
            "logger": logger,
            "template": chance.choice((*TEMPLATES, draw())),
            "values": [chance.choice((draw(), 7)) for _ in range(chance.randrange(5))],
            **({"error": {"class": draw(), "says": draw(), "places": ["autosync/agent.py:1 in run"]}} if n else {}),
        }
        for n, logger in enumerate(("autosync.agent", "autosync.agent", "asyncio"))
    ]
    gathered = {
        "versions": {},
        "counts": {},
        "config": planted(as_plain(CONFIG), draw),
        "status": planted(STATUS, draw),
        "doctor": [planted(FINDING, draw)],
        "log": log,
        "crashes": [{"class": draw(), "says": draw(), "places": []}],
    }
    shown = json.dumps(redact(gathered, OWN), ensure_ascii=False)
    for secret in SECRETS:
        assert secret not in shown
        assert json.dumps(secret)[1:-1] not in shown
    record("bad inputs refused", 1)


def test_ones_own_words_are_shown_and_the_same_thing_has_the_same_name() -> None:
    redactor = Redactor(OWN)
    redactor.name("notes", "workspace")
    said = "The hub origin (../hub.git) does not take refs/autosync/x: declined"
    assert redactor.text(said) == "The hub part1/part2 does not take part3/part4/part5: text1"
    assert redactor.text(said) == redactor.text(said)
    assert redactor.value({"workspace": "notes", "phase": "watching", "count": 3}) == {
        "workspace": "workspace1",
        "phase": "watching",
        "count": 3,
    }
    assert redactor.value({"what": "notes"}) == {"what": "workspace1"}
    assert redactor.name("/home/me/notes/a.txt") == redactor.name("/home/me/notes/a.txt")
    home, other = redactor.name("/home/me/x").split("/"), redactor.name("/home/me/y").split("/")
    assert (home[:3], home[3] != other[3]) == (other[:3], True)


@pytest.mark.parametrize(
    ("parts", "text", "values"),
    [
        (("a ", " b"), "a x b", ["x"]),
        (("a ", " b ", ""), "a x b y", ["x", "y"]),
        (("a ", " b"), "a b", None),
        (("a",), "a", []),
        (("a",), "ab", None),
        (("a ", " b"), "c x b", None),
        (("", " and ", " end"), "x and y and z end", ["x", "y and z"]),
        (("", " and ", " end"), "x or y end", None),
        (("", " and ", " end"), "x and y", None),
    ],
)
def test_a_sentence_is_found_again(parts: tuple[str, ...], text: str, values: list[str] | None) -> None:
    assert Sentence(parts).values_in(text) == values


def test_the_most_telling_sentence_counts(tmp_path: Path) -> None:
    source = tmp_path / "said.py"
    source.write_text('x = y = 1\nf"The hub {x} says {y}"\nf"The hub {x} says nothing to {y}"\n"%s is gone"\n')
    found = Sentences([source]).find("The hub a says nothing to b")
    assert found == (Sentence(("The hub ", " says nothing to ", "")), ["a", "b"])
    assert Sentences([source]).find("disk 1 is gone") == (Sentence(("", " is gone")), ["disk 1"])
    assert Sentences([source]).find("x" * 5000) is None


@dataclass
class Odd:
    """What a value may be that is logged."""

    text: str

    def __str__(self) -> str:
        return self.text


def test_the_logbook_keeps_the_last_records_as_template_and_values() -> None:
    book = Logbook(remembered=2)
    log = logging.Logger("autosync.x")
    log.addHandler(book)
    log.info("first")
    log.warning("%s is %d", Odd("it"), 5)
    try:
        own_sentences().find(1)  # type: ignore[arg-type]  # that is the error
    except TypeError:
        log.exception("%(a)s failed", {"a": "b"})
    one, two = book.rows()
    assert (one["template"], one["values"], one["level"]) == ("%s is %d", ["it", 5], "WARNING")
    assert (two["error"]["class"], two["error"]["places"][-1].endswith("in find")) == ("TypeError", True)
    assert two["error"]["places"][0].startswith("autosync/cli/bugreport/sentences.py:")
