"""Tells what the store of a repository holds, in the Python of the Mercurial in question.

``holding.py MERCURIAL EXTENSION ROOT ...`` prints one line of JSON: for each root its changesets, what
``hg debugdata`` and ``hg debugindex`` give for each revision of each file, how many revisions are stored
light, what the repository requires, and what ``hg verify`` finds wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any


def paths(repo: Any) -> list[bytes]:
    """Return the paths of all files of all changesets."""
    return sorted({path for rev in repo for path in repo[rev].files() if len(repo.file(path))})


def revisions(repo: Any, path: bytes) -> Iterator[tuple[object, ...]]:
    """Yield node, changeset, parents, flags and the hash of the stored text of each revision."""
    from mercurial import error  # noqa: PLC0415  # it is found where the first argument says
    from mercurial.revlogutils import constants  # noqa: PLC0415  # as above

    told_by_storage = getattr(constants, "REVIDX_DELTA_INFO_FLAGS", 0)
    kept = repo.file(path)
    for rev in kept:
        name = kept.node(rev)
        try:
            text = hashlib.sha256(kept.rawdata(name)).hexdigest()
        except error.CensoredNodeError as censored:
            text = repr(censored.tombstone)
        except error.StorageError as problem:
            text = repr(problem)
        # Some Mercurials swap them when they receive a text with metadata, or do not (issue6528 of theirs).
        parents = sorted(parent.hex() for parent in kept.parents(name))
        yield name.hex(), kept.linkrev(rev), parents, kept._revlog.flags(rev) & ~told_by_storage, text


def light(repo: Any, path: bytes) -> int:
    """Return how many revisions of a file are stored as light-weight copies."""
    kept = repo.file(path)._revlog
    storage = getattr(kept, "_inner", kept)
    read = getattr(storage, "get_segment_for_revs", None) or storage._getsegmentforrevs
    return sum(bytes(read(rev, rev)[1])[:1] == b"L" for rev in kept)


def problems(repo: Any) -> bytes:
    """Return what ``hg verify`` says if it finds something wrong."""
    from mercurial import verify  # noqa: PLC0415  # as above

    repo.ui.pushbuffer(error=True)
    failed = verify.verify(repo)
    said: bytes = repo.ui.popbuffer()
    return said if failed else b""


def main(mercurial: str, extension: str, *roots: str) -> None:
    sys.path[:0] = [mercurial] if mercurial else []
    from mercurial import extensions, hg  # noqa: PLC0415  # as above
    from mercurial import ui as uimod  # noqa: PLC0415  # as above

    os.environ["HGRCPATH"] = ""
    ui = uimod.ui.load()
    if extension:
        ui.setconfig(b"extensions", b"lwcopy", os.fsencode(extension), b"test")
    extensions.loadall(ui)
    extensions.populateui(ui)
    found = {}
    for root in roots:
        repo = hg.repository(ui, os.fsencode(root)).unfiltered()
        known = paths(repo)
        found[root] = {
            "changesets": [repo[rev].hex().decode() for rev in repo],
            "files": {os.fsdecode(path): list(revisions(repo, path)) for path in known},
            "light": sum(light(repo, path) for path in known),
            "requires": sorted(os.fsdecode(name) for name in repo.requirements),
            "problems": os.fsdecode(problems(repo)),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
