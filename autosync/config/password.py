"""Fetches the XMPP password from where the configuration says it is kept."""

from __future__ import annotations

import subprocess

from autosync.config.model import XmppConfig
from autosync.errors import ConfigError

_SERVICE = "autosync"


def fetch_password(xmpp: XmppConfig, *, patience: float = 30.0) -> str:
    """Return the password.  Blocks for up to ``patience`` seconds while a password command runs.

    Raises :class:`ConfigError`, which never holds the password.
    """
    if xmpp.password is not None:
        return xmpp.password
    if xmpp.password_command is not None:
        return _from_command(xmpp.password_command, patience)
    return _from_keyring(xmpp.jid)


def _from_command(command: tuple[str, ...], patience: float) -> str:
    name = command[0]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,  # without a terminal that it could ask something on
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"xmpp.password-command: {name} gave no answer for {patience:g} seconds",
            hint="Run it by hand; it must not ask anything on the terminal.",
        ) from None
    except OSError as error:
        raise ConfigError(
            f"xmpp.password-command: {name} cannot be started: {error.strerror}",
            hint="Check its name. It runs without a shell: write each argument as an item of the list.",
        ) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-500:] or "no message"
        raise ConfigError(
            f"xmpp.password-command: {name} failed with exit code {done.returncode}: {said}",
            hint="Run it by hand until it prints the password.",
        )
    password = done.stdout.decode("utf-8", "replace").split("\n", 1)[0].rstrip("\r")
    if not password:
        raise ConfigError(
            f"xmpp.password-command: the first line that {name} printed is empty",
            hint="It must print the password as its first line.",
        )
    return password


def _from_keyring(jid: str) -> str:
    try:
        # Optional, and slow to import: only who asks for it pays.
        import keyring  # noqa: PLC0415
    except ImportError as error:
        if error.name != "keyring":  # what it was told to use is missing or broken
            raise _keyring_failed(error) from error
        raise ConfigError(
            "xmpp.keyring: the Python package keyring is not installed",
            hint="Run `pip install autosync[keyring]`, or use `password-command`.",
        ) from None
    try:
        password = keyring.get_password(_SERVICE, jid)
    except Exception as error:  # backends are anybody's code and raise what they like
        raise _keyring_failed(error) from error
    if not password:
        raise ConfigError(
            f"xmpp.keyring: the keyring has no password for {jid}",
            hint=f"Store it with `keyring set {_SERVICE} {jid}`.",
        )
    return password


def _keyring_failed(error: Exception) -> ConfigError:
    return ConfigError(
        f"xmpp.keyring: the keyring does not open: {error}",
        hint="Unlock it, or use `password-command` on a machine without a desktop.",
    )
