"""What a large content takes in memory while it is stored, read and sent: hardly more than itself."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from autosync.backends.hg.database import Database
from autosync.backends.hg.objects import Kind, Objects
from autosync.backends.hg.wire import CONTENT, HEADER, STREAM, Reader, Writer
from autosync.backends.hgext.frames import frame

T = TypeVar("T")

SIZE = 8 << 20
MOST = 1.6
"""Times the size of the content: it, a little that a buffer has to spare, and a part of what is made of it."""


def watched(act: Callable[[], T]) -> tuple[T, float]:
    """Return what ``act`` returns, and how many times the size of the content it took beside it."""
    tracemalloc.start()
    try:
        done = act()
        return done, tracemalloc.get_traced_memory()[1] / SIZE
    finally:
        tracemalloc.stop()


def test_a_question_takes_one_copy() -> None:
    content = os.urandom(SIZE)
    _, took = watched(lambda: frame({b"content": content}))
    assert took < MOST


def test_storing_and_reading_takes_one_copy(tmp_path: Path) -> None:
    objects = Objects(Database(os.fsencode(tmp_path)))
    content = os.urandom(SIZE)
    oid = objects.put(Kind.BLOB, content)
    _, took = watched(objects.flush)
    assert took < MOST
    read, took = watched(lambda: objects.read(Kind.BLOB, oid))
    assert read == content
    assert took < MOST


def test_sending_takes_none_and_receiving_one(tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    with (tmp_path / "stream").open("w+b") as file:
        writer = Writer(file)
        writer.write(HEADER, b"{}")
        _, took = watched(lambda: writer.write(CONTENT, content, oid=bytes(32)))
        assert took < 1
        writer.end()
        file.seek(0)
        reader = Reader(file, STREAM)
        for record in reader.records():
            if record.kind == CONTENT:
                received, took = watched(reader.content)
                assert received == content
                assert took < MOST
