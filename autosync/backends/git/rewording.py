"""Gives a commit object another message; everything else in it stays (git-commit-tree(1))."""

from __future__ import annotations

_DROPPED = (b"committer ", b"encoding ", b"gpgsig ", b"gpgsig-sha256 ")
"""Headers that are about who committed it, and in which words."""


def message_of(commit: bytes) -> str:
    """Return the message of a commit object."""
    headers, _, message = commit.partition(b"\n\n")
    encoding = next((line[9:] for line in headers.split(b"\n") if line.startswith(b"encoding ")), b"utf-8")
    try:
        return message.decode(encoding.decode("ascii"), "replace")
    except (LookupError, UnicodeDecodeError):  # an encoding that Python does not have, or that is none
        return message.decode("utf-8", "replace")


def reworded(commit: bytes, message: str, *, committer: bytes) -> bytes:
    """Return the commit object with another message, made by ``committer`` (as ``git var`` says it).

    Tree, parents and author are the same; a signature, which would be wrong now, is left out.
    """
    headers = commit.partition(b"\n\n")[0].split(b"\n")
    kept: list[bytes] = []
    dropping = False
    for line in headers:
        dropping = line.startswith(_DROPPED) or (dropping and line.startswith(b" "))
        if line.startswith(b"committer "):
            kept.append(b"committer " + committer.strip())
        elif not dropping:
            kept.append(line)
    return b"\n".join(kept) + b"\n\n" + message.encode("utf-8", "surrogateescape")
