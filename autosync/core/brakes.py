"""Says what must not leave this device before its user has said so: mass deletions, huge and secret-looking files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from autosync.core.model import RelPath, parent_directories

WINDOW = 10.0
"""Seconds in which deletions and new content add up: a big `rm -r` is seen in several looks."""
SHARE = 0.5
"""Of all files; fewer deletions than that are everyday work, however many they are."""
FEW = 3
"""Files that a working copy must have had for its becoming empty to be worth a question."""

DEFAULT_SECRETS: tuple[str, ...] = (
    *(".env", ".env.*", "!.env.example", "!.env.sample", "!.env.template", "!.env.dist"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx"),
    *(".netrc", "_netrc", ".pgpass", ".htpasswd", ".git-credentials", ".pypirc", ".vault_pass*"),
)
"""Names of files that commonly hold secrets; ``!`` takes a name out again, the last match counts."""


HELD_HINT = "`autosync explain` lists them; `autosync release` lets them go, with --restore it undoes the deletions."


class Brake(Enum):
    """Why a path is held; shown to people."""

    HUGE = "is huge"
    BURST = "came with more new content at once than is usual"
    SECRET = "looks like a secret by its name"  # noqa: S105  (a reason, not a password)
    DELETION = "was deleted together with many others"
    PLACE = "stands in the place of what was deleted together with many others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One path that is held."""

    path: RelPath
    brake: Brake


@dataclass(frozen=True, slots=True, kw_only=True)
class BrakeLimits:
    """When to hold; ``None`` switches a brake off.

    ``huge_file`` and ``burst`` are in bytes, the latter of all new files within
    :data:`WINDOW`.  ``mass_deletion`` is a number of files; it counts from
    :data:`SHARE` of all files on.  ``secrets`` are shell patterns of file names, in lower case.
    """

    huge_file: int | None = 100 << 20
    burst: int | None = 1 << 30
    mass_deletion: int | None = 25
    secrets: tuple[str, ...] = DEFAULT_SECRETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletions:
    """What is not taken in: ``held`` needs the user's word; ``growing`` are many, and more may follow in a moment."""

    held: frozenset[RelPath] = frozenset()
    growing: frozenset[RelPath] = frozenset()


