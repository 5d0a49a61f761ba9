"""The values of the configuration and their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from autosync.core.brakes import BrakeLimits
from autosync.core.commanded.commands import Commands
from autosync.core.retention import Retention
from autosync.core.temporary import DEFAULT_IGNORES
from autosync.core.updates import OnUpdate

INLINE_CAP = 32 * 1024
"""Largest ``inline-limit`` in bytes: beyond it the rate limits that XMPP servers ship with
hold a message back for seconds."""


class Mode(Enum):
    """Which way changes of a working copy travel."""

    TWO_WAY = "two-way"
    SEND = "send"
    RECEIVE = "receive"
    STORE = "store"  # there are no files here: what the others send is kept for them


class Commits(Enum):
    """Who makes commits on the user's branch."""

    MANUAL = "manual"
    AUTO = "auto"


class Vcs(Enum):
    """Which version control keeps a working copy."""

    GIT = "git"
    HG = "hg"
    COMMAND = "command"  # any other, by configured commands


class PullLock(Enum):
    """What happens to file system events while a peer's changes are applied."""

    OPTIMIZED = "optimized"  # queued, replayed minus our own writes
    CONSERVATIVE = "conservative"  # watching is suspended, then everything is looked at


class Urgency(Enum):
    """How urgently something is told on the desktop (Desktop Notifications Specification, Urgency Levels)."""

    NONE = "none"  # not at all
    LOW = "low"
    NORMAL = "normal"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Popups:
    """What is told on the desktop, and how urgently.

    Between the two ``quiet_hours`` (minutes since midnight, local time) nothing is.  A connection counts
    as lost after ``lost_after`` seconds.
    """

    arrived: Urgency = Urgency.LOW
    conflict: Urgency = Urgency.NORMAL
    held: Urgency = Urgency.NORMAL
    connection: Urgency = Urgency.NORMAL
    halt: Urgency = Urgency.NORMAL
    hook: Urgency = Urgency.NORMAL
    commit: Urgency = Urgency.LOW
    presence: Urgency = Urgency.NORMAL
    quiet_hours: tuple[int, int] | None = None
    lost_after: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class XmppConfig:
    """The XMPP account.  Exactly one of ``password``, ``password_command``, ``keyring`` is set.

    ``host`` and ``port`` are ``None`` when DNS is to tell (RFC 6120, section 3.2).
    ``members`` are the bare JIDs of other accounts that take part.  ``service`` is the JID of a
    pubsub service on which all of them use one node; ``node`` tells it from other teams' there.
    """

    jid: str
    password: str | None = field(default=None, repr=False)
    password_command: tuple[str, ...] | None = None
    keyring: bool = False
    host: str | None = None
    port: int | None = None
    ca_file: str | None = None
    members: tuple[str, ...] = ()
    service: str | None = None
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathConfig:
    """One working copy and how it is kept.  Times are in seconds, sizes in bytes.

    ``path`` and ``key_file`` are absolute, in the file system's encoding with surrogate
    escapes (:func:`os.fsencode` gives the bytes).  ``ignore`` is complete: the defaults,
    the user's patterns, and autosync's own files should they lie inside ``path``.
    ``backend`` is ``None`` where the directory itself shows which it is.  ``hg`` is the command
    that is Mercurial, ``None`` for the one that comes with autosync.  ``commands`` is set exactly
    when ``backend`` is ``COMMAND``.
    """

    path: str
    workspace: str
    key_file: str
    remote: str | None = None
    backend: Vcs | None = None
    hg: tuple[str, ...] | None = None
    commands: Commands | None = None
    mode: Mode = Mode.TWO_WAY
    commits: Commits = Commits.MANUAL
    commit_after: float = 60.0
    settle: float = 0.050
    max_wait: float = 2.0
    ignore: tuple[str, ...] = DEFAULT_IGNORES
    inline_limit: int = 8 * 1024
    subscribe: tuple[str, ...] = ()
    """Names of the hub, and beginnings of names with a ``*``, that are followed."""
    hub_prefix: str = "refs/autosync"
    poll: float = 60.0
    pull_lock: PullLock = PullLock.OPTIMIZED
    rescan: float = 600.0
    brakes: BrakeLimits = field(default_factory=BrakeLimits)
    history: Retention = field(default_factory=Retention)
    on_update: OnUpdate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One device's configuration, read from the file ``source``.

    ``listen`` is (host, port); the empty host is all interfaces, port 0 a free one; ``None``
    is no direct connection at all, neither taken nor made.  ``public_address`` is (host, port), port 0
    that of the listener; the limits are in bytes per second, ``None`` is none.
    ``reflector`` and ``fanout`` are ``host:port``.
    ``log_level`` is a name of the module :mod:`logging`.  ``hg`` is what each path has that names no other.
    ``metrics`` is (host, port) of the loopback interface.
    """

    source: str
    device: str
    state_dir: str
    listen: tuple[str, int] | None = ("", 0)
    public_address: tuple[str, int] | None = None
    limit_upload: int | None = None
    limit_download: int | None = None
    peers: tuple[str, ...] = ()
    ssh_peers: tuple[str, ...] = ()
    """Those that ssh leads to: ``user@host[:port]/agentport``."""
    ssh_address: str | None = None
    """How others log in here: ``user@host[:port]``."""
    ssh: bool = True
    """Whether the ``ssh_address`` that another device announces is used."""
    discovery: bool = True
    xmpp: XmppConfig | None = None
    reflector: str | None = None
    fanout: str | None = None
    popups: Popups | None = field(default_factory=Popups)
    presence: bool = True
    """Whether it is told which files are open in editors, here to the others and theirs here."""
    log_level: str = "INFO"
    metrics: tuple[str, int] | None = None
    hg: tuple[str, ...] | None = None
    paths: tuple[PathConfig, ...] = ()
