"""The questions about the working copy and the contents of files, and where they are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import filelogs, surveying
from .frames import Fields, Value
from .standing import refuse_subrepositories


def _survey(repo: Any, question: Fields) -> dict[bytes, Value]:
    refuse_subrepositories(repo)
    directories, names = question.texts(b"directories"), question.texts(b"names")
    return surveying.survey(repo, directories, names, tracking=bool(question.number(b"tracking")))


def _stored(repo: Any, question: Fields) -> dict[bytes, Value]:
    return surveying.stored(repo, question.texts(b"paths"), _into(question))


def _hashes(repo: Any, question: Fields) -> dict[bytes, Value]:
    return filelogs.hashes(repo, question.texts(b"paths"), question.texts(b"nodes"))


def _revisions(repo: Any, question: Fields) -> dict[bytes, Value]:
    return filelogs.revisions(repo, question.texts(b"paths"), question.texts(b"nodes"), _into(question))


def _into(question: Fields) -> bytes | None:
    return question.text(b"into") if b"into" in question else None


ANSWERS: dict[bytes, Callable[[Any, Fields], dict[bytes, Value]]] = {
    b"survey": _survey,
    b"stored": _stored,
    b"hashes": _hashes,
    b"revisions": _revisions,
}
