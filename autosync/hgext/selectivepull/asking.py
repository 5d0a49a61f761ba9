"""Asks another repository where some bookmarks are, without having it tell of all the others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mercurial import encoding, error, wireprotov1peer
from mercurial.i18n import _
from mercurial.node import bin as binary
from mercurial.node import hex as hexadecimal
from mercurial.utils import urlutil

from . import listing
from .names import LONGEST, any_matcher, flaw, is_divergent

_LINE = re.compile(rb"([0-9a-f]{40}) ([^\n]+)")
_LOOKED_UP = re.compile(rb"1 ([0-9a-f]{40})\n?")
_LARGEST_PAGE = 10_000
_LARGEST_ANSWER = _LARGEST_PAGE * (LONGEST + 42) + 8
"""Bytes: no more are read of an answer."""
_LOOKUPS = 100
"""Names that are looked up in one request."""
_BYTES_OF_LOOKUPS = 16 * 1024
_BYTES_OF_QUESTIONS = 24 * 1024
"""Of one request: as headers they can be three times as long, of which Python's server takes 100 kB."""
_SIMILAR = 5


@dataclass(slots=True)
class Found:
    """Where bookmarks are at a server; names in hg's local encoding."""

    marks: dict[bytes, bytes] = field(default_factory=dict)
    """The node (binary) of each."""
    doubtful: set[bytes] = field(default_factory=set)
    """Names that a server only looked up, which it also does with tags and branches."""


def lists(peer: Any) -> bool:
    """Return whether a server can list by pattern: it has the extension too, or it is a repository on this machine."""
    return bool(peer.local() is not None or peer.capable(listing.CAPABILITY))


def ask(peer: Any, exact: Iterable[bytes], patterns: Iterable[bytes]) -> Found:
    """Return the bookmarks of these names, and those that match a pattern (only where the server `lists`).

    Raises:
        mercurial.error.Abort: the answer is not one to this question, or too many bookmarks match.
    """
    names = sorted({name for name in exact if flaw(name) is None and not is_divergent(name)})
    if not lists(peer):
        return _looked_up(peer, names)
    most = peer.ui.configint(b"selectivepull", b"most")
    found = Found()
    for name, node in listed(peer, names, sorted(set(patterns))):
        if len(found.marks) >= most:
            raise error.Abort(
                _(b"more than %d bookmarks at %s match %s") % (most, _at(peer), b", ".join(sorted(set(patterns)))),
                hint=_(b"use a narrower pattern, or raise selectivepull.most"),
            )
        found.marks[name] = node
    return found


def listed(
    peer: Any, exact: Iterable[bytes], patterns: Iterable[bytes], after: bytes = b""
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, node) of what matches, in order of the names in UTF-8, asking page after page.

    Raises:
        mercurial.error.Abort: an answer is not one to this question, or the server refuses.
    """
    questions = [listing.LITERAL + encoding.fromlocal(name) for name in exact] + [
        encoding.fromlocal(pattern) for pattern in patterns
    ]
    for part in _parts(questions):
        last, more = encoding.fromlocal(after), True
        while more:
            rows, more = _page(peer, part, last)
            for name, node in rows:
                yield encoding.tolocal(name), node
                last = name


def similar(peer: Any, name: bytes) -> list[bytes]:
    """Return names of a server that are like this one, the likest first; none if it cannot tell."""
    if not lists(peer):
        return []
    sought = encoding.fromlocal(name)
    for size in (len(sought) - 2, len(sought) * 2 // 3, len(sought) // 3):
        pattern = sought[: max(1, size)] + b"*"
        if flaw(pattern) is None:
            rows, _more = _page(peer, [pattern], b"")
            texts = {found.decode("utf-8", "replace"): found for found, _node in rows}
            close = difflib.get_close_matches(sought.decode("utf-8", "replace"), texts, _SIMILAR)
            if close:
                return [encoding.tolocal(texts[text]) for text in close]
    return []


def _parts(questions: list[bytes]) -> Iterator[list[bytes]]:
    """Yield the questions in portions that a server takes."""
    portion: list[bytes] = []
    size = 0
    for question in questions:
        size += len(question) + 1
        if portion and (size > _BYTES_OF_QUESTIONS or len(portion) >= listing.MOST_PATTERNS):
            yield portion
            portion, size = [], len(question) + 1
        portion.append(question)
    if portion:
        yield portion


def _page(peer: Any, questions: list[bytes], after: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    repo = peer.local()
    if repo is not None:
        try:
            return listing.page(repo, questions, after, listing.PAGE)
        except listing.Refused as refusal:
            raise error.Abort(_(b"cannot list bookmarks: %s") % str(refusal).encode()) from refusal
    arguments = {"namespace": b"bookmarks", "patterns": b"\n".join(questions)}
    if after:
        arguments["after"] = after
    return _checked(peer, _answer(peer, arguments), questions, after)


def _answer(peer: Any, arguments: dict[str, bytes]) -> bytes:
    """Return what a server answers to the wire command, unless that is larger than any true answer."""
    stream = peer._callstream(listing.COMMAND, **arguments)
    if hasattr(peer, "_getamount"):  # over ssh the answer follows its size
        size = peer._getamount()
        content = stream.read(size) if size <= _LARGEST_ANSWER else b""
    else:
        content = stream.read(_LARGEST_ANSWER + 1)
        size = len(content)
    if size > _LARGEST_ANSWER:
        peer.close()
        raise _nonsense(peer, b"an answer of more than %d bytes" % _LARGEST_ANSWER)
    return bytes(content)


def _checked(peer: Any, content: bytes, questions: list[bytes], after: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the rows of an answer and whether more follow, if it is one to these questions."""
    head, _newline, body = content.partition(b"\n")
    if head not in (b"more", b"end"):
        raise _nonsense(peer, b"'%s' instead of more or end" % _printable(head))
    literal = {question[len(listing.LITERAL) :] for question in questions if question.startswith(listing.LITERAL)}
    matches = any_matcher(question for question in questions if not question.startswith(listing.LITERAL))
    rows: list[tuple[bytes, bytes]] = []
    last = after
    *lines, rest = body.split(b"\n")
    if rest:
        raise _nonsense(peer, b"an answer that ends amid a line")
    for line in lines:
        row = _LINE.fullmatch(line)
        if row is None or flaw(row[2]) is not None:
            raise _nonsense(peer, b"'%s' instead of a hash and a name" % _printable(line))
        if row[2] <= last:
            raise _nonsense(peer, b"%s out of order" % row[2])
        if row[2] not in literal and not matches(row[2]):
            raise _nonsense(peer, b"%s, which nobody asked for" % row[2])
        last = row[2]
        rows.append((last, binary(row[1])))
    if head == b"more" and not rows:
        raise _nonsense(peer, b"more to come, but nothing yet")
    return rows, head == b"more"


