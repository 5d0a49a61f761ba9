"""Adds changegroups such as no Mercurial makes to a light and to a plain repository.

``oddities.py MERCURIAL EXTENSION DIRECTORY`` makes a repository of each kind for each oddity in the directory, and
prints the names of the oddities, the kinds, and what was raised.
"""

from __future__ import annotations

import inspect
import io
import os
import random
import struct
import sys
from collections.abc import Callable
from typing import Any

MERCURIAL, EXTENSION, DIRECTORY = sys.argv[1:]
sys.path[:0] = [MERCURIAL] if MERCURIAL else []

from mercurial import changegroup, discovery, extensions, hg, metadata, node  # noqa: E402
from mercurial import ui as uimod  # noqa: E402  # as above
from mercurial.utils import storageutil  # noqa: E402  # as above

Group = tuple[bytes, list[bytes]]
"""A file's path, and its revisions as chunks of the changegroup."""


TEXT = random.Random(7).getrandbits(8 * 3000).to_bytes(3000, "big")


def text(seed: int) -> bytes:
    return b"%d\n" % seed + TEXT


def copied(path: bytes, of: bytes, seed: int) -> bytes:
    return b"\1\ncopy: " + path + b"\ncopyrev: " + of + b"\n\1\n" + text(seed)


def named(raw: bytes) -> bytes:
    return node.hex(storageutil.hashrevisionsha1(raw, node.nullid, node.nullid))


ROOT = named(text(1))
"""The node of a file that is no copy, in ``z`` and in ``a``."""
FILES = {
    # Each begins with a copy of what comes last in the other one: neither order of the files gives both their source.
    b"a": [copied(b"z", ROOT, 2), text(1)],
    b"z": [copied(b"a", ROOT, 3), text(1)],
    b"b": [copied(b"z", ROOT, 4), text(5), copied(b"y", named(text(6)), 7)],
    b"y": [text(6), copied(b"b", named(text(5)), 8)],
    b"c": [copied(b"c", named(text(9)), 10), text(9), copied(b"c", named(text(9)), 11)],
    b"d": [text(20), copied(b"z", ROOT, 21)],
    b"missing": [copied(b"nowhere", ROOT, 12), copied(b"a", b"1" * 40, 13), copied(b"d", b"0" * 40, 14)],
    b"wrong": [copied(b"a", b"no node", 15), b"\1\ncopy: a\n\1\n" + text(16)],
    b"outside": [
        copied(path, ROOT, 19) for path in (b"../../../../etc/passwd", b"/etc/passwd", b"a/../z", b"a\0", b".")
    ],
}
UNENDING = {b"unending": [b"\1\ncopy" + text(17), b"\1\n" + text(18)]}
"""Metadata that does not end, with which 7.2 cannot do anything."""


def make(ui: Any, root: bytes, files: dict[bytes, list[bytes]]) -> Any:
    """Make a repository in which each revision of the files has its changeset."""
    repo = hg.repository(ui, root, create=True)
    with repo.lock(), repo.transaction(b"odd") as transaction:
        for turn in range(max(map(len, files.values()))):
            parent = repo.changelog.tip()
            standing = repo.manifestlog[repo.changelog.read(parent)[0]].copy()
            changed = [path for path in sorted(files) if turn < len(files[path])]
            for path in changed:
                more = {"writable": True} if "writable" in inspect.signature(repo.file).parameters else {}
                kept = repo.file(path, **more)._revlog
                raw = files[path][turn]
                kept.addrevision(raw, transaction, turn, node.nullid, node.nullid)
                standing.read()[path] = storageutil.hashrevisionsha1(raw, node.nullid, node.nullid)
            manifest = standing.write(transaction, turn, repo.changelog.read(parent)[0], node.nullid, changed, [])
            touched = metadata.ChangingFiles(touched=changed)
            repo.changelog.add(manifest, touched, b"odd", transaction, parent, node.nullid, b"user", b"%d 0" % turn)
    return repo


