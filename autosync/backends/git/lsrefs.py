"""Lists refs of a hub by how their names begin, so that whatever else it has does not travel."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from autosync.backends.git.network import Line, Outcome
from autosync.backends.git.remote import ALIAS, Remote

_LISTING_LIMIT = 64 << 20
"""Bytes of a listing of refs: about a million."""
_NOWHERE = "refs/autosync-asked/"
_BYTE = rb"\\(?:37777777[4-7][0-7]{2}|[23][0-7]{2})"
"""How the trace shows a byte that is not ASCII: in octal, as a number that may be below zero (``char`` in C)."""
_HEARD = re.compile(rb"packet: +fetch< ([0-9a-f]{64}|[0-9a-f]{40}) (refs/(?:[!-\[\]-~]|" + _BYTE + rb")+)")
_ANSWERED = re.compile(rb"packet: +fetch< 0000")


def list_refs(
    line: Line, remote: Remote, patterns: Sequence[str], *, most: int = _LISTING_LIMIT
) -> tuple[Outcome, dict[str, str] | None]:
    """Return how it went, and the ids of the refs that ``patterns`` mean, ``None`` if the hub did not say.

    A pattern is the full name of a ref, or the beginning of names and ``*``.  More than ``most`` bytes
    are no answer: what is cut off would pass for what the hub has not.

    ``git ls-remote`` asks for everything and picks from it: 6 MB for one of 100,000 refs.  ``git fetch``
    tells a server of protocol 2 how the names begin that it looks for (gitprotocol-v2(5), ``ref-prefix``)
    but prints nothing of what it is told; the trace of its packets has it (git(1), ``GIT_TRACE_PACKET``).
    It ends before anything is fetched, since it is asked first for a ref that no hub has.
    """
    missing = _NOWHERE + secrets.token_hex(16)
    specs = [f"{pattern.removesuffix('*')}*:{_NOWHERE}*" for pattern in patterns]
    outcome = line.run(
        ["fetch", "--dry-run", "--no-tags", "--no-write-fetch-head", "--refmap=", ALIAS, missing, *specs],
        env=remote.environment,
        most=most,
        traced_by="GIT_TRACE_PACKET",
    )
    if outcome.ended is not None or f"couldn't find remote ref {missing}" not in outcome.errors:
        return outcome, None
    if _ANSWERED.search(outcome.trace) is None:  # of a server that speaks no packets: plain files behind http
        return _list_all(line, remote, patterns, most)
    refs = {_unquoted(ref): oid.decode() for oid, ref in _HEARD.findall(outcome.trace)}
    return outcome, {ref: oid for ref, oid in refs.items() if _meant(patterns, ref)}


def _list_all(line: Line, remote: Remote, patterns: Sequence[str], most: int) -> tuple[Outcome, dict[str, str] | None]:
    outcome = line.run(["ls-remote", "--refs", ALIAS], env=remote.environment, most=most)
    if outcome.code != 0 or outcome.ended is not None:
        return outcome, None
    lines = (each.partition("\t") for each in outcome.output.decode("utf-8", "replace").split("\n"))
    return outcome, {ref: oid for oid, _, ref in lines if _meant(patterns, ref)}


def _unquoted(ref: bytes) -> str:
    # No name holds a backslash of its own (git-check-ref-format(1)).
    return re.sub(_BYTE, lambda match: bytes([int(match[0][-3:], 8) & 0xFF]), ref).decode("utf-8", "replace")


def _meant(patterns: Sequence[str], ref: str) -> bool:
    return any(ref.startswith(each[:-1]) if each.endswith("*") else ref == each for each in patterns)
