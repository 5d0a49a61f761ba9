"""The line that an invitation is: a token, whose it is, and where to go with it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from autosync.core.candidates import Candidate, CandidateKind
from autosync.core.model import DeviceId
from autosync.errors import AutosyncError
from autosync.link.addresses import join, split
from autosync.link.reflected import reflector_of
from autosync.trust.keyfile import KEY_BYTES
from autosync.trust.sealing import WorkspaceKey
from autosync.trust.signing import FINGERPRINT_BYTES

PREFIX = "autosync1-"
TOKEN_BYTES = 16
FITTING = 195
"""Characters of a line whose QR code fits into a terminal of 80 columns and 24 lines (ISO/IEC 18004: version 6)."""
_CHECKSUM_BYTES = 4
_LONGEST_NAME = 64
"""Bytes of the longest address that is put into a line."""
_LONGEST = 1000
_IPV4, _IPV6, _LAN, _PUBLIC, _SSH, _REFLECTOR, _XMPP = range(7)
"""How a candidate is written: both kinds of IP address with their port in binary, or as text."""
_TEXTS = {
    _LAN: CandidateKind.LAN,
    _PUBLIC: CandidateKind.PUBLIC,
    _SSH: CandidateKind.SSH,
    _REFLECTOR: CandidateKind.REFLECTOR,
    _XMPP: CandidateKind.XMPP,
}
_FORMS = {kind: form for form, kind in _TEXTS.items()}
_SHAPE = re.compile(r"autosync(\d+)-([a-z2-7]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationLine:
    """What stands in the line.

    ``inviter`` is the fingerprint of the inviting device's key, 26 base32 characters as at the end of
    its id: who has only read the line cannot pass himself off as that device.  At a reflector the two
    meet at :func:`place_of` the token; the line names the reflector alone.
    """

    token: bytes = field(repr=False)
    inviter: str
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        body = self.token + _from_base32(self.inviter) + b"".join(_packed(self.candidates))
        return PREFIX + _to_base32(body + _checksum(body))

    @property
    def key(self) -> WorkspaceKey:
        """The key of the short-lived workspace in which inviter and joiner meet."""
        return WorkspaceKey(_derive(self.token, b"key", KEY_BYTES))

    def names(self, device: DeviceId) -> bool:
        """Return whether ``device`` is who has invited."""
        return device.endswith(f"-{self.inviter}")


def read_line(text: str) -> InvitationLine:
    """Return what a line says; spaces, line breaks, quotes and capitals of a chat or a QR code do no harm.

    Raises :class:`AutosyncError` for a line that is cut off, mistyped or of a later release.  The text
    itself is never part of a message: it is a secret as long as it is good for something.
    """
    plain = re.sub(r"[\s'\"`<>]+", "", text[:_LONGEST]).lower()
    match = _SHAPE.fullmatch(plain)
    if not plain.startswith("autosync") or (match is None and not plain.startswith(PREFIX)):
        raise AutosyncError(
            "That is no invitation",
            hint=f"It is the one line that autosync invite prints on the other device, and begins with {PREFIX}",
        )
    if match is not None and match[1] != PREFIX[len("autosync") : -1]:
        raise AutosyncError(
            "This invitation was made by a newer autosync", hint="Install the same version on both devices."
        )
    damaged = AutosyncError(
        "This invitation is not complete, or a character of it is wrong",
        hint="Copy the whole line again; it has no spaces and ends where the line ends.",
    )
    if match is None:
        raise damaged
    try:
        whole = _from_base32(match[2])
    except binascii.Error:
        raise damaged from None
    body, checksum = whole[:-_CHECKSUM_BYTES], whole[-_CHECKSUM_BYTES:]
    if len(body) < TOKEN_BYTES + FINGERPRINT_BYTES or _checksum(body) != checksum:
        raise damaged
    named, ways = body[TOKEN_BYTES : TOKEN_BYTES + FINGERPRINT_BYTES], body[TOKEN_BYTES + FINGERPRINT_BYTES :]
    try:
        candidates = tuple(_unpacked(ways, place_of(body[:TOKEN_BYTES])))
    except ValueError:
        raise damaged from None
    return InvitationLine(token=body[:TOKEN_BYTES], inviter=_to_base32(named), candidates=candidates)


def choose(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return those that go into a line: one of each kind, and more of the local network while the line fits.

    Loopback only if there is nothing else.
    """
    short = [c for c in candidates if c.kind in _FORMS and len(text_of(c).encode()) <= _LONGEST_NAME]
    outer = [c for c in short if not _is_loopback(c)] or short
    firsts = {c.kind: c for c in reversed(outer)}
    chosen = sorted(firsts.values(), key=lambda c: c.kind.rank)
    local = [c for c in outer if c.kind is CandidateKind.LAN and c not in chosen]
    fours, sixes = ([c for c in local if c.address.startswith("[") is is_six] for is_six in (False, True))
    most = (FITTING - len(PREFIX)) * 5 // 8 - TOKEN_BYTES - FINGERPRINT_BYTES - _CHECKSUM_BYTES
    for candidate in (*sixes[:1], *fours[:2], *sixes[1:2]):
        if sum(map(len, _packed((*chosen, candidate)))) <= most:
            chosen.append(candidate)
    return tuple(chosen)


