"""Compares one changeset, as named and as built in memory, with what this hg commits in a scratch repository."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any

from mercurial import hg

from .files import Files
from .frames import as_bytes, as_list
from .memory import Content, Given, Wording, build
from .naming import changeset_node, file_nodes

_BASE = {b"plain": b"one\ntwo\n", b"moved": b"a line\n" * 40, b"gone": b"x", b"d/run": b"#!/bin/sh\n"}


def differing_nodes(repo: Any) -> tuple[bytes, bytes]:
    """Return the node that was computed and the one that was committed; the same, if all is well."""
    with tempfile.TemporaryDirectory(prefix="autosync-hg-") as directory:
        place = os.fsencode(directory)
        ui = repo.baseui.copy()
        ui.setconfig(b"ui", b"quiet", b"true")
        # Our changesets record copies as hg does by default, whatever the user has chosen for his.
        ui.setconfig(b"experimental", b"copies.write-to", b"filelog-only")
        scratch = hg.repository(ui, place, create=True)
        for path, content in _BASE.items():
            _write(scratch, path, content)
        _commit(scratch, add=list(_BASE))
        _write(scratch, b"plain", b"one\n2\n")
        _write(scratch, b"\xc3\xa9", b"\1\nstarts like metadata\n")
        os.rename(scratch.wjoin(b"moved"), scratch.wjoin(b"new name"))
        os.chmod(scratch.wjoin(b"d/run"), 0o700)
        os.unlink(scratch.wjoin(b"gone"))
        os.symlink(b"plain", scratch.wjoin(b"link"))
        copies = {b"new name": b"moved"}
        files = Files(scratch)  # through the user's filters, as hg itself
        given: dict[bytes, Content | None] = {}
        for path in [*_BASE, b"\xc3\xa9", b"new name", b"link"]:
            found = files.read(path, b"")
            given[path] = None if found is None else (*found, copies.get(path))
        wording = Wording(b"A <a@example.org>", 1_700_000_001, -3600, b"w\xc3\xb6rds\n", b"default", {b"k": b"v"})
        parents = tuple(scratch.dirstate.parents())
        named = _named(scratch, parents[0], given, wording)
        built = build(scratch, parents, given, wording).changelog.node
        committed = _commit(
            scratch,
            add=[b"\xc3\xa9", b"new name", b"link"],
            forget=[b"moved", b"gone"],
            copies=copies,
            wording=wording,
        )
    return (built if named == committed else named), committed


def _named(repo: Any, parent: bytes, given: Given, wording: Wording) -> bytes:
    """Return the node that a snapshot would get."""
    contents = {path: content for path, content in given.items() if content is not None}
    nodes = file_nodes(repo, parent, contents)
    files: dict[bytes, tuple[bytes, bytes, bool] | None] = dict.fromkeys(given)
    for path, (flags, _, _) in contents.items():
        node, touched = as_list(nodes[path], path)
        files[path] = flags, as_bytes(node, path), bool(touched)
    return changeset_node(repo, parent, files, wording)


def _commit(
    repo: Any,
    *,
    add: list[bytes],
    forget: list[bytes] | None = None,
    copies: dict[bytes, bytes] | None = None,
    wording: Wording | None = None,
) -> bytes:
    said = wording or Wording(b"A", 1_700_000_000, 0, b"first", b"default")
    # 7.x wants to be told that files change; 6.3 has no such thing.
    changing = getattr(repo.dirstate, "changing_files", contextlib.nullcontext)
    with repo.wlock(), repo.lock():
        dirstate = repo.dirstate
        with changing(repo):
            for path in add:
                dirstate.set_tracked(path)
            for path in forget or ():
                dirstate.set_untracked(path)
            for new, old in (copies or {}).items():
                dirstate.copy(old, new)
        return bytes(repo.commit(said.message, said.user, (said.time, said.offset), extra=dict(said.extra)))


def _write(repo: Any, path: bytes, content: bytes) -> None:
    full = repo.wjoin(path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as file:
        file.write(content)
