"""What an invitation grants, as bytes: first everything but the key, to be checked, then the key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from autosync.config import is_name, is_node
from autosync.core.candidates import Candidate, from_pairs, to_pairs
from autosync.core.model import DeviceId, SnapshotId, WorkspaceId
from autosync.errors import Unsafe
from autosync.invitation.hubs import MAX_URL, is_remote_name

OFFER = SnapshotId("0ffe4" * 8)
"""What a joiner asks for first: :func:`encode_offer`."""
KEY = SnapshotId("6e7" * 13 + "0")
"""What he asks for once he has found that he can use the offer: :func:`encode_key`."""
MAX_BYTES = 64 * 1024
MAX_KEY_TEXT = 16 * 1024
MAX_MEMBERS = 200
MAX_WAYS = 16
MAX_COMMITS = 64
MAX_BRANCH = 255
_FORMAT = 1
_DEVICE = re.compile(r"[A-Za-z0-9-]{1,60}-[a-z2-7]{26}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_JID = re.compile(r"[^@/\s\"'\\]{1,255}@[A-Za-z0-9.-]{1,253}")
_SERVICE = re.compile(r"(?:[^@/\s\"'\\]{1,255}@)?[A-Za-z0-9.-]{1,253}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:.]{2,45}")
_PLACE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}")
PLACES = ("reflector", "fanout")
"""Keys of the configuration that are one ``host:port`` and may be handed on."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The inviter's hub: ``name`` is its remote's, empty where the configuration holds the URL itself."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class XmppOffer:
    """The inviter's XMPP account, without its password."""

    jid: str
    host: str | None = None
    port: int | None = None
    service: str | None = None
    node: str | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Everything that a device needs to take part in a workspace, but its key.

    ``workspace`` is its name, ``id`` what its key must turn out to be of, ``tag`` what channels call it under
    the key that it has now, by which a member knows its own key for it, ``vcs`` ``git`` or ``hg``,
    ``device`` and ``device_name`` the inviter.  ``places`` are keys of the configuration
    (:data:`PLACES`) with their value.  By one of the ``commits`` (ids, the latest first) a repository shows that
    it has the same history; ``branch`` is the one that the inviter is on, as in its snapshots.  Both may be empty.
    """

    workspace: str
    id: WorkspaceId
    tag: str
    vcs: str
    device: DeviceId
    device_name: str
    candidates: tuple[Candidate, ...] = ()
    hub: Hub | None = None
    xmpp: XmppOffer | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    commits: tuple[str, ...] = ()
    branch: str = ""


def encode_offer(offer: Offer) -> bytes:
    """Return an offer as :func:`decode_offer` reads it."""
    hub, xmpp = offer.hub, offer.xmpp
    body = {
        "v": _FORMAT,
        "workspace": offer.workspace,
        "id": offer.id,
        "tag": offer.tag,
        "vcs": offer.vcs,
        "device": offer.device,
        "device-name": offer.device_name,
        "candidates": to_pairs(offer.candidates[:MAX_WAYS]),
        "hub": None if hub is None else {"name": hub.name, "url": hub.url},
        "xmpp": None
        if xmpp is None
        else {
            "jid": xmpp.jid,
            "host": xmpp.host,
            "port": xmpp.port,
            "service": xmpp.service,
            "node": xmpp.node,
            "members": list(xmpp.members[:MAX_MEMBERS]),
        },
        "places": dict(offer.places),
        "commits": list(offer.commits[:MAX_COMMITS]),
        "branch": offer.branch[:MAX_BRANCH],
    }
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def decode_offer(encoded: bytes) -> Offer:
    """Return the offer.

    Raises :class:`Unsafe` unless each part of it is of a form that can do no harm in a
    configuration, a path or an argument.  What is not known is passed over.
    """
    return _Fields.of(encoded).read(_offer)


def encode_key(text: str) -> bytes:
    """Return the content of a key file as :func:`decode_key` reads it."""
    return json.dumps({"v": _FORMAT, "key": text}).encode("ascii")


def decode_key(encoded: bytes) -> str:
    """Return the content of the key file.  Raises :class:`Unsafe`."""
    text = _Fields.of(encoded).read(lambda fields: fields.text("key", most=MAX_KEY_TEXT, lines=True))
    if not text.isascii():
        raise _unsafe("key")
    return text


def _offer(fields: _Fields) -> Offer:
    return Offer(
        workspace=fields.approved("workspace", is_name),
        id=WorkspaceId(fields.shaped("id", re.compile(r"[0-9a-f]{32}"))),
        tag=fields.text("tag"),
        vcs=fields.shaped("vcs", re.compile(r"git|hg")),
        device=DeviceId(fields.shaped("device", _DEVICE)),
        device_name=fields.text("device-name", most=128),
        candidates=_candidates(fields),
        hub=fields.optional("hub", _hub),
        xmpp=fields.optional("xmpp", _xmpp),
        places=fields.optional("places", _places) or {},
        commits=_commits(fields),
        branch="" if not fields.get("branch") else fields.text("branch", most=MAX_BRANCH),
    )


def _candidates(fields: _Fields) -> tuple[Candidate, ...]:
    try:
        found = from_pairs(fields.get("candidates"), most=MAX_WAYS)
    except ValueError:
        raise _unsafe("candidates") from None
    if any(candidate.problem() for candidate in found):
        raise _unsafe("candidates")
    return found


def _commits(fields: _Fields) -> tuple[str, ...]:
    if fields.get("commits") is None:
        return ()
    commits = fields.list("commits", most=MAX_COMMITS)
    if not all(isinstance(c, str) and _COMMIT.fullmatch(c) for c in commits):
        raise _unsafe("commits")
    return tuple(str(c) for c in commits)


def _hub(fields: _Fields) -> Hub:
    """Return the hub; whether its URL may be used, :func:`autosync.invitation.hubs.problem_with` tells."""
    name = fields.text("name", least=0, most=64)
    if name and not is_remote_name(name):
        raise _unsafe("hub.name")
    return Hub(name=name, url=fields.text("url", most=MAX_URL))


def _xmpp(fields: _Fields) -> XmppOffer:
    members = fields.list("members", most=MAX_MEMBERS)
    if not all(isinstance(m, str) and m.isprintable() and _JID.fullmatch(m) for m in members):
        raise _unsafe("xmpp.members")
    port = fields.get("port")
    if port is not None and (type(port) is not int or not 0 < port < 65536):
        raise _unsafe("xmpp.port")
    return XmppOffer(
        jid=fields.shaped("jid", _JID),
        host=None if fields.get("host") is None else fields.shaped("host", _HOST),
        port=port,
        service=None if fields.get("service") is None else fields.shaped("service", _SERVICE),
        node=None if fields.get("node") is None else fields.approved("node", is_node),
        members=tuple(str(m) for m in members),
    )


def _places(fields: _Fields) -> Mapping[str, str]:
    return {key: fields.shaped(key, _PLACE) for key in PLACES if fields.get(key) is not None}


class _Fields:
    """A JSON object, read with suspicion."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    @classmethod
    def of(cls, encoded: bytes) -> _Fields:
        """Return the object that was encoded.  Raises :class:`Unsafe`."""
        try:
            body = json.loads(encoded) if len(encoded) <= MAX_BYTES else None
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise _unsafe("form")
        if body.get("v") != _FORMAT:
            raise Unsafe("The inviter runs a newer autosync", hint="Install the same version on both devices.")
        return cls(body)

    def read(self, read: Callable[[_Fields], T]) -> T:
        return read(self)

    def get(self, name: str) -> object:
        return self._fields.get(name)

    def text(self, name: str, *, least: int = 1, most: int = 255, lines: bool = False) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str) or not least <= len(value) <= most:
            raise _unsafe(name)
        if not (value.replace("\n", "") if lines else value).isprintable():
            raise _unsafe(name)
        return value

    def shaped(self, name: str, shape: re.Pattern[str]) -> str:
        return self.approved(name, lambda value: shape.fullmatch(value) is not None)

    def approved(self, name: str, is_right: Callable[[str], bool]) -> str:
        value = self.text(name)
        if not is_right(value):
            raise _unsafe(name)
        return value

    def list(self, name: str, *, most: int) -> list[object]:
        value = self._fields.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise _unsafe(name)
        return value

    def optional(self, name: str, read: Callable[[_Fields], T]) -> T | None:
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise _unsafe(name)
        return read(_Fields(value))


def _unsafe(what: str) -> Unsafe:
    return Unsafe(
        f"What the inviter grants cannot be used: its {what} is not what it must be",
        hint="Nothing was changed here. Update autosync on both devices; if that does not help, do not trust it.",
    )
