"""How contents of files stand in questions and answers: small ones as they are, large ones in files."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping

from .frames import Fields, Value, as_bytes

SMALL = 4 << 20
"""Bytes up to which a content is handed over as it is."""
_PART = 1 << 20


def taken(value: Value) -> bytes:
    """Return the content that a question holds.

    It is itself, or a table: ``file`` is the path it is read from, ``packed`` whether as a zlib stream;
    ``body`` is such a stream.
    """
    if not isinstance(value, Mapping):
        return as_bytes(value, b"content")
    fields = Fields.of(value)
    if b"body" in fields:
        return zlib.decompress(fields.text(b"body"))
    with open(fields.text(b"file"), "rb") as file:
        if not fields.number(b"packed"):
            return file.read()
        unpacker, out = zlib.decompressobj(), io.BytesIO()
        while part := file.read(_PART):
            out.write(unpacker.decompress(part))
        return out.getvalue()


def given(content: bytes, into: bytes | None) -> Value:
    """Return the content as an answer holds it: itself, or its size, once it is in the file ``into``."""
    if into is None or len(content) <= SMALL:
        return content
    with open(into, "wb") as file:
        file.write(content)
    return len(content)
