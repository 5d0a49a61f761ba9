"""Answers what the exchange of snapshots and changesets asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import history, naming
from .frames import Fields, Value, as_bytes, as_list
from .memory import Wording, content_of

Answer = dict[bytes, Value]


def _file_nodes(repo: Any, question: Fields) -> Answer:
    given = question.table(b"given")
    files = {path: content for path in given if (content := content_of(given.value(path))) is not None}
    return {b"nodes": naming.file_nodes(repo, question.text(b"parent"), files)}


def _changeset_node(repo: Any, question: Fields) -> Answer:
    given = question.table(b"files")
    files = {path: _file(given.value(path)) for path in given}
    extra = question.table(b"extra")
    wording = Wording(
        user=question.text(b"user"),
        time=question.number(b"time"),
        offset=0,
        message=question.text(b"message"),
        branch=question.text(b"branch"),
        extra={key: extra.text(key) for key in extra},
    )
    return {b"node": naming.changeset_node(repo, question.text(b"parent"), files, wording)}


def _file(value: Value) -> tuple[bytes, bytes, bool] | None:
    if value is None:
        return None
    flags, node, touched = as_list(value, b"files")
    return as_bytes(flags, b"files"), as_bytes(node, b"files"), bool(touched)


def _history(repo: Any, question: Fields) -> Answer:
    return history.write_history(
        repo,
        question.text(b"tip"),
        question.texts(b"common"),
        question.text(b"into"),
        question.number(b"most"),
    )


def _verify(overlay: Any, question: Fields) -> Answer:
    return history.verify(
        overlay, question.text(b"tip"), files=question.number(b"files"), work=question.number(b"work")
    )


def _border(overlay: Any, question: Fields) -> Answer:
    return {b"node": history.border(overlay, question.text(b"tip"))}


def _absent(repo: Any, question: Fields) -> Answer:
    return history.absent(repo, question.texts(b"nodes"))


def _heads(repo: Any, question: Fields) -> Answer:
    return history.heads(repo, question.number(b"most"))


ANSWERS: dict[bytes, Callable[[Any, Fields], Answer]] = {
    b"file-nodes": _file_nodes,
    b"changeset-node": _changeset_node,
    b"history": _history,
    b"verify-history": _verify,
    b"border": _border,
    b"absent": _absent,
    b"heads": _heads,
}
