"""The keys of one workspace, and which changes of them this device takes part in."""

from __future__ import annotations

import logging
import secrets
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from autosync.core.model import DeviceId, WorkspaceId
from autosync.errors import ConfigError
from autosync.trust.identity import Identity
from autosync.trust.keyfile import KEY_BYTES, MAX_PREVIOUS, KeyText, read_key, replace_key, replacing_key
from autosync.trust.rotation import Rotation, compose, examine, point
from autosync.trust.sealing import MAX_SEALED, OVERHEAD, WorkspaceKey, key_in
from autosync.trust.signing import Forged, fingerprint

log = logging.getLogger(__name__)

CONTEXT = b"rotation"
"""What a sealed change of the key is for."""
BUNDLE = b"moved"
"""What a sealed bundle of such changes, made for those who have an old key, is for."""
_LENGTH = struct.Struct(">H")


class Outcome(Enum):
    """What a change of the key that was heard of came to."""

    KNOWN = "known"
    ADOPTED = "adopted"
    EXPELLED = "expelled"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a device remembers of the changes of a workspace's key.

    ``chain`` has the changes it took part in, oldest first, each sealed with the key that it ended;
    ``expulsion`` the one that left it out, if it was revoked; ``wanted`` the devices that were
    revoked here (fingerprint to name), until a change that leaves them out is in the chain.
    ``dispute`` says in words which change was not taken because each side has revoked the other.
    """

    chain: tuple[bytes, ...] = ()
    expulsion: bytes = b""
    wanted: Mapping[str, str] = field(default_factory=dict)
    dispute: str = ""


class Keyring:
    """The key file at ``path`` and what was remembered of its changes.

    ``saved`` is called with what must be on the disk before the file of the key changes: the
    chain is the truth, and the file follows from it, so that a kill at any moment is mended at the next
    start.  With a change come the fingerprints of those who are given the key by it: nobody else may be
    known after that, on the disk from the same moment on.  Raises :class:`ConfigError` as
    :func:`autosync.trust.sealing.load_key` does.
    """

    def __init__(
        self,
        path: str,
        trust: Trust,
        *,
        identity: Identity,
        device: DeviceId,
        name: str,
        saved: Callable[[Trust, Collection[str] | None], None],
    ) -> None:
        self._path = path
        self._identity = identity
        self._mine = fingerprint(identity.key.public_key())
        self.device = device
        self._name = name
        self._saved = saved
        self._use(read_key(path))
        self.trust = trust
        try:
            self._catch_up()
            self.trust = self._sound(trust)
        except ValueError as error:  # of which SealBroken and Forged are some
            log.warning("%s: what was remembered of changes of the key cannot be used: %s", path, error)
            self.trust = Trust()

    # -- what is known ---------------------------------------------------------------------
    @property
    def current(self) -> WorkspaceKey:
        """The key that is used now."""
        return self._current

    @property
    def retired(self) -> tuple[WorkspaceKey, ...]:
        """The keys of before, newest first, under which others may still be waiting."""
        return self._retired

    @property
    def expelled(self) -> Rotation | None:
        """The change by which this device was revoked."""
        key = self._key_of(self.trust.expulsion)
        return None if key is None else self._examined(self.trust.expulsion, key)

    @property
    def last(self) -> Rotation | None:
        """The change that brought the current key, ``None`` if that is not remembered."""
        return self._examined(self.trust.chain[-1], self._retired[0]) if self.trust.chain and self._retired else None

    def revoked(self) -> Mapping[str, str]:
        """Return the devices that the remembered changes have revoked (fingerprint to name)."""
        return self._revoked(self.trust.chain)

    def is_wanted(self) -> bool:
        """Return whether a revocation that was asked for here is not in force, and could be."""
        return bool(self.trust.wanted) and self.expelled is None

    def bundle(self, key: WorkspaceKey) -> bytes | None:
        """Return what those who have the retired ``key`` are told, ``None`` if nothing is known of its end.

        As many changes as have room, the first ones first.
        """
        parts = b""
        missed = self._current.epoch - key.epoch
        for sealed in self.trust.chain[-missed:] if missed <= len(self.trust.chain) else ():
            part = _LENGTH.pack(len(sealed)) + sealed
            if len(parts) + len(part) + OVERHEAD > MAX_SEALED:
                break
            parts += part
        return key.seal(parts, context=BUNDLE) if parts else None

    # -- changes made here -------------------------------------------------------------------
    def revoke(self, revoked: Mapping[str, str], recipients: Mapping[str, bytes], *, at: int) -> Rotation:
        """Change the key so that ``revoked`` devices (fingerprint to name) do not get it, but ``recipients`` do.

        Raises :class:`ValueError` if there are too many of either, :class:`AutosyncError` if it cannot be
        written down: then nothing has changed.
        """
        identity = self._identity
        every = {**self.trust.wanted, **revoked}
        given = {one: public for one, public in recipients.items() if one not in every}
        raw = secrets.token_bytes(KEY_BYTES)
        message = compose(
            identity,
            raw,
            workspace=self._current.id,
            epoch=self._current.epoch + 1,
            by=self.device,
            name=self._name,
            at=at,
            revoked=every,
            recipients={**given, self._mine: point(identity.key.public_key())},
        )
        sealed = self._current.seal(message, context=CONTEXT)
        rotation = examine(message, self._current.id)
        self._adopt(rotation, sealed, self._past())
        return rotation

    # -- changes made elsewhere --------------------------------------------------------------
    def take(self, key: WorkspaceKey, payload: bytes) -> Outcome:
        """Take what was sealed with ``key``, the current or a retired one, as a bundle of changes.

        Raises :class:`SealBroken`, and what :meth:`follow` does.
        """
        return self.follow(key.open(payload, context=BUNDLE))

    def follow(self, bundle: bytes) -> Outcome:
        """Take the changes in an opened bundle.

        Raises :class:`Forged` or :class:`ValueError`: then nothing has changed beyond the changes before
        the one that is wrong; and :class:`AutosyncError` if one cannot be written down.
        """
        outcome = Outcome.KNOWN
        for sealed in _split(bundle):
            came_to = self._take_one(sealed)
            if came_to is not Outcome.KNOWN:
                outcome = came_to
        return outcome

    def _take_one(self, sealed: bytes) -> Outcome:
        if self._current.fits(sealed):
            rotation = self._examined(sealed, self._current)
            if rotation.epoch != self._current.epoch + 1:
                raise Forged(f"it is change {rotation.epoch} after change {self._current.epoch}")
            known = self.expelled
            if known is None:
                return self._adopt(rotation, sealed, self._past())
            return self._weigh((known,), rotation, sealed, self._past())
        for back, key in enumerate(self._retired, 1):
            if key.fits(sealed):
                rotation = self._examined(sealed, key)
                if rotation.epoch != key.epoch + 1:
                    raise Forged(f"it is change {rotation.epoch} after change {key.epoch}")
                if len(self._past()) < back:
                    return Outcome.KNOWN  # this device joined later, by what came of it
                return self._weigh(self._since(back), rotation, sealed, self._past()[:-back])
        return Outcome.KNOWN  # what came after a change that this device does not follow

    def _past(self) -> tuple[bytes, ...]:
        """Return the changes that have brought about the current key: not one whose key could not be written."""
        return tuple(sealed for sealed in self.trust.chain if not self._current.fits(sealed))

    def _since(self, back: int) -> Sequence[Rotation]:
        """Return the change that ended the key of ``back`` changes ago, and all that this device knows after it."""
        found: list[Rotation] = []
        expelled = self.trust.expulsion
        for sealed in (*self._past()[-back:], expelled):
            key = self._key_of(sealed)
            if key is not None:
                left_out = key.fits(expelled)
                found.append(self._examined(expelled if left_out else sealed, key))
                if left_out:
                    break
        return found

    def _weigh(self, known: Sequence[Rotation], other: Rotation, sealed: bytes, before: tuple[bytes, ...]) -> Outcome:
        """Choose between two changes that end the same key; every device chooses alike.

        ``known`` is the one that is known here and what has come after it.  What the owner of a key that
        has ended makes up afterwards is nobody's change: its maker has to be one of those to whom each of
        these changes has given the new key.
        """
        first, *_ = known
        if first.digest == other.digest:
            return Outcome.KNOWN
        maker_trusted = all(other.issuer in change.wrapped for change in known)
        known_trusted = first.issuer in other.wrapped
        if maker_trusted and known_trusted:
            return self._unite(first, other, sealed, before)
        if maker_trusted or self._is_rescue(first, other):
            return self._adopt(other, sealed, before)
        return Outcome.KNOWN if known_trusted else self._dispute(first, other)

    def _is_rescue(self, known: Rotation, other: Rotation) -> bool:
        """Return whether ``other`` is by a device that was shut out with this one, and revokes who has done that."""
        shut_out = {self._mine, other.issuer} <= known.revoked.keys()
        return shut_out and known.issuer in other.revoked and self._mine in other.wrapped

    def _unite(self, known: Rotation, other: Rotation, sealed: bytes, before: tuple[bytes, ...]) -> Outcome:
        """Take the one of two changes with the smaller digest; the makers see to the revocations of the other."""
        if other.digest < known.digest:
            return self._adopt(other, sealed, before)
        in_force = self._revoked(self.trust.chain)
        missing = {one: name for one, name in other.revoked.items() if one not in in_force}
        if known.issuer == self._mine and not self.trust.expulsion and missing:
            self._save(replace(self.trust, wanted={**self.trust.wanted, **missing}))
        return Outcome.KNOWN

    def _dispute(self, known: Rotation, other: Rotation) -> Outcome:
        if self.trust.dispute:
            return Outcome.KNOWN
        said = f"{known.by} and {other.by} have each changed the key without the other"
        self._save(replace(self.trust, dispute=f"{said}; this device follows {known.by}"))
        return Outcome.DISPUTED

    def _revoked(self, chain: Sequence[bytes], *, by: str | None = None) -> Mapping[str, str]:
        """Return the devices that changes of this chain have revoked, all or those made ``by`` one device."""
        found: dict[str, str] = {}
        for sealed in chain:
            key = self._key_of(sealed)
            if key is not None:
                rotation = self._examined(sealed, key)
                if by in (None, rotation.issuer):
                    found |= rotation.revoked
        return found

    def _key_of(self, sealed: bytes) -> WorkspaceKey | None:
        """Return the key with which a change was sealed, ``None`` if it is not known any more."""
        return next((key for key in (self._current, *self._retired) if key.fits(sealed)), None)

    # -- the disk ------------------------------------------------------------------------------
    def _adopt(self, rotation: Rotation, sealed: bytes, before: tuple[bytes, ...]) -> Outcome:
        raw = rotation.unwrap(self._identity)
        if raw is None:
            self._save(replace(self.trust, expulsion=sealed))
            return Outcome.EXPELLED
        if len(raw) != KEY_BYTES:
            raise Forged("the key in it is none")
        # Whom this device has revoked by a change that is not in the chain any more, it revokes again.
        undone = self._revoked(self._past()[len(before) :], by=self._mine)
        chain = (*before, sealed)[-MAX_PREVIOUS:]
        in_force = {**self._revoked(before), **rotation.revoked}
        wanted = {one: name for one, name in {**self.trust.wanted, **undone}.items() if one not in in_force}
        trust = replace(self.trust, chain=chain, expulsion=b"", wanted=wanted)
        text = self._text_of(rotation, raw)
        try:
            with replacing_key(self._path, text):  # what has no room must not begin
                self._save(trust, stay=rotation.wrapped)
        except ConfigError as error:
            if self.trust is not trust:
                raise
            # It is made: the chain has it.
            log.error("%s: %s; the new key is in use, and is written at the next start", error.title, error.hint)
        self._use(text)
        return Outcome.ADOPTED

    def _text_of(self, rotation: Rotation, raw: bytes) -> KeyText:
        """Return the key file with the key that ``rotation`` brought."""
        old = (self._text.raw, *self._text.previous)
        kept = old[self._current.epoch + 1 - rotation.epoch :]
        return KeyText(
            raw=raw, id=rotation.workspace, epoch=rotation.epoch, head=rotation.digest, previous=kept[:MAX_PREVIOUS]
        )

    def _use(self, text: KeyText) -> None:
        self._text = text
        self._current = key_in(self._text)
        self._retired = tuple(
            WorkspaceKey(raw, workspace=self._current.id, epoch=self._current.epoch - back).retire()
            for back, raw in enumerate(self._text.previous, 1)
            if self._current.epoch >= back
        )

    def _sound(self, trust: Trust) -> Trust:
        """Return what of ``trust`` goes with the key file, which may be one of a later invitation."""
        if trust.expulsion and self._key_of(trust.expulsion) is None:
            trust = replace(trust, expulsion=b"")
        if trust.chain and self._last() != self._text.head:
            trust = replace(trust, chain=(), dispute="")
        return trust

    def _last(self) -> str:
        """Return the digest of the last change of the chain, empty if it did not bring about this key."""
        sealed = self.trust.chain[-1]
        if not self._retired or not self._retired[0].fits(sealed):
            return ""
        return self._examined(sealed, self._retired[0]).digest

    def _catch_up(self) -> None:
        """Write the key that the last change brought, if a kill came between."""
        for sealed in self.trust.chain:
            key = self._key_of(sealed)
            if key is None:
                continue
            rotation = self._examined(sealed, key)
            ahead = rotation.epoch - self._current.epoch
            if ahead == 1 or (ahead == 0 and rotation.digest != self._text.head):
                raw = rotation.unwrap(self._identity)
                if raw is not None and len(raw) == KEY_BYTES:
                    text = self._text_of(rotation, raw)
                    replace_key(self._path, text)
                    self._use(text)

    def _save(self, trust: Trust, *, stay: Collection[str] | None = None) -> None:
        self._saved(trust, stay)
        self.trust = trust

    def _examined(self, sealed: bytes, key: WorkspaceKey) -> Rotation:
        return examine(key.open(sealed, context=CONTEXT), WorkspaceId(self._current.id))


def _split(parts: bytes) -> Sequence[bytes]:
    found: list[bytes] = []
    while parts:
        if len(found) == MAX_PREVIOUS:
            raise ValueError("a bundle of more changes than anybody keeps")
        if len(parts) < _LENGTH.size:
            raise ValueError("a bundle is cut short")
        (length,) = _LENGTH.unpack_from(parts)
        if len(parts) < _LENGTH.size + length:
            raise ValueError("a bundle is cut short")
        found.append(parts[_LENGTH.size : _LENGTH.size + length])
        parts = parts[_LENGTH.size + length :]
    return found
