"""The texts of the files that start autosync by themselves, or show it in a menu."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from autosync import __version__
from autosync.errors import AutosyncError

MARK = "# Written by `autosync install-service`"
"""How each of these files begins: one that begins otherwise is not ours."""
_UNIT = """\
{mark} of version {version}, which writes it anew each time.
# What you want otherwise goes into a drop-in, which stays: systemctl --user edit {name}
[Unit]
Description=autosync: keeps working copies equal on all your machines
# A disk that is not mounted yet, or a configuration that is wrong, is tried again for as long as it takes.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
{environment}
Restart=on-failure
RestartSec=10
WatchdogSec=60
TimeoutStartSec=90
TimeoutStopSec=15
# The agent ends what it has started; git and hg get to finish.
KillMode=mixed
OOMPolicy=continue
LimitNOFILE=16384
# Its memory holds the keys of the workspaces.
LimitCORE=0
{sandbox}
[Install]
WantedBy=default.target
"""
_SANDBOX = """\
# No file system namespace: ssh finds neither its agent's socket in /tmp nor /etc/ssh to be root's in one.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
"""
_NO_SANDBOX = "# Not sandboxed: what it runs for you may use sudo.\n"
_AUTOSTART = """\
{mark}
[Desktop Entry]
Type=Application
Name=autosync
Comment=Keeps working copies equal on all your machines
Exec={command}
Icon={icon}
Terminal=false
NoDisplay=true
X-GNOME-Autostart-enabled=true
"""
_MENU = """\
{mark}
[Desktop Entry]
Type=Application
Name=autosync
GenericName=File synchronisation
Comment=Shows what is in sync, what happened, and conflicts
Exec={command}
Icon={icon}
Terminal=false
Categories=Development;RevisionControl;
Keywords=git;mercurial;sync;
StartupNotify=true
"""


def unit(command: Sequence[str], *, name: str, environment: Mapping[str, str], sandbox: bool) -> str:
    """Return the systemd user unit that runs ``command`` (systemd.service(5)), with variables it has to have.

    The unit of another version is another one: an agent that runs is started anew by it.
    """
    if re.search(r"""["'\\$]""", command[0]):  # systemd takes no such path as that of a program, however it is quoted
        command = ["/bin/sh", "-c", 'exec "$0" "$@"', *command]
    program, *arguments = command
    words = [_quoted(program), *(_quoted(word).replace("$", "$$") for word in arguments)]
    return _UNIT.format(
        mark=MARK,
        name=name,
        command=" ".join(words),
        version=__version__,
        environment="\n".join(f"Environment={_quoted(f'{key}={value}')}" for key, value in environment.items()),
        sandbox=_SANDBOX if sandbox else _NO_SANDBOX,
    )


def autostart(command: Sequence[str], icon: str) -> str:
    """Return the entry that has a desktop run ``command`` at login (Desktop Application Autostart Specification)."""
    return _AUTOSTART.format(mark=MARK, command=_entry_command(command), icon=icon)


def menu(command: Sequence[str], icon: str) -> str:
    """Return the entry of a desktop's menu (Desktop Entry Specification)."""
    return _MENU.format(mark=MARK, command=_entry_command(command), icon=icon)


def program_of(text: str) -> str | None:
    """Return the program that such a file starts, ``None`` if that cannot be told."""
    found = re.search(r'^(?:ExecStart|Exec)=("(?:[^"\\]|\\.)*"|\S+)', text, re.MULTILINE)
    return None if found is None else re.sub(r"\\(.)", r"\1", found[1].strip('"')).replace("%%", "%")


def _quoted(word: str) -> str:
    """Return a word as systemd reads it back (systemd.syntax(7)); ``$`` is another matter."""
    _refuse_unwritable(word)
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _entry_command(command: Sequence[str]) -> str:
    """Return the value of ``Exec``: quoted as its own rules want it, then as those of every text."""
    words = []
    for word in command:
        _refuse_unwritable(word)
        inside = re.sub(r'(["`$\\])', r"\\\1", word).replace("%", "%%")
        words.append(f'"{inside}"'.replace("\\", "\\\\"))
    return " ".join(words)


def _refuse_unwritable(word: str) -> None:
    try:
        word.encode()
    except UnicodeEncodeError:
        unwritable = True
    else:
        unwritable = any(not c.isprintable() and c != " " for c in word)
    if unwritable:
        raise AutosyncError(
            f"{word!r} cannot stand in a service's file", hint="Give it a name of printable characters in UTF-8."
        )
