"""The ways on which a device says that it can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

_LABELS = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?"
# RFC 3986, 3.2.2: an IPv6 address stands in brackets; the name after "%" is an interface (RFC 6874).
_HOST = rf"(?:{_LABELS}|\[[0-9A-Fa-f:.]{{2,45}}(?:%[A-Za-z0-9._-]{{1,15}})?\])"
_PORT = r"[0-9]{1,5}"
_JID_PART = r"[\w.+~!#$%*=?^|\\{}`-]"


class CandidateKind(Enum):
    """What carries the bytes; in the order in which they are tried."""

    LAN = "lan"
    """TCP to an address of the device itself: ``host:port``."""
    PUBLIC = "public"
    """TCP to an address that the user has configured, as that of a forwarded port: ``host:port``."""
    SSH = "ssh"
    """A port of the device forwarded by ssh(1): ``user@host[:port]/port``."""
    REFLECTOR = "reflector"
    """A pipe through a reflector, and the name of the place there: ``host:port/place``."""
    XMPP = "xmpp"
    """A bytestream between two XMPP clients: the full JID."""

    @property
    def rank(self) -> int:
        """Its place among all kinds; the nearest has 0."""
        return list(CandidateKind).index(self)


_DIRECT = re.compile(rf"{_HOST}:({_PORT})")
_SHAPES = {
    CandidateKind.LAN: _DIRECT,
    CandidateKind.PUBLIC: _DIRECT,
    CandidateKind.SSH: re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,63}}@{_HOST}(?::({_PORT}))?/({_PORT})"),
    CandidateKind.REFLECTOR: re.compile(rf"{_HOST}:({_PORT})/[0-9a-f]{{32}}"),
    # RFC 7622, without what its profiles allow beside letters, digits and the usual punctuation.
    CandidateKind.XMPP: re.compile(rf"(?!-){_JID_PART}{{1,255}}@(?![.-])[\w.-]{{1,253}}/(?!-)[\w.+~:@=/ -]{{1,255}}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to reach a device: see :class:`CandidateKind` for the forms of ``address``."""

    kind: CandidateKind
    address: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.address}"

    def problem(self) -> str:
        """Return why this is no candidate that may be announced or tried, empty if it is one."""
        match = _SHAPES[self.kind].fullmatch(self.address)
        if match is None or not all(0 < int(port) < 65536 for port in match.groups() if port is not None):
            return f"{self.kind.value} {self.address[:60]!r} is no address of its kind"
        return ""


_KINDS = {kind.value: kind for kind in CandidateKind}


def to_pairs(candidates: Iterable[Candidate]) -> list[list[str]]:
    """Return candidates as :func:`from_pairs` reads them."""
    return [[candidate.kind.value, candidate.address] for candidate in candidates]


def from_pairs(pairs: object, *, most: int) -> tuple[Candidate, ...]:
    """Return the candidates that a list of ``[kind, address]`` names, but those of a kind that is not known here.

    A later release may have more kinds.  Raises :class:`ValueError` for what is no list of at most ``most``
    such pairs; whether an address may be used, :meth:`Candidate.problem` tells.
    """
    if not isinstance(pairs, list) or len(pairs) > most:
        raise ValueError(f"candidates are not a list of at most {most}")
    found = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise ValueError("a candidate is not a pair of texts")
        if pair[0] in _KINDS:
            found.append(Candidate(kind=_KINDS[pair[0]], address=pair[1]))
    return tuple(found)


def on_lan(addresses: Iterable[str]) -> tuple[Candidate, ...]:
    """Return candidates for addresses ``host:port`` that are reached directly."""
    return tuple(Candidate(kind=CandidateKind.LAN, address=address) for address in addresses)
