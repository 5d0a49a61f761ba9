r"""The wire command ``listkeyspatterns``: a server tells of the bookmarks that match, a page at a time.

Arguments: ``namespace`` (``bookmarks``), ``patterns`` (one per line; ``literal:NAME`` is one name),
and if wanted ``after`` (only names that sort behind it) and ``limit`` (names in one answer). The
answer is text: ``more`` or ``end``, then lines of a hash and a name, by the bytes of the names.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from mercurial import encoding, extensions, wireprototypes, wireprotov1server
from mercurial.i18n import _
from mercurial.node import hex as hexadecimal

from .names import any_matcher, flaw, is_divergent, is_pattern
from .versions import is_loaded

COMMAND = b"listkeyspatterns"
CAPABILITY = COMMAND
PAGE = 1000
"""Names in one answer at most, unless ``selectivepull.page`` says another number."""
MOST_PATTERNS = 200
"""Patterns of one question; exact names cost no more than a look into a dict, and have a cap of bytes alone."""
MOST_BYTES = 48 * 1024
"""Bytes of all patterns: over http they travel in headers, of which servers take some 64 kB."""
LITERAL = b"literal:"
"""Stands before a name that is meant as it is; no name has a colon."""


class Refused(Exception):
    """A question that a server does not answer; its text says why."""


def register() -> None:
    """Have this process serve the command, and say so to its clients."""
    if COMMAND not in wireprotov1server.commands:
        wireprotov1server.wireprotocommand(COMMAND, b"namespace patterns *", permission=b"pull")(_serve)
        extensions.wrapfunction(wireprotov1server, "_capabilities", _capabilities)


def page(repo: Any, questions: Iterable[bytes], after: bytes, limit: int) -> tuple[list[tuple[bytes, bytes]], bool]:
    """Return the next bookmarks (UTF-8, node) in order of their names, and whether there are more.

    ``repo`` is a view: what is hidden or secret there has no name (``bookmarks.listbinbookmarks``
    does the same), and names of bookmarks that diverged are not told.

    Raises:
        Refused: a question is malformed, or these are too many.
    """
    exact, patterns = _parts(list(questions))
    marks, has_node = repo._bookmarks, repo.changelog.hasnode
    candidates = {name: node for name, node in _candidates(marks, exact, patterns) if name > after and has_node(node)}
    found = heapq.nsmallest(limit + 1, candidates.items())
    return found[:limit], len(found) > limit


def _parts(questions: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    if sum(map(len, questions)) + len(questions) > MOST_BYTES:
        raise Refused(f"more than {MOST_BYTES} bytes of patterns")
    exact = [question[len(LITERAL) :] for question in questions if question.startswith(LITERAL)]
    others = [question for question in questions if not question.startswith(LITERAL)]
    patterns = [text for text in others if is_pattern(text)]
    if len(patterns) > MOST_PATTERNS:
        raise Refused(f"more than {MOST_PATTERNS} patterns")
    for text in exact + others:
        found = flaw(text)
        if found is not None:
            raise Refused(f"'{text.decode('utf-8', 'replace')}' names no bookmark: {found}")
    return exact + [text for text in others if not is_pattern(text)], patterns


def _candidates(marks: Any, exact: list[bytes], patterns: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for name in exact:
        node = marks.get(encoding.tolocal(name))
        if node is not None and not is_divergent(name):
            yield name, node
    if patterns:
        matches = any_matcher(patterns)
        for local, node in marks.items():
            name = encoding.fromlocal(local)
            # A name that no client takes would keep it from all the others.
            if matches(name) and flaw(name) is None and not is_divergent(name):
                yield name, node


def _serve(repo: Any, _proto: Any, namespace: bytes, patterns: bytes, others: dict[bytes, bytes]) -> Any:
    """Answer the wire command; the dispatcher has checked that the client may pull."""
    largest = max(1, repo.ui.configint(b"selectivepull", b"page"))
    try:
        if not (is_loaded(repo.ui) and repo.ui.configbool(b"selectivepull", b"serve")):
            raise Refused("it is switched off")
        if namespace != b"bookmarks":
            raise Refused("it lists bookmarks alone")
        limit = others.get(b"limit", b"%d" % largest)
        if not limit.isdigit() or len(limit) > 9:
            raise Refused("the limit is no number")
        questions = [line for line in patterns.split(b"\n") if line]
        rows, more = page(repo, questions, others.get(b"after", b""), min(largest, max(1, int(limit))))
    except Refused as refusal:
        return wireprototypes.ooberror(_(b"listkeyspatterns: %s\n") % str(refusal).encode())
    lines = [b"more\n" if more else b"end\n"]
    lines += [b"%s %s\n" % (hexadecimal(node), name) for name, node in rows]
    return wireprototypes.bytesresponse(b"".join(lines))


def _capabilities(original: Any, repo: Any, proto: Any) -> Any:
    found = original(repo, proto)
    return [*found, CAPABILITY] if is_loaded(repo.ui) and repo.ui.configbool(b"selectivepull", b"serve") else found
