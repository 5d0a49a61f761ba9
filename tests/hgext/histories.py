"""Makes random histories with Mercurial's own functions, and tells what the stores hold of them after each step.

It is run by the Python of the Mercurial in question, once with the extension and once without; what both print has to
be the same, but for the lines that start with ``#``:
``histories.py MERCURIAL DIRECTORY FIRST LAST [SECTION.NAME=VALUE ...]``, where the history ``LAST`` is not made.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import holding

MERCURIAL, DIRECTORY, FIRST, LAST, *SETTINGS = sys.argv[1:]
sys.path[:0] = [MERCURIAL] if MERCURIAL else []

from mercurial import (  # noqa: E402  # it is found where the first argument says
    changegroup,
    context,
    discovery,
    dispatch,
    extensions,
    hg,
    node,
    repair,
    transaction,
)
from mercurial import ui as uimod  # noqa: E402  # as above

try:
    from mercurial.main_script import request  # since 7.2
except ImportError:
    request = dispatch.request

PATHS = [b"a", b"b", b"dir/c", b"m", b"y", b"z"]
"""Few, so that files are copied over each other, and in rings."""
OPTIONS = {
    "extensions.censor": "",
    "extensions.strip": "",
    "phases.publish": "no",
    "ui.username": "user",
    "ui.quiet": "yes",
    "ui.interactive": "no",
    "ui.rollback": "yes",
    "worker.enabled": "no",
}


def log(*words: object) -> None:
    print(*words, flush=True)


class Site:
    """Two repositories of one history, which exchange what they have, and the random steps they take."""

    def __init__(self, ui: Any, place: str, seed: int) -> None:
        self.ui = ui
        self.random = random.Random(seed)
        self.roots = [os.fsencode(os.path.join(place, name)) for name in ("one", "two")]
        self.clock = 0
        self.texts = [self.text() for _ in range(4)]
        """Texts that come again, so that the same revision is made in several branches."""
        for root in self.roots:
            hg.repository(ui, root, create=True)

    def open(self) -> Any:
        return hg.repository(self.ui, self.random.choice(self.roots)).unfiltered()

    def text(self) -> bytes:
        chance = self.random.random()
        if chance < 0.05:
            return b""
        if chance < 0.1:
            return b"\1\n" + b"%d\n" % self.random.randrange(10**6) * 300
        if chance < 0.2:
            return bytes(self.random.getrandbits(8) for _ in range(self.random.choice((2000, 40000))))
        if chance < 0.22:
            return self.random.getrandbits(8 * 150_000).to_bytes(150_000, "big")  # its revlog is split from its index
        return b"".join(b"%x\n" % self.random.getrandbits(80) for _ in range(self.random.randrange(50, 300)))

    def edited(self, text: bytes) -> bytes:
        lines = text.split(b"\n")
        for _ in range(self.random.randrange(1, 4)):
            lines.insert(self.random.randrange(len(lines) + 1), b"%x" % self.random.getrandbits(64))
        return b"\n".join(lines)

    # -- what changes a repository ---------------------------------------------------------------------------------

    def changes(self, parents: list[Any]) -> Iterator[tuple[bytes, tuple[bytes, bytes | None, bytes] | None]]:
        """Yield what a commit does: path, and text, copy source and flags; None if the file goes."""
        manifests = [sorted(parent.manifest()) for parent in parents if parent.rev() >= 0]
        for _ in range(self.random.randrange(1, 4)):
            path = self.random.choice(PATHS)
            flags = self.random.choice((b"", b"", b"", b"x", b"l"))
            known = self.random.choice(manifests) if manifests else []
            kind = self.random.choice(("new", "edit", "copy", "copy", "rename", "rename", "remove"))
            if kind == "new" or not known:
                yield path, (self.random.choice(self.texts) if self.random.random() < 0.5 else self.text(), None, flags)
                continue
            source = self.random.choice(known)
            holder = next(parent for parent in parents if source in parent)
            if kind == "remove":
                yield source, None
                continue
            text = holder[source].data()
            if kind == "edit":
                yield source, (self.edited(text), None, holder[source].flags())
            elif path != source:
                yield path, (self.edited(text) if self.random.random() < 0.4 else text, source, flags)
                if kind == "rename":
                    yield source, None

    def commit(self, repo: Any, parents: list[Any]) -> bytes:
        changes = dict(self.changes(parents))
        changes = {path: new for path, new in changes.items() if new or any(path in parent for parent in parents)}
        self.clock += 1
        nodes = [parent.node() for parent in parents] + [node.nullid] * (2 - len(parents))

        def get(repo: Any, memory: Any, path: bytes) -> Any:
            new = changes[path]
            if new is None:
                return None
            text, source, flags = new
            return context.memfilectx(repo, memory, path, text, b"l" in flags, b"x" in flags, source)

        memory = context.memctx(
            repo, nodes, b"step", sorted(changes), get, b"user", b"%d 0" % (self.clock // self.random.choice((1, 2)))
        )
        return repo.commitctx(memory)

    def standing(self, repo: Any) -> Any:
        """Return where to go on: mostly at a head."""
        heads = sorted(repo.heads())
        if self.random.random() < 0.8 or not len(repo):
            return repo[self.random.choice(heads)]
        return repo[self.random.randrange(len(repo))]

    def grow(self, repo: Any) -> None:
        with repo.lock(), repo.transaction(b"step"):
            for _ in range(self.random.randrange(1, 3)):
                self.commit(repo, [self.standing(repo)])

    def merge(self, repo: Any) -> None:
        heads = sorted(repo.heads())
        if len(heads) > 1:
            with repo.lock(), repo.transaction(b"step"):
                self.commit(repo, [repo[head] for head in self.random.sample(heads, 2)])

    def strip(self, repo: Any) -> None:
        if len(repo):
            with repo.wlock(), repo.lock():
                gone = self.random.randrange(max(0, len(repo) - 6), len(repo))
                repair.strip(self.ui, repo, [repo[gone].node()], backup=self.random.random() < 0.5)

    def amend(self, repo: Any) -> None:
        heads = [repo[head] for head in sorted(repo.heads()) if head != node.nullid]
        if heads:
            old = self.random.choice(heads)
            with repo.wlock(), repo.lock():
                with repo.transaction(b"step"):
                    self.commit(repo, [parent for parent in old.parents() if parent.rev() >= 0] or [repo[-1]])
                repair.strip(self.ui, repo, [old.node()])

    def abort(self, repo: Any) -> None:
        with contextlib.suppress(KeyboardInterrupt), repo.lock(), repo.transaction(b"step"):
            for _ in range(self.random.randrange(1, 4)):
                self.commit(repo, [self.standing(repo)])
            raise KeyboardInterrupt

    def rollback(self, repo: Any) -> None:
        repo.rollback(force=True)

    def censor(self, repo: Any) -> None:
        if len(repo):
            changed = repo[self.random.randrange(len(repo))]
            files = [path for path in sorted(changed.files()) if path in changed]
            if files:
                self.command(repo, b"censor", b"-r", changed.hex(), b"path:" + self.random.choice(files))
                if not hasattr(transaction, "cleanup_undo_files"):  # before 6.5 a rollback of that fails halfway
                    self.forget_undo(repo)

    def upgrade(self, repo: Any) -> None:
        """Convert to the other format and back."""
        again = self.random.choice(((), (b"-o", b"re-delta-all"), (b"-o", b"re-delta-fulladd")))
        for value in (b"no", b"yes"):
            formats = [setting.split("=")[0].encode() for setting in SETTINGS if setting.startswith("format.")]
            options = [word for name in formats for word in (b"--config", name + b"=" + value)]
            if options or again:
                self.command(repo, b"debugupgraderepo", b"--run", b"--no-backup", *again, *options)
        self.forget_undo(repo)

    def forget_undo(self, repo: Any) -> None:
        """Take away what hg rollback would bring back: another format, or a traceback."""
        for name in (*repo.vfs.listdir(), *(b"store/" + name for name in repo.svfs.listdir())):
            if os.path.basename(name).startswith(b"undo"):
                repo.vfs.unlink(name)

    def command(self, repo: Any, *words: bytes) -> None:
        ui = self.ui.copy()
        output = io.BytesIO()
        asked = request([*words, b"-R", repo.root], ui=ui, fout=output, ferr=output)
        code = dispatch.dispatch(asked)
        if code:
            lines = output.getvalue().decode(errors="replace").replace(DIRECTORY, "").splitlines()
            log("refused:", words[0].decode(), code)
            log("#", *lines)

    def pull(self, repo: Any) -> None:
        other = hg.repository(self.ui, self.other(repo)).unfiltered()
        chosen = (b"-r", self.standing(other).hex()) if self.random.random() < 0.5 and len(other) else ()
        self.command(repo, b"pull", *chosen, other.root)

    def unbundle(self, repo: Any) -> None:
        """Take everything from the other repository as an old or a new changegroup, its files in any order."""
        other = hg.repository(self.ui, self.other(repo)).unfiltered()
        version = self.random.choice(sorted(changegroup.supportedoutgoingversions(other)))
        here = repo.changelog.hasnode
        roots = [other[rev].node() for rev in other if not here(other[rev].node())]
        common = [other[rev].node() for rev in other if here(other[rev].node())] or [node.nullid]
        if roots:
            outgoing = discovery.outgoing(other, common, other.heads())
            group = changegroup.makechangegroup(other, outgoing, version, b"push")
            if version in (b"01", b"02"):
                group = changegroup.getunbundler(version, io.BytesIO(self.shuffled(group)), None)
            with repo.lock(), repo.transaction(b"step") as open_one:
                group.apply(repo, open_one, b"unbundle", b"test")

    def shuffled(self, group: Any) -> bytes:
        """Return a changegroup with its files in another order (hg help internals.changegroups)."""

        def chunks() -> Iterator[bytes]:
            while chunk := changegroup.getchunk(group):
                yield changegroup.chunkheader(len(chunk)) + chunk

        end = changegroup.closechunk()
        before = [b"".join(chunks()) + end for _ in ("changesets", "manifests")]
        files = []
        while revisions := list(chunks()):
            files.append(b"".join(revisions) + end)
        self.random.shuffle(files)
        return b"".join(before + files) + end

    def other(self, repo: Any) -> bytes:
        return next(root for root in self.roots if root != repo.root)

    # -- what a repository holds -----------------------------------------------------------------------------------

    def held(self) -> Iterator[object]:
        """Yield everything that both stores hold, as ``hg debugdata`` and ``hg debugindex`` give it."""
        for root in self.roots:
            repo = hg.repository(self.ui, root).unfiltered()
            yield os.path.basename(root), [repo[rev].hex() for rev in repo]
            for path in holding.paths(repo):
                yield path, list(holding.revisions(repo, path))

    def verify(self) -> None:
        for root in self.roots:
            said = holding.problems(hg.repository(self.ui, root))
            if said:
                log("verify", hashlib.sha256(said).hexdigest())
                log("#", said.decode(errors="replace").replace("\n", "; "))

    def light(self) -> int:
        repos = [hg.repository(self.ui, root).unfiltered() for root in self.roots]
        return sum(holding.light(repo, path) for repo in repos for path in holding.paths(repo))

    def run(self) -> None:
        steps: list[Callable[[Any], None]] = [self.grow] * 8 + [self.merge] * 2 + [self.strip] * 2
        steps += [self.amend, self.abort, self.rollback, self.censor, self.upgrade]
        steps += [self.pull] * 2 + [self.unbundle] * 2
        for number in range(self.random.randrange(6, 18)):
            step = self.grow if number < 2 else self.random.choice(steps)
            try:
                step(self.open())
            except Exception as problem:  # whatever it is: it has to be the same for both
                log("raised:", type(problem).__name__)
                log("#", *traceback.format_exc().replace(DIRECTORY, "").splitlines())
            digest = hashlib.sha256(repr(list(self.held())).encode()).hexdigest()
            log(number, step.__name__, digest[:16])
            if step in (self.strip, self.censor, self.upgrade, self.amend):
                self.verify()
        self.verify()


def main() -> None:
    os.environ["HGRCPATH"] = ""
    ui = uimod.ui.load()
    for name, value in OPTIONS.items():
        section, key = name.split(".", 1)
        ui.setconfig(section.encode(), key.encode(), value.encode(), b"test")
    for setting in SETTINGS:
        name, value = setting.split("=", 1)
        section, key = name.split(".", 1)
        ui.setconfig(section.encode(), key.encode(), value.encode(), b"test")
    extensions.loadall(ui)
    extensions.populateui(ui)
    for seed in range(int(FIRST), int(LAST)):
        place = os.path.join(DIRECTORY, str(seed))
        os.makedirs(place)
        log("history", seed)
        site = Site(ui, place, seed)
        site.run()
        log("# light", site.light())
        shutil.rmtree(place)


main()
