"""pull only the bookmarks that a working copy wants

A server with very many bookmarks makes every :hg:`pull` slow: it sends all of them, and the
changesets of all. With this extension a working copy pulls what it subscribed to:

- what is checked out, and the default bookmark: the first of ``selectivepull.default`` that the
  server has. If there is no such bookmark at all, the tip of the branch that is checked out.
- names and patterns of the hgrc::

    [extensions]
    selectivepull = /path/to/selectivepull
    [selectivepull]
    subscribe = main, feature/*

- what :hg:`pull -B NAME`, :hg:`update NAME` and :hg:`subscribe NAME` asked for.

:hg:`update NAME` pulls a bookmark that is not here yet. :hg:`subscriptions` lists, and
:hg:`unsubscribe NAME` forgets. :hg:`pull --all` pulls everything once, and so does every command
with ``--config selectivepull.enabled=no``.

Of any server names are looked up one by one. Patterns need a server that has this extension too
(then it also answers :hg:`bookmarks --remote 'feature/*'`, page after page).

Configuration, section ``selectivepull``:

``enabled``
    Whether pulls are selective (default: yes).
``subscribe``
    Names and patterns to pull, besides those that commands added.
``default``
    The default bookmark: the first of these that the server has (default: @, main, master).
``most``
    Give up if more bookmarks of a server match than this (default: 10000).
``serve``
    On a server: list by pattern for clients (default: yes).
``page``
    On a server: the most bookmarks of one answer (default: 1000).
"""

from __future__ import annotations

from typing import Any

from mercurial import registrar

from . import commanding, listing, pulling

testedwith = b"6.3 6.9 7.2"
minimumhgversion = b"6.3"
cmdtable = commanding.cmdtable
configtable: dict[bytes, Any] = {}
_item = registrar.configitem(configtable)
_item(b"selectivepull", b"enabled", default=True)
_item(b"selectivepull", b"subscribe", default=list)
_item(b"selectivepull", b"default", default=lambda: [b"@", b"main", b"master"])
_item(b"selectivepull", b"most", default=10_000)
_item(b"selectivepull", b"serve", default=True)
_item(b"selectivepull", b"page", default=listing.PAGE)


def extsetup(_ui: Any) -> None:
    """Take part in this process, as client and as server."""
    listing.register()
    pulling.register()
    commanding.register()