def parts(repo: Any) -> tuple[bytes, list[Group]]:
    """Return the changegroup of everything: what comes before the files, and the files."""
    outgoing = discovery.outgoing(repo, [node.nullid], repo.heads())
    group = changegroup.makechangegroup(repo, outgoing, b"02", b"push")

    def chunks() -> list[bytes]:
        found = []
        while chunk := changegroup.getchunk(group):
            found.append(chunk)
        return found

    before = b"".join(joined(chunks()) for _ in ("changesets", "manifests"))
    files = []
    while found := chunks():
        files.append((found[0], found[1:]))
    return before, files


def joined(chunks: list[bytes]) -> bytes:
    return b"".join(changegroup.chunkheader(len(chunk)) + chunk for chunk in chunks) + changegroup.closechunk()


def more(files: list[Group]) -> list[Group]:
    """Give each file one more revision, which no changeset has (hg help internals.changegroups)."""
    raw = text(22)
    name = storageutil.hashrevisionsha1(raw, node.nullid, node.nullid)
    delta = struct.pack(">lll", 0, 0, len(raw)) + raw
    return [(path, [*revs, name + node.nullid * 3 + revs[0][80:100] + delta]) for path, revs in files]


def twice(files: list[Group]) -> list[Group]:
    return files + files


def torn(files: list[Group]) -> list[Group]:
    """Give each file in two parts, with the others in between."""
    return [(path, revs[:1]) for path, revs in files] + [(path, revs[1:]) for path, revs in files if revs[1:]]


ODDITIES: dict[str, Callable[[list[Group]], list[Group]]] = {
    "as it is": lambda files: files,
    "backwards": lambda files: files[::-1],
    "twice": twice,
    "torn": torn,
    "torn and backwards": lambda files: torn(files[::-1]),
    "a file that is empty": lambda files: [*files, (b"empty", [])],
    "an empty one that waits": lambda files: [*files[:1], (files[0][0], []), *files[1:]],
    "a file fewer": lambda files: [group for group in files if group[0] != b"z"],
    "a revision that nothing needs": more,
    "that of one file": lambda files: [
        (path, more([(path, revs)])[0][1] if path == b"d" else revs) for path, revs in files
    ],
}


def attempt(ui: Any, root: bytes, stream: bytes) -> str:
    repo = hg.repository(ui, root, create=True)
    try:
        with repo.lock(), repo.transaction(b"odd") as transaction:
            changegroup.getunbundler(b"02", io.BytesIO(stream), None).apply(repo, transaction, b"unbundle", b"test")
    except Exception as problem:  # whatever it is: it has to be the same for both
        return f"{type(problem).__name__}: {problem}"
    return "added"


def main() -> None:
    os.environ["HGRCPATH"] = ""
    ui = uimod.ui.load()
    for section, name, value in (
        (b"extensions", b"lwcopy", os.fsencode(EXTENSION)),
        (b"ui", b"quiet", b"yes"),
        (b"server", b"validate", b"yes"),
    ):
        ui.setconfig(section, name, value, b"test")
    extensions.loadall(ui)
    extensions.populateui(ui)
    light = ui.copy()
    light.setconfig(b"format", b"lwcopy", b"yes", b"test")
    for number, files in enumerate((FILES, UNENDING)):
        before, groups = parts(make(ui, os.fsencode(f"{DIRECTORY}/made{number}"), files))
        for name, change in ODDITIES.items():
            stream = (
                before + b"".join(joined([path, *revs]) for path, revs in change(groups)) + changegroup.closechunk()
            )
            for kind, chosen in (("plain", ui), ("light", light)):
                raised = attempt(chosen, os.fsencode(f"{DIRECTORY}/{kind} {number} {name}"), stream)
                print(number, name, kind, raised, sep=" | ", flush=True)


main()