def _looked_up(peer: Any, names: list[bytes]) -> Found:
    """Ask any server for names by the command ``lookup``, which also knows prefixes of hashes, tags and branches.

    A prefix is told by the answer, which begins with it. Tags and branches are told once their
    changesets are here (`Found.doubtful`).
    """
    found = Found()
    if names and not peer.capable(b"lookup"):
        raise error.Abort(_(b"%s cannot look up names") % _at(peer))
    for name, node in look_up(peer, names).items():
        if not hexadecimal(node).startswith(name.lower()):
            found.marks[name] = node
            found.doubtful.add(name)
    return found


def _portions(names: list[bytes]) -> Iterator[list[bytes]]:
    portion: list[bytes] = []
    for name in names:
        if len(portion) >= _LOOKUPS or sum(map(len, portion)) + len(name) > _BYTES_OF_LOOKUPS:
            yield portion
            portion = []
        portion.append(name)
    if portion:
        yield portion


def look_up(peer: Any, names: Iterable[bytes]) -> dict[bytes, bytes]:
    """Return the node of each name that any server knows, whatever it names there.

    ``peer.lookup`` is not for this: it ends the connection over ssh when a name is unknown.
    """
    found: dict[bytes, bytes] = {}
    for portion in _portions(list(names)):
        if isinstance(peer, wireprotov1peer.wirepeer):
            requests = [(b"lookup", {b"key": encoding.fromlocal(name)}) for name in portion]
            nodes = [_parsed(peer, answer) for answer in peer._submitbatch(requests)]
        else:
            nodes = [_plainly_looked_up(peer, name) for name in portion]
        if len(nodes) != len(portion):
            raise _nonsense(peer, b"%d hashes instead of %d" % (len(nodes), len(portion)))
        found.update({portion[i]: node for i, node in enumerate(nodes) if node is not None})
    return found


def _parsed(peer: Any, answer: bytes) -> bytes | None:
    if answer.startswith(b"0 "):
        return None
    looked_up = _LOOKED_UP.fullmatch(answer)
    if looked_up is None:
        raise _nonsense(peer, b"'%s' instead of a hash" % _printable(answer))
    return None if set(looked_up[1]) == set(b"0") else binary(looked_up[1])


def _plainly_looked_up(peer: Any, name: bytes) -> bytes | None:
    try:
        node = peer.lookup(name)
    except (error.RepoError, error.LookupError):
        return None
    return node if set(node) != {0} else None


def _at(peer: Any) -> bytes:
    return bytes(urlutil.hidepassword(peer.url()))


def _printable(text: bytes) -> bytes:
    return repr(text[:60]).encode()[2:-1]


def _nonsense(peer: Any, what: bytes) -> Exception:
    refused: Exception = error.RemoteError(
        _(b"%s answers with %s") % (_at(peer), what),
        hint=_(b"nothing was changed here; run with --config selectivepull.enabled=no to do without such answers"),
    )
    return refused
