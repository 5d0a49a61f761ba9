"""Where one git working copy and our private store beside it lie."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from dataclasses import dataclass

from autosync.backends.git.cli import Git, GitFailed, GitKilled
from autosync.durable import make_directory, sync_directory
from autosync.errors import AutosyncError, NotAWorkingCopy, Unsupported

_OLDEST_GIT = (2, 36)  # the first with `cat-file --batch-command`
_PINS = b"pins"
"""The file of ours in which a linked worktree has the name of its pins."""
_HEX_DIGITS = {"sha1": 40, "sha256": 64}

# Paths are names, never patterns; objects are what their id says, whatever
# refs/replace wishes (git(1), "GIT_LITERAL_PATHSPECS", "GIT_NO_REPLACE_OBJECTS").
_ENVIRONMENT = {"GIT_LITERAL_PATHSPECS": "1", "GIT_NO_REPLACE_OBJECTS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """One working copy, found and checked by :func:`open_repository`.

    All paths are absolute.  ``git_dir`` is this worktree's own, ``common_dir`` is shared
    by all worktrees.  ``git`` runs in ``root`` on the user's repository, ``store`` in our
    bare repository, which sees the user's objects through an alternate.
    """

    root: bytes
    git_dir: bytes
    common_dir: bytes
    hash_name: str
    git: Git
    store: Git

    @property
    def metadata(self) -> bytes:
        """This worktree's private directory of ours (mode 0700)."""
        return os.path.join(self.git_dir, b"autosync")

    @property
    def store_dir(self) -> bytes:
        """The private bare repository, shared by all worktrees."""
        return self.store.directory

    @property
    def hex_digits(self) -> int:
        """The length of an object id in hex: 40 for sha1, 64 for sha256."""
        return _HEX_DIGITS[self.hash_name]

    @property
    def pin_prefix(self) -> str:
        """Where this worktree's pins live in the store, with the "/" at the end."""
        if self.git_dir == self.common_dir:
            return "refs/autosync/pins/main/"
        return f"refs/autosync/pins/worktrees/{name_of_pins(self.git_dir)}/"

    def is_id(self, text: str) -> bool:
        """Return whether ``text`` is a whole object id in lower-case hex."""
        return len(text) == self.hex_digits and not set(text) - set("0123456789abcdef")


def open_repository(path: bytes) -> Repository:
    """Return the working copy at ``path``, its private store made or mended.

    Raises :class:`NotAWorkingCopy` or :class:`Unsupported`.
    """
    shown = os.fsdecode(path)
    if not os.path.isdir(path):
        raise NotAWorkingCopy(f"{shown} is not a directory", hint="Create it, or correct the path in the config.")
    root = os.path.realpath(path)
    git = Git(root, env=_ENVIRONMENT)
    _check_version(git)
    git_dir, common_dir = locate(git, root, shown)
    hash_name = _line(git, "rev-parse", "--show-object-format").decode()
    _refuse_unsupported(git, shown, common_dir)
    store_dir = os.path.join(common_dir, b"autosync", b"store.git")
    # GIT_SHALLOW_FILE: where the user's shallow clone ends, ours ends too.
    environment = {
        **_ENVIRONMENT,
        "GIT_DIR": os.fsdecode(store_dir),
        "GIT_SHALLOW_FILE": os.fsdecode(os.path.join(common_dir, b"shallow")),
    }
    repository = Repository(
        root=root,
        git_dir=git_dir,
        common_dir=common_dir,
        hash_name=hash_name,
        git=Git(root, env={**_ENVIRONMENT, **_ceiling(root)}),
        store=Git(store_dir, env=environment),
    )
    _prepare(repository)
    return repository


def _ceiling(root: bytes) -> dict[str, str]:
    """Return what keeps git in ``root`` from finding the repository around it, where its own has gone away.

    A path with a colon cannot be said (git(1), "GIT_CEILING_DIRECTORIES").
    """
    above = os.path.dirname(root)
    return {} if b":" in above else {"GIT_CEILING_DIRECTORIES": os.fsdecode(above)}


