"""Answers what changes the state of a working copy asks, and what files are to be written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import adding, ancestry, committing, landing, memory, rewording
from .contents import given, taken
from .filters import Decoder
from .frames import Fields, Value, as_bytes, as_list

Answer = dict[bytes, Value]


def _take_in(repo: Any, question: Fields) -> Answer:
    adding.take_in(repo, question.text(b"place"), question.text(b"tip"))
    return {}


def _commit(repo: Any, question: Fields) -> Answer:
    contents = question.table(b"given")
    files = {path: memory.content_of(contents.value(path)) for path in contents}
    return committing.commit(repo, question, files)


def _filtered(repo: Any, question: Fields) -> Answer:
    return {b"paths": _decoder(repo, question).concerned(question.texts(b"paths"))}


def _decode(repo: Any, question: Fields) -> Answer:
    decoder = _decoder(repo, question)
    into = question.text(b"into") if b"into" in question else None
    found: list[Value] = []
    for item in question.items(b"files"):
        path, content = as_list(item, b"files")
        found.append(given(decoder.decode(as_bytes(path, b"files"), taken(content)), into))
    return {b"contents": found}


def _decoder(repo: Any, question: Fields) -> Decoder:
    return Decoder(repo, question.text(b"rules") if b"rules" in question else None)


def _ancestor(repo: Any, question: Fields) -> Answer:
    return ancestry.ancestor(repo, question.texts(b"nodes"))


def _public(repo: Any, question: Fields) -> Answer:
    return ancestry.public(repo, question.text(b"node"))


def _graph(repo: Any, question: Fields) -> Answer:
    return ancestry.graph(repo, question.text(b"place"))


ANSWERS: dict[bytes, Callable[[Any, Fields], Answer]] = {
    b"check-landing": landing.check,
    b"land": landing.land,
    b"take-in": _take_in,
    b"commit": _commit,
    b"recover": committing.recover,
    b"wording": rewording.wording,
    b"reword": rewording.reword,
    b"filtered": _filtered,
    b"decode": _decode,
    b"ancestor": _ancestor,
    b"public": _public,
    b"graph": _graph,
}
