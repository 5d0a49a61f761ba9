"""The only place that starts git."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from autosync.causes import error_said
from autosync.errors import AutosyncError, TransientError

# What a user's shell exports for one command must not steer ours: GIT_DIR and
# GIT_INDEX_FILE would aim us at another repository, GIT_SSL_CAINFO overrides
# http.sslCAInfo.  How to reach the hub stays the user's business.
_KEPT = frozenset(
    {
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_ASKPASS",
        "GIT_PROXY_COMMAND",
        "GIT_EXEC_PATH",
    }
)


class GitFailed(AutosyncError):
    """A git command exited with an error."""

    def __init__(self, argv: list[str], code: int, stderr: bytes) -> None:
        text = stderr.decode("utf-8", "replace").strip()
        title = f"git {' '.join(argv)} failed with exit code {code}: {text[-800:] or 'no message'}"
        hint = "Run the command by hand in that folder to see the whole message."
        if os.strerror(errno.EACCES) in text:
            title = f"git {argv[0]} has no permission: {text.splitlines()[0][:300]}"
            hint = "Give it to the user who runs autosync (`ls -ld` shows who has it); autosync goes on by itself."
        super().__init__(title, hint=hint)
        self.code = code
        self.stderr = text


class GitKilled(GitFailed, TransientError):
    """A git command was ended by a signal, so it has answered nothing."""

    def __init__(self, argv: list[str], code: int, stderr: bytes) -> None:
        super().__init__(argv, code, stderr)
        self.title = f"git {' '.join(argv)} was ended by signal {-code}"
        self.hint = "It is started again by itself. If that goes on: `dmesg` tells whether the memory ran out."


def git_failure(argv: list[str], code: int, stderr: bytes, directory: bytes) -> GitFailed | OSError:
    """Return why a git process failed: in its own words, or as the error that the system gave it.

    A full disk is no different for whether git or we met it first.
    """
    number = error_said(stderr.decode("utf-8", "replace"))
    if number is not None:
        return OSError(number, os.strerror(number), directory)
    return (GitKilled if code < 0 else GitFailed)(argv, code, stderr)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a git process of ours.

    ``GIT_OPTIONAL_LOCKS=0`` keeps our ``status`` from writing the user's index, which
    would break a rebase of his (git(1), "GIT_OPTIONAL_LOCKS").  ``LANGUAGE`` would translate what we read
    in whatever locale but C (gettext(1)).
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT}
    env.update(GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0", LC_ALL="C.UTF-8", LANGUAGE="", GIT_NO_LAZY_FETCH="1")
    if extra:
        env.update(extra)
    return env


class Git:
    """git commands with one repository and, optionally, one working copy.

    ``directory`` is where the commands run; ``config`` are ``key=value`` settings
    given to every one of them.
    """

    def __init__(self, directory: bytes, *, config: Iterable[str] = (), env: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.config = tuple(config)
        self.env = dict(env or {})

    def argv(self, args: Iterable[str | bytes]) -> list[str | bytes]:
        """Return the whole command line."""
        settings = [part for setting in self.config for part in ("-c", setting)]
        return ["git", *settings, *args]

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a command that needs ``extra`` as well."""
        return environment({**self.env, **extra})

    def run(
        self,
        *args: str | bytes,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        accept: Iterable[int] = (0,),
    ) -> bytes:
        """Return what the command printed.

        Raises :class:`GitFailed` for an exit code not in ``accept``, :class:`OSError` if the system did not let it.
        """
        return self.call(*args, input=input, env=env, accept=accept)[1]

    def call(
        self,
        *args: str | bytes,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        accept: Iterable[int] = (0,),
    ) -> tuple[int, bytes]:
        """Return exit code and output of the command; raises as :meth:`run`."""
        done = subprocess.run(
            self.argv(args),
            cwd=self.directory,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            env=environment({**self.env, **(env or {})}),
            check=False,
        )
        if done.returncode not in tuple(accept):
            raise git_failure([os.fsdecode(a) for a in args], done.returncode, done.stderr, self.directory)
        if done.returncode and error_said(done.stderr.decode("utf-8", "replace")) is not None:
            # "No" and "not here" are answers, but not of a git that could not look.
            raise git_failure([os.fsdecode(a) for a in args], done.returncode, done.stderr, self.directory)
        return done.returncode, done.stdout

    def start(
        self,
        *args: str | bytes,
        stdin: int | BinaryIO = subprocess.PIPE,
        stdout: int | BinaryIO = subprocess.PIPE,
        stderr: int | BinaryIO | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command that the caller talks to and ends.

        Unless ``stderr`` says otherwise, errors can be read only if ``stdout`` is not a pipe.
        """
        if stderr is None:
            stderr = subprocess.PIPE if stdout != subprocess.PIPE else subprocess.DEVNULL
        return subprocess.Popen(
            self.argv(args),
            cwd=self.directory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment({**self.env, **(env or {})}),
        )
