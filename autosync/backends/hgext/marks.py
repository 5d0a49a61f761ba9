"""Asks a hub for the bookmarks that are named, so that those that are not do not travel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from mercurial import error, wireprotov1server

PATTERNS = b"listkeyspatterns"
"""The wire command, and capability, of the extension ``selectivepull`` (``autosync.hgext.selectivepull.listing``)."""
_LITERAL = b"literal:"
_LARGEST = 16 << 20
"""Bytes: no more are read of a page."""
_PAGE = re.compile(rb"([0-9a-f]{40}) ([^\x00-\x1f\x7f:]+)")
_PREFIX = re.compile(rb"[0-9a-fA-F]{1,40}")
_NODE = re.compile(rb"[0-9a-f]{40}")
_FOUND = re.compile(rb"1 ((?!0{40})[0-9a-f]{40})\n")
"""The answer to ``lookup``, unless it is what is nowhere."""
_AT_ONCE = 20
"""Names in one request: over http they travel in a header."""

if PATTERNS not in wireprotov1server.commands:
    # A client over ssh looks here for the arguments of what it sends; nothing is served by this process.
    wireprotov1server.wireprotocommand(PATTERNS, b"namespace patterns *", permission=b"pull")(None)


class Unlisted(Exception):
    """The hub lists bookmarks by pattern for nobody."""


def named(peer: Any, names: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return where these bookmarks are; those that the hub has not are missing.

    A server without the extension is asked to look the names up, which it does for branches, tags and
    beginnings of hashes as well.  What may be one of the last is looked for in the list of all.
    """
    if not names:
        return {}
    if peer.local() is not None:
        return {name: node for name, node in _all(peer).items() if name in names}
    if peer.capable(PATTERNS):
        return dict(_pages(peer, [_LITERAL + name for name in names], b"", len(names)))
    found = _looked_up(peer, names)
    doubtful = [name for name, node in found.items() if _PREFIX.fullmatch(name) and _begins(node, name)]
    if doubtful:
        every = _all(peer)
        found.update({name: every[name] for name in doubtful if name in every})
        found = {name: node for name, node in found.items() if name not in doubtful or name in every}
    return found


def matching(peer: Any, pattern: bytes, after: bytes, limit: int) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the next bookmarks that begin so (``*`` at the end), in order of their names, and if there are more.

    Raises :class:`Unlisted`.
    """
    if peer.local() is not None:
        beginning = pattern[:-1]
        found = sorted(each for each in _all(peer).items() if each[0].startswith(beginning) and each[0] > after)
        return found[:limit], len(found) > limit
    if not peer.capable(PATTERNS):
        raise Unlisted
    found = []
    for row in _pages(peer, [pattern], after, limit + 1):
        found.append(row)
        if len(found) > limit:
            break
    return found[:limit], len(found) > limit


def _pages(peer: Any, questions: Sequence[bytes], after: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield what the server lists, page after page, in order.

    Raises :class:`mercurial.error.Abort` for what is no answer: so no list is without end.
    """
    more = True
    while more:
        asked = {"namespace": b"bookmarks", "patterns": b"\n".join(questions), "after": after, "limit": b"%d" % limit}
        head, _, body = _answer(peer, asked).partition(b"\n")
        if head not in {b"more", b"end"}:
            raise _nonsense(b"neither more nor end")
        more, before = head == b"more", after
        for line in body.removesuffix(b"\n").split(b"\n") if body else ():
            row = _PAGE.fullmatch(line)
            if row is None:
                raise _nonsense(b"no hash and name")
            name = row[2]
            if not any(name == question.removeprefix(_LITERAL) or _begins_as(name, question) for question in questions):
                raise _nonsense(name + b", which nobody asked for")
            if name <= after:
                raise _nonsense(name + b" out of order")
            yield name, bytes.fromhex(row[1].decode("ascii"))
            after = name
        if more and after == before:
            raise _nonsense(b"more to come, but nothing yet")


def _answer(peer: Any, asked: Mapping[str, bytes]) -> bytes:
    """Return what the server says, unless that is larger than any list can be."""
    stream = peer._callstream(PATTERNS, **asked)
    size = peer._getamount() if hasattr(peer, "_getamount") else _LARGEST + 1  # over ssh it comes first
    content = bytes(stream.read(min(size, _LARGEST + 1)))
    if len(content) > _LARGEST:
        raise _nonsense(b"more than %d bytes" % _LARGEST)
    return content


def _begins_as(name: bytes, question: bytes) -> bool:
    return question.endswith(b"*") and not question.startswith(_LITERAL) and name.startswith(question[:-1])


def _nonsense(what: bytes) -> Exception:
    abort: Exception = error.Abort(b"the hub lists bookmarks in a way that nobody can: " + what)
    return abort


def _looked_up(peer: Any, names: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return what any server finds by these names.

    ``peer.lookup`` would do, but ends a connection over ssh at the first name that is unknown.
    """
    found = {}
    for start in range(0, len(names), _AT_ONCE):
        asked = names[start : start + _AT_ONCE]
        answers = list(peer._submitbatch([(b"lookup", {b"key": name}) for name in asked]))
        matches = [_FOUND.fullmatch(bytes(answer)) for answer in answers]
        found.update({asked[at]: bytes.fromhex(match[1].decode()) for at, match in enumerate(matches) if match})
    return found


def _all(peer: Any) -> dict[bytes, bytes]:
    with peer.commandexecutor() as executor:
        listed = executor.callcommand(b"listkeys", {b"namespace": b"bookmarks"}).result()
    return {name: bytes.fromhex(node.decode("ascii")) for name, node in listed.items() if _NODE.fullmatch(node)}


def _begins(node: bytes, name: bytes) -> bool:
    return node.hex().startswith(name.decode("ascii").lower())


class Part:
    """A hub as if it had no more than these ``heads``, and no bookmarks but ``marks``; ``None`` for what it has.

    So hg's own discovery and push (``setdiscovery``, ``exchange.push``) work without asking for all of them.
    """

    def __init__(
        self, peer: Any, *, heads: Sequence[bytes] | None = None, marks: Mapping[bytes, bytes] | None = None
    ) -> None:
        self._peer = peer
        self._heads = heads
        self._marks = marks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peer, name)

    @contextmanager
    def commandexecutor(self) -> Iterator[Any]:
        """Give what asks the hub."""
        with self._peer.commandexecutor() as executor:
            yield _Executor(executor, self._answers())

    def _answers(self) -> dict[bytes, Any]:
        answers: dict[bytes, Any] = {}
        if self._heads is not None:
            answers[b"heads"] = list(self._heads)
        if self._marks is not None:
            answers[b"listkeys"] = {name: node.hex().encode() for name, node in self._marks.items()}
        return answers


class _Executor:
    """Answers some questions itself."""

    def __init__(self, executor: Any, answers: Mapping[bytes, Any]) -> None:
        self._executor = executor
        self._answers = answers

    def callcommand(self, command: bytes, args: Mapping[bytes, Any]) -> Any:
        """Return what will hold the answer."""
        known = command in self._answers and args.get(b"namespace", b"bookmarks") == b"bookmarks"
        if not known:
            return self._executor.callcommand(command, args)
        answer: Future[Any] = Future()
        answer.set_result(self._answers[command])
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