class Brakes:
    """What one working copy holds back.

    Only new files are held for their size or name: what was synced or is tracked has left
    already.  A held path stands in no snapshot as it stands in the working copy; what was
    synced of it before stays on the other devices.
    """

    def __init__(self, limits: BrakeLimits, released: Iterable[RelPath] = ()) -> None:
        self.limits = limits
        self.released = frozenset(released)
        """Files, or directories with all below them (``b""`` is everything), that may be synced whatever they are."""
        self._held: dict[RelPath, Brake] = {}
        self._let_go: frozenset[RelPath] = frozenset()
        self._welcome: frozenset[RelPath] = frozenset()
        self._deleted: list[tuple[float, int]] = []
        self._growing: frozenset[RelPath] = frozenset()
        self._grew: frozenset[RelPath] = frozenset()  # what was growing at the look before
        self._new: dict[RelPath, tuple[float, int]] = {}
        self._new_bytes = 0  # the sum of their sizes
        self._before: dict[RelPath, Brake] = {}
        self._now = 0.0
        self._looked: frozenset[RelPath] = frozenset()  # with all below them; the root is everything
        self._secrets = [(p.removeprefix("!").encode(), not p.startswith("!")) for p in limits.secrets]
        # What a name has to match to be asked about at all: most do not, and files may be many.
        translated = (fnmatch.translate(pattern.decode("latin-1")) for pattern, _ in self._secrets)
        self._any_secret = re.compile("|".join(translated).encode("latin-1"))

    @property
    def held(self) -> tuple[Held, ...]:
        """Return what is held, in path order."""
        return tuple(Held(path=path, brake=brake) for path, brake in sorted(self._held.items()))

    @property
    def holds_deletions(self) -> bool:
        """Return whether deletions are held."""
        return Brake.DELETION in self._held.values()

    def held_within(self, paths: Iterable[RelPath]) -> tuple[Held, ...]:
        """Return what is held at or below ``paths``."""
        chosen = frozenset(paths)
        return tuple(held for held in self.held if _is_within(held.path, chosen))

    # -- one look at the working copy ---------------------------------------------------------
    def begin(self, paths: Collection[RelPath] | None, now: float) -> Collection[RelPath] | None:
        """Prepare for a look at ``paths`` (``None``: all) and return the paths to look at instead.

        ``now`` is in seconds of any clock.  Where deletions are held and one of them may have been
        undone, or many were found and more may follow, everything has to be looked at.
        """
        self._now = now
        self._deleted = [(at, n) for at, n in self._deleted if 0 <= now - at <= WINDOW]
        self._new = {p: (at, size) for p, (at, size) in self._new.items() if 0 <= now - at <= WINDOW}
        self._new_bytes = sum(size for _, size in self._new.values())
        self._grew, self._growing = self._growing, frozenset()
        if paths is not None and (self._grew or self._touches_deletions(paths)):
            paths = None
        self._looked = frozenset([RelPath(b"")] if paths is None else paths)
        self._before = dict(self._held)
        for path in [p for p in self._held if paths is None or p in paths]:
            del self._held[path]
        return paths

    def undo(self) -> None:
        """Take the look back that was begun: it found out nothing, so what was held still is."""
        self._held = self._before

    def taken(self, torn: Collection[RelPath] = ()) -> None:
        """Take note that what the look found is recorded, but for ``torn``: the user's word was for this once."""
        self._let_go = frozenset(p for p in self._let_go if not _is_within(p, self._looked))
        self._welcome = frozenset(p for p in self._welcome if p in torn or not _is_within(p, self._looked))

    def hold(self, path: RelPath, size: int) -> bool:
        """Return whether a new file of ``size`` bytes is held."""
        brake = None if path in self._welcome or self._is_released(path) else self._judge(path, size)
        if brake is not None:
            self._held[path] = brake
        return brake is not None

    def withholds(self, path: RelPath) -> bool:
        """Return whether not even the name of this file is for others: it is held, or looks like a secret."""
        looks_secret = self._looks_secret(path.rpartition(b"/")[2].lower())
        return path in self._held or (looks_secret and not self._is_released(path))

    def judge_deletions(self, gone: Collection[RelPath], remaining: Callable[[], int]) -> Deletions:
        """Return which of ``gone`` may not be taken in, or not yet; ``remaining`` counts the files that are left."""
        asked = frozenset(p for p in gone if p not in self._let_go and not self._is_released(p))
        limit = self.limits.mass_deletion
        if limit is None or not asked:
            return Deletions()
        if self._is_mass(len(asked), limit, remaining):
            self._held.update(dict.fromkeys(asked, Brake.DELETION))
            return Deletions(held=asked)
        lately = sum(n for _, n in self._deleted)
        if len(asked) + lately >= limit and asked != self._grew:
            self._growing = asked
            return Deletions(growing=asked)
        self._deleted.append((self._now, len(asked)))
        return Deletions()

    def hold_in_place(self, paths: Iterable[RelPath], moved: Iterable[RelPath] = ()) -> None:
        """Hold what stands where files were whose deletion is held, for both cannot be sent.

        ``moved`` are the former names of what was moved there: they stay, or it would be nowhere.
        """
        self._held.update(dict.fromkeys(paths, Brake.PLACE))
        self._held.update(dict.fromkeys(moved, Brake.DELETION))

    def _is_mass(self, gone: int, limit: int, remaining: Callable[[], int]) -> bool:
        held = sum(brake is Brake.DELETION for brake in self._held.values())
        together = gone + held + sum(n for _, n in self._deleted)
        if together < min(FEW, limit):
            return False
        left = remaining() - held  # what is held still counts as being there
        return left <= 0 or (together >= limit and together >= SHARE * (together + left))

    def _judge(self, path: RelPath, size: int) -> Brake | None:
        if self._looks_secret(path.rpartition(b"/")[2].lower()):
            return Brake.SECRET
        if self.limits.huge_file is not None and size > self.limits.huge_file:
            return Brake.HUGE
        others = self._new_bytes - self._new.get(path, (0.0, 0))[1]
        if self.limits.burst is not None and others + size > self.limits.burst:
            return Brake.BURST
        self._new[path] = (self._now, size)
        self._new_bytes = others + size
        return None

    def _looks_secret(self, name: bytes) -> bool:
        if not self._any_secret.match(name):
            return False
        verdicts = [verdict for pattern, verdict in self._secrets if fnmatch.fnmatchcase(name, pattern)]
        return bool(verdicts) and verdicts[-1]

    def _touches_deletions(self, paths: Collection[RelPath]) -> bool:
        held = {p for p, brake in self._held.items() if brake is Brake.DELETION}
        if not held:
            return False
        around = {directory for path in held for directory in parent_directories(path)}
        return any(p in held or p in around or p == b"" for p in paths)

    # -- the user's word --------------------------------------------------------------------------
    def release(self, paths: Iterable[RelPath]) -> frozenset[RelPath]:
        """Let the held files at or below ``paths`` go; return them.

        The next look takes them in.  A file stays released; deletions are let go this once.
        """
        free = frozenset(held.path for held in self.held_within(paths))
        in_place = {p for p in free if self._held[p] is Brake.PLACE}
        free |= {up for path in in_place for up in parent_directories(path) if up in self._held}
        deletions = frozenset(p for p in free if self._held[p] is Brake.DELETION)
        self._let_go |= deletions
        self.released |= free - deletions - in_place
        for path in free:
            del self._held[path]
        return free

    def expect(self, paths: Iterable[RelPath]) -> None:
        """Take the deletion of these files, should they be gone, for meant: a command of the user's did it."""
        self._let_go |= frozenset(paths)

    def welcome(self, paths: Iterable[RelPath]) -> None:
        """Take these files, should they be new, for synced before: a command of the user's brings them back."""
        self._welcome |= frozenset(paths)

    def _is_released(self, path: RelPath) -> bool:
        return _is_within(path, self.released)


def _is_within(path: RelPath, chosen: frozenset[RelPath]) -> bool:
    return path in chosen or b"" in chosen or any(up in chosen for up in parent_directories(path))


def news_of_held(before: Sequence[Held], after: Sequence[Held]) -> str:
    """Return what is held now and was not before as one sentence, empty if there is nothing new."""
    known = frozenset(before)
    new = [held for held in after if held not in known]
    deletions = sum(held.brake is Brake.DELETION for held in new)
    others = [held for held in new if held.brake is not Brake.DELETION]
    sentences = []
    if deletions:
        sentences.append(f"{deletions} deletions are held back and not sent to the other devices")
    if others:
        name = others[0].path.decode("utf-8", "backslashreplace")
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        sentences.append(f"{name} is held back, for it {others[0].brake.value}{more}")
    return "; ".join(sentences)