def name_of_pins(git_dir: bytes) -> str:
    """Return under which name the worktree of ``git_dir`` keeps its pins; that of git is given anew to the next one."""
    try:
        with open(os.path.join(git_dir, b"autosync", _PINS), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return os.fsdecode(os.path.basename(git_dir))


def _check_version(git: Git) -> None:
    try:
        text = git.run("version").decode("utf-8", "replace")
    except FileNotFoundError:
        raise Unsupported("git is not installed, or not on PATH", hint="Install git 2.36 or newer.") from None
    found = re.search(r"(\d+)\.(\d+)", text)
    if not found or (int(found[1]), int(found[2])) < _OLDEST_GIT:
        raise Unsupported(f"{text.strip()} is too old", hint="Install git 2.36 or newer.")


def locate(git: Git, root: bytes, shown: str) -> tuple[bytes, bytes]:
    """Return the worktree's own and the common git directory."""
    hint = f"Run: git init {shown} (or hg init, for Mercurial)"
    try:
        bare = _line(git, "rev-parse", "--is-bare-repository") == b"true"
        inside = _line(git, "rev-parse", "--is-inside-work-tree") == b"true"
    except GitKilled:
        raise
    except GitFailed as failure:
        if (place := _linked_to(root)) is not None and not os.path.isdir(place):
            raise NotAWorkingCopy(
                f"{shown} belongs to a repository that is not there: {os.fsdecode(place)}",
                hint="Mount or restore it; if it was moved, `git worktree repair` in its new place, with "
                f"{shown} as the argument, joins them again.",
            ) from None
        if "not a git repository" in failure.stderr:
            raise NotAWorkingCopy(f"{shown} is not a git working copy", hint=hint) from None
        raise NotAWorkingCopy(
            f"git cannot open {shown}: {failure.stderr}", hint="Make `git status` work in that folder first."
        ) from None
    if bare:
        raise NotAWorkingCopy(
            f"{shown} is a bare repository: it has no files to sync",
            hint="Clone it, and give autosync the path of the clone.",
        )
    if not inside:
        raise NotAWorkingCopy(
            f"{shown} lies inside a .git directory", hint="Give autosync the folder that holds .git instead."
        )
    top = _line(git, "rev-parse", "--path-format=absolute", "--show-toplevel")
    if os.path.realpath(top) != root:
        raise NotAWorkingCopy(
            f"{shown} lies inside the working copy {os.fsdecode(top)}",
            hint=f"Give autosync {os.fsdecode(top)} itself, or make a repository of its own: git init {shown}",
        )
    absolute = ("rev-parse", "--path-format=absolute")
    return (
        os.path.realpath(_line(git, *absolute, "--git-dir")),
        os.path.realpath(_line(git, *absolute, "--git-common-dir")),
    )


def _linked_to(root: bytes) -> bytes | None:
    """Return where the file ``.git`` of a linked worktree says that its metadata are, ``None`` without one."""
    try:
        with open(os.path.join(root, b".git"), "rb") as file:
            link = file.read(1 << 16)
    except OSError:
        return None
    place = link.removeprefix(b"gitdir:").strip()
    return None if place == link else os.path.normpath(os.path.join(root, place))


def _refuse_unsupported(git: Git, shown: str, common_dir: bytes) -> None:
    """Raise :class:`Unsupported` for what would make snapshots wrong or incomplete."""
    settings: dict[bytes, bytes] = {}
    for item in git.run("config", "--list", "-z").split(b"\0"):
        key, _, value = item.partition(b"\n")
        settings[key] = value or b"true"
    if _is_true(settings.get(b"core.sparsecheckout")):
        raise Unsupported(
            f"{shown} is a sparse checkout, which autosync does not handle yet",
            hint="Run `git sparse-checkout disable` there, or sync another clone.",
        )
    promised = [key for key, value in settings.items() if key.endswith(b".promisor") and _is_true(value)]
    if promised or b"extensions.partialclone" in settings:
        raise Unsupported(
            f"{shown} is a partial clone: objects of its history are not on this machine",
            hint="Clone it again without --filter, and give autosync the path of that clone.",
        )
    if settings.get(b"extensions.refstorage", b"files") != b"files" or os.path.isdir(
        os.path.join(common_dir, b"reftable")
    ):
        raise Unsupported(
            f"{shown} keeps its refs in a reftable, which autosync does not handle yet",
            hint="Run `git refs migrate --ref-format=files` there, or sync another clone.",
        )


def _is_true(value: bytes | None) -> bool:
    return value is not None and value.lower() in {b"true", b"yes", b"on", b"1"}


def _line(git: Git, *args: str) -> bytes:
    return git.run(*args).removesuffix(b"\n")


def _prepare(repository: Repository) -> None:
    """Make the private directory and the store, or mend what is missing of them."""
    try:
        make_directory(repository.metadata)
        make_directory(os.path.dirname(repository.store_dir))
    except OSError as error:
        raise AutosyncError(
            f"cannot write to {os.fsdecode(repository.git_dir)}: {error.strerror}",
            hint="autosync keeps its snapshots there; make the directory writable for you.",
        ) from None
    if repository.git_dir != repository.common_dir and not os.listdir(repository.metadata):
        _name_pins(repository)
    directory = os.open(os.path.dirname(repository.store_dir), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # agents of several worktrees may begin at once
        if not os.path.exists(os.path.join(repository.store_dir, b"HEAD")):
            _make_store(repository)
    finally:
        os.close(directory)
    # Relative, so that moving or renaming the repository breaks nothing.
    information = os.path.join(repository.store_dir, b"objects", b"info")
    os.makedirs(information, exist_ok=True)
    os.makedirs(os.path.join(repository.store_dir, b"objects", b"pack"), exist_ok=True)
    with open(os.path.join(information, b"alternates"), "wb") as file:
        file.write(b"../../../objects\n")


def _name_pins(repository: Repository) -> None:
    """Give a worktree in which we have never been a name for its pins that no former one of the same name had."""
    path = os.path.join(repository.metadata, _PINS)
    with open(path + b".new", "wb") as file:
        file.write(os.path.basename(repository.git_dir) + b"-" + secrets.token_hex(4).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + b".new", path)
    sync_directory(repository.metadata)


def _make_store(repository: Repository) -> None:
    # An empty template: no hook of the user's may end up in it; hooksPath, because a
    # global one would.  Packs are tidied by ourselves, never by a gc that starts by itself.
    Git(repository.common_dir).run(
        "init",
        "--quiet",
        "--bare",
        "--template=",
        f"--object-format={repository.hash_name}",
        b"autosync/store.git",
    )
    for setting, value in (
        ("core.hooksPath", "/dev/null"),
        ("core.logAllRefUpdates", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("receive.autogc", "false"),
    ):
        repository.store.run("config", setting, value)