def place_of(token: bytes) -> str:
    """Return the name under which the two meet at a reflector; tells nothing of the token."""
    return _derive(token, b"place", 16).hex()


def identity_of(token: bytes) -> str:
    """Return how an invitation is named in lists and logs; tells nothing of the token."""
    return _derive(token, b"name", 4).hex()


def _packed(candidates: Iterable[Candidate]) -> Iterator[bytes]:
    for candidate in candidates:
        form, content = _FORMS[candidate.kind], text_of(candidate).encode()
        if candidate.kind is CandidateKind.LAN:
            host, port = split(candidate.address)
            try:
                ip = ipaddress.ip_address(host)
                form, content = (_IPV4 if ip.version == 4 else _IPV6), ip.packed + port.to_bytes(2, "big")
            except ValueError:
                pass
        yield bytes((form, len(content))) + content


def text_of(candidate: Candidate) -> str:
    """Return what is written and told of an address: the place at a reflector follows from the token."""
    return reflector_of(candidate) if candidate.kind is CandidateKind.REFLECTOR else candidate.address


def _unpacked(ways: bytes, place: str) -> Iterator[Candidate]:
    """Yield the candidates of a kind that is known here.  Raises :class:`ValueError`."""
    while ways:
        form, content, rest = ways[0], ways[2 : 2 + ways[1]] if len(ways) > 1 else b"", ways[2:]
        if len(ways) < 2 or len(content) < ways[1]:
            raise ValueError("cut off")
        ways = rest[len(content) :]
        if form in (_IPV4, _IPV6):
            ip = ipaddress.ip_address(content[:-2])
            candidate = Candidate(kind=CandidateKind.LAN, address=join(str(ip), int.from_bytes(content[-2:], "big")))
        elif form in _TEXTS:
            at = f"/{place}" if form == _REFLECTOR else ""
            candidate = Candidate(kind=_TEXTS[form], address=content.decode() + at)
        else:
            continue  # a later release may have more
        if problem := candidate.problem():
            raise ValueError(problem)
        yield candidate


def _is_loopback(candidate: Candidate) -> bool:
    place = text_of(candidate).rpartition("@")[2].partition("/")[0]
    host = re.sub(r":\d+$", "", place).strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _derive(token: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt=None, info=b"autosync 1 invitation " + purpose).derive(token)


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode("ascii") + body).digest()[:_CHECKSUM_BYTES]


def _to_base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def _from_base32(text: str) -> bytes:
    """Return the bytes.  Raises :class:`binascii.Error` for what no bytes are written as."""
    raw = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    if _to_base32(raw) != text:  # bits that count for nothing: not what was written
        raise binascii.Error("not canonical")
    return raw
