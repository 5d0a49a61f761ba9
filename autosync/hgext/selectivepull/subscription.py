r"""The list of bookmarks that a working copy wants: from its hgrc, and from a file that commands extend.

The file is ``.hg/selectivepull`` of the working copy, also of one that shares its store and its
bookmarks with others. It is text in UTF-8, its first line the version, then in order of the names::

    selectivepull 1
    want feature/*
    seen 5b1a0d4f2a34c8b1e2cd3e0c6d53d9a1c1b0f9e7 feature/a

``want`` is a name or pattern that commands added. ``seen`` says where a bookmark was when it was
pulled last: what is still there was not touched here and may be removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mercurial import encoding, error
from mercurial.i18n import _
from mercurial.node import bin as binary
from mercurial.node import hex as hexadecimal

from .names import any_matcher, flaw, is_divergent, is_pattern

FILE = b"selectivepull"
_HEADER = b"selectivepull 1\n"
_SEEN = re.compile(rb"([0-9a-f]{40}) (.+)")


class Subscription:
    """What one working copy wants, and where it saw these bookmarks last; all names in hg's local encoding."""

    def __init__(self, repo: Any) -> None:
        """Read the file and the hgrc.

        Raises:
            mercurial.error.Abort: the file or the hgrc has something that is no name and no pattern.
        """
        self._repo = repo
        self._before = (set[bytes](), dict[bytes, bytes]())
        self.wanted: set[bytes] = set()
        """Names and patterns that commands added."""
        self.seen: dict[bytes, bytes] = {}
        """The node (binary) that a bookmark had when it was pulled last."""
        self._read()
        self.configured: list[bytes] = list(repo.ui.configlist(b"selectivepull", b"subscribe"))
        for text in self.configured:
            check(text, b"selectivepull.subscribe")

    def _read(self) -> None:
        content = self._repo.vfs.tryread(FILE)
        if not content:
            return
        lines = content.splitlines(keepends=True)
        if lines[0] != _HEADER:
            raise error.Abort(
                _(b"%s was written by another version of selectivepull") % self._repo.vfs.join(FILE),
                hint=_(b"remove it to begin with an empty list, or update the extension"),
            )
        for number, line in enumerate(lines[1:], 2):
            kind, _space, rest = line.rstrip(b"\n").partition(b" ")
            seen = _SEEN.fullmatch(rest)
            if kind == b"want" and flaw(rest) is None:
                self.wanted.add(encoding.tolocal(rest))
            elif kind == b"seen" and seen is not None:
                self.seen[encoding.tolocal(seen[2])] = binary(seen[1])
            else:
                raise error.Abort(
                    _(b"line %d of %s is damaged: %s") % (number, self._repo.vfs.join(FILE), line.strip()),
                    hint=_(b"remove the line, and run 'hg subscriptions' to see what is left"),
                )
        self._before = (set(self.wanted), dict(self.seen))

    @property
    def all_wanted(self) -> list[bytes]:
        """The names and patterns of the file and the hgrc, each once, in order."""
        return sorted(self.wanted.union(self.configured))

    @property
    def exact(self) -> list[bytes]:
        """The names among what is wanted."""
        return [text for text in self.all_wanted if not is_pattern(text)]

    @property
    def patterns(self) -> list[bytes]:
        """The patterns among what is wanted."""
        return [text for text in self.all_wanted if is_pattern(text)]

    def known_for(self, patterns: Iterable[bytes]) -> list[bytes]:
        """Return the bookmarks that are here, or were, and match one of these patterns."""
        matches = any_matcher(map(encoding.fromlocal, patterns))
        here = {name for name in self._repo._bookmarks if not is_divergent(name)}
        return sorted(name for name in here.union(self.seen) if matches(encoding.fromlocal(name)))

    def write(self) -> None:
        """Write the file, if it changed; the lock of the working copy has to be held."""
        if (self.wanted, self.seen) == self._before:
            return
        lines = [b"want %s\n" % encoding.fromlocal(text) for text in sorted(self.wanted)]
        for name, node in sorted(self.seen.items()):
            lines.append(b"seen %s %s\n" % (hexadecimal(node), encoding.fromlocal(name)))
        with self._repo.vfs(FILE, b"w", atomictemp=True) as file:
            file.write(_HEADER + b"".join(lines))
        self._before = (set(self.wanted), dict(self.seen))


def check(text: bytes, where: bytes) -> None:
    """Raise an error that names what is wrong with a name or pattern, and where it stands."""
    found = flaw(text)
    if found is not None:
        raise error.InputError(_(b"%s: '%s' names no bookmark: %s") % (where, text, found.encode()))


def extend(repo: Any, texts: Iterable[bytes]) -> list[bytes]:
    """Add names and patterns to the list of a working copy; return those that are new to it."""
    with repo.wlock():
        subscription = Subscription(repo)
        new = [text for text in texts if text not in subscription.all_wanted]
        subscription.wanted.update(new)
        subscription.write()
    return new


def remember(repo: Any, marks: Mapping[bytes, bytes], asked: Iterable[bytes]) -> None:
    """Note where the bookmarks that were asked for are (``marks``), and that the others of these are gone."""
    before = Subscription(repo).seen
    gone = [name for name in asked if name in before and name not in marks]
    if not gone and all(before.get(name) == node for name, node in marks.items()):
        return
    with repo.wlock():
        subscription = Subscription(repo)
        subscription.seen.update(marks)
        for name in gone:
            subscription.seen.pop(name, None)
        subscription.write()
