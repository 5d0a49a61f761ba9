"""The commands of hg that ask for bookmarks by name, and those that show and change the subscriptions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mercurial import bookmarks as bookmarking
from mercurial import commands, encoding, error, exchange, extensions, registrar, scmutil
from mercurial.i18n import _
from mercurial.node import hex as hexadecimal
from mercurial.node import short
from mercurial.utils import stringutil, urlutil

from . import asking, choosing, versions
from .names import any_matcher, flaw, is_pattern
from .pulling import Original, narrowed_for
from .subscription import Subscription, check, extend

cmdtable: dict[bytes, Any] = {}
_command = registrar.command(cmdtable)
_REVSET = frozenset(b" ()&|,\"'~^:!#%=\\")
"""What makes a text a revset rather than a name; a bookmark with one of these has to be named by `hg pull -B`."""


def register() -> None:
    """Extend the commands of hg."""
    pull = extensions.wrapcommand(commands.table, b"pull", _pull)
    pull[1].append((b"", b"all", None, _(b"pull all bookmarks and heads, this once")))
    extensions.wrapcommand(commands.table, b"incoming", _incoming)
    extensions.wrapcommand(commands.table, b"update", _update)
    extensions.wrapcommand(commands.table, b"clone", _clone)
    books = extensions.wrapcommand(commands.table, b"bookmarks", _bookmarks)
    books[1].extend(
        [
            (b"", b"remote", None, _(b"list bookmarks of a server, by names and patterns")),
            (b"", b"source", b"", _(b"with --remote: the server (default: default)"), _(b"PATH")),
            (b"", b"all", None, _(b"with --remote: all bookmarks, also of a server that cannot list by pattern")),
            (b"", b"after", b"", _(b"with --remote: only names that sort behind this one"), _(b"NAME")),
            (b"", b"limit", 0, _(b"with --remote: no more than so many"), _(b"N")),
        ]
    )


def _pull(original: Original, ui: Any, repo: Any, *sources: Any, **options: Any) -> Any:
    if options.pop("all", None):
        with choosing.everything():
            return original(ui, repo, *sources, **options)
    if not choosing.is_selective(ui):
        return original(ui, repo, *sources, **options)
    names = [repo._bookmarks.expandname(name) for name in options.get("bookmark") or ()]
    with choosing.ask_for(choosing.Asked(tuple(names))):
        result = original(ui, repo, *sources, **options)
    _extend(repo, names)
    return result


def _extend(repo: Any, names: list[bytes]) -> None:
    for name in extend(repo, names):
        repo.ui.note(_(b"subscribed to bookmark %s\n") % name)


def _incoming(original: Original, ui: Any, repo: Any, *arguments: Any, **options: Any) -> Any:
    with choosing.ask_for(choosing.Asked()):
        return original(ui, repo, *arguments, **options)


def _update(original: Original, ui: Any, repo: Any, node: Any = None, **options: Any) -> Any:
    target = options.get("rev") or node
    if target and choosing.is_selective(ui) and _may_be_elsewhere(repo, target):
        try:
            fetch(ui, repo, target)
        except (error.RepoError, OSError) as failure:  # nothing answers: hg says then that it knows no such revision
            ui.warn(_(b"(cannot ask the default path: %s)\n") % stringutil.forcebytestr(failure))
    return original(ui, repo, node, **options)


def _may_be_elsewhere(repo: Any, target: bytes) -> bool:
    if flaw(target) is not None or is_pattern(target) or _REVSET.intersection(target):
        return False
    if b"default" not in repo.ui.paths:
        return False
    try:
        scmutil.revsingle(repo, target)
    except (error.FilteredRepoLookupError, error.ParseError, error.AmbiguousPrefixLookupError):
        return False
    except error.RepoLookupError:
        return True
    return False


def fetch(ui: Any, repo: Any, name: bytes) -> None:
    """Pull a bookmark that is not here from the default path, and subscribe to it.

    Raises:
        mercurial.error.Abort: it is not there either, or nothing answers there.
    """
    path, peer = versions.open_peer(repo, b"default")
    try:
        ui.status(_(b"pulling bookmark %s from %s\n") % (name, urlutil.hidepassword(peer.url())))
        narrow = narrowed_for(repo, peer)
        found = asking.ask(peer, [name], ())
        if name not in found.marks:
            raise choosing.missing(peer, name)
        narrow.doubtful = found.doubtful.difference(Subscription(repo).seen)
        exchange.pull(
            repo,
            peer,
            path=path,
            heads=[found.marks[name]],
            bookmarks=[name],
            opargs={b"remotebookmarks": found.marks},
        )
    finally:
        peer.close()
    _extend(repo, [name])


def _clone(original: Original, ui: Any, source: Any, dest: Any = None, **options: Any) -> Any:
    if not choosing.is_selective(ui):
        return original(ui, source, dest, **options)
    name = options.get("updaterev")
    names = [name] if name and flaw(name) is None and not _REVSET.intersection(name) else []
    options["pull"] = True  # to copy the files of a repository on this machine would take all of them
    with choosing.ask_for(choosing.Asked(tuple(names))):
        return original(ui, source, dest, **options)


def _bookmarks(original: Original, ui: Any, repo: Any, *names: Any, **options: Any) -> Any:
    remote = {key: options.pop(key, None) for key in ("remote", "source", "all", "after", "limit")}
    if not remote["remote"]:
        given = [key for key in ("source", "all", "after", "limit") if remote[key]]
        if given:
            raise error.InputError(_(b"--%s needs --remote") % given[0].encode())
        return original(ui, repo, *names, **options)
    for key in ("delete", "rename", "rev", "inactive", "force", "list"):
        if options.get(key):
            raise error.InputError(_(b"--remote cannot be combined with --%s") % key.encode())
    for name in names:
        check(name, b"hg bookmarks --remote")
    if not names and not remote["all"]:
        raise error.InputError(_(b"name bookmarks or patterns, or list everything by --all"))
    peer = versions.open_peer(repo, remote["source"] or b"default")[1]
    try:
        formatting = {key.encode(): value for key, value in options.items()}
        count = _print_remote(ui, _remote_rows(peer, list(names), remote), remote["limit"] or 0, formatting)
        if not count:
            ui.status(_(b"no such bookmark at %s\n") % urlutil.hidepassword(peer.url()))
        return 0 if count else 1
    finally:
        peer.close()


def _print_remote(ui: Any, rows: Iterable[tuple[bytes, bytes]], limit: int, formatting: dict[bytes, Any]) -> int:
    """Print bookmarks of a server; return how many there were."""
    count, last, is_cut = 0, b"", False
    with ui.formatter(b"bookmarks", formatting) as formatter:
        for name, node in rows:
            if limit and count == limit:
                is_cut = True
                break
            count, last = count + 1, name
            shown = short(node) if formatter.isplain() and not ui.debugflag else hexadecimal(node)
            formatter.startitem()
            formatter.write(b"bookmark", b"%s" if ui.quiet else b"   %s", name)
            formatter.condwrite(not ui.quiet, b"node", b" " * max(0, 25 - encoding.colwidth(name)) + b" %s", shown)
            formatter.plain(b"\n")
    if is_cut:
        ui.status(_(b"(there are more: continue with --after '%s')\n") % last)
    return count


def _remote_rows(peer: Any, names: list[bytes], remote: dict[str, Any]) -> Any:
    """Return what is to be listed as (name, node) in order of the names."""
    after = remote["after"] or b""
    exact = [name for name in names if not is_pattern(name)]
    patterns = [name for name in names if is_pattern(name)]
    if remote["all"] and not names:
        patterns = [b"*"]
    if asking.lists(peer):
        return asking.listed(peer, exact, patterns, after)
    if not patterns:
        return sorted((name, node) for name, node in asking.ask(peer, exact, ()).marks.items() if name > after)
    if not remote["all"]:
        raise error.InputError(
            _(b"%s cannot list bookmarks by pattern") % urlutil.hidepassword(peer.url()),
            hint=_(b"it needs the extension selectivepull too; --all lists by asking for all of its bookmarks"),
        )
    matches = any_matcher(map(encoding.fromlocal, names or [b"*"]))
    with peer.commandexecutor() as executor:
        listed = executor.callcommand(b"listkeys", {b"namespace": b"bookmarks"}).result()
    found = bookmarking.unhexlifybookmarks(listed)
    return sorted((name, found[name]) for name in found if matches(encoding.fromlocal(name)) and name > after)


@_command(b"subscriptions", list(commands.formatteropts), _(b""), helpcategory=_command.CATEGORY_REMOTE_REPO_MANAGEMENT)  # type: ignore[untyped-decorator]  # Mercurial is Any
def subscriptions(ui: Any, repo: Any, **options: Any) -> int:
    """list the bookmarks that hg pull pulls into this working copy

    Each line has a name or pattern and where it comes from: ``list`` (hg pull -B, hg update and
    hg subscribe add to that), ``hgrc`` (selectivepull.subscribe), ``active`` (what is checked out)
    or ``default`` (the first of these that the server has).
    """
    subscription = Subscription(repo)
    rows = [(text, b"list") for text in sorted(subscription.wanted)]
    rows += [(text, b"hgrc") for text in subscription.configured]
    if repo._activebookmark:
        rows.append((repo._activebookmark, b"active"))
    rows += [(text, b"default") for text in ui.configlist(b"selectivepull", b"default")]
    with ui.formatter(b"subscriptions", {key.encode(): value for key, value in options.items()}) as formatter:
        for text, origin in rows:
            formatter.startitem()
            formatter.write(b"name", b"%s", text)
            formatter.write(b"origin", b" " * max(1, 25 - encoding.colwidth(text)) + b" %s", origin)
            formatter.plain(b"\n")
    return 0


@_command(b"subscribe", [], _(b"NAME|PATTERN..."), helpcategory=_command.CATEGORY_REMOTE_REPO_MANAGEMENT)  # type: ignore[untyped-decorator]  # Mercurial is Any
def subscribe(ui: Any, repo: Any, *texts: bytes) -> int:
    """have hg pull pull bookmarks, by names and patterns such as 'feature/*'

    Nothing is pulled yet. A pattern needs a server that has the extension selectivepull as well:
    of any other one, the names that are known here and match are pulled.
    """
    if not texts:
        raise error.InputError(_(b"name bookmarks or patterns"))
    for text in texts:
        check(text, b"hg subscribe")
    new = extend(repo, texts)
    for text in texts:
        if text not in new:
            ui.status(_(b"%s is subscribed to already\n") % text)
    return 0


@_command(b"unsubscribe", [], _(b"NAME|PATTERN..."), helpcategory=_command.CATEGORY_REMOTE_REPO_MANAGEMENT)  # type: ignore[untyped-decorator]  # Mercurial is Any
def unsubscribe(ui: Any, repo: Any, *texts: bytes) -> int:
    """have hg pull no longer pull bookmarks

    A bookmark that is where it was pulled to is removed here; one that was moved here, is checked
    out or is shared with other working copies stays. Changesets stay.
    """
    if not texts:
        raise error.InputError(_(b"name what hg subscriptions lists"))
    with repo.wlock(), repo.lock():
        subscription = Subscription(repo)
        for text in texts:
            _check_removable(subscription, text)
        subscription.wanted.difference_update(texts)
        remaining = any_matcher(map(encoding.fromlocal, subscription.all_wanted))
        leaving = [
            name
            for name in subscription.known_for(texts)
            if name in subscription.seen and not remaining(encoding.fromlocal(name))
        ]
        gone = [name for name in leaving if _goes(ui, repo, name, subscription.seen.pop(name))]
        if gone:
            with repo.transaction(b"unsubscribe") as transaction:
                bookmarking.delete(repo, transaction, gone)
        subscription.write()
    for name in gone:
        ui.status(_(b"removed bookmark %s\n") % name)
    return 0


def _check_removable(subscription: Subscription, text: bytes) -> None:
    if text in subscription.wanted:
        return
    if text in subscription.configured:
        raise error.InputError(
            _(b"%s is subscribed to by the hgrc") % text, hint=_(b"remove it from selectivepull.subscribe there")
        )
    patterns = [
        pattern
        for pattern in subscription.patterns
        if any_matcher([encoding.fromlocal(pattern)])(encoding.fromlocal(text))
    ]
    if patterns:
        raise error.InputError(
            _(b"%s is subscribed to by the pattern %s") % (text, patterns[0]),
            hint=_(b"hg unsubscribe '%s' ends it for all that match") % patterns[0],
        )
    raise error.InputError(_(b"%s is not subscribed to") % text, hint=_(b"hg subscriptions lists what is"))


def _goes(ui: Any, repo: Any, name: bytes, seen: bytes) -> bool:
    """Return whether a bookmark is removed with its subscription; say why if it is not."""
    if name not in repo._bookmarks:
        return False
    if repo._bookmarks[name] != seen:
        reason = _(b"it was moved here")
    elif name == repo._activebookmark:
        reason = _(b"it is checked out")
    elif repo.shared() and b"bookmarks" in repo.vfs.tryread(b"shared").splitlines():
        reason = _(b"other working copies share it")
    else:
        return True
    ui.status(_(b"kept bookmark %s: %s\n") % (name, reason))
    return False
